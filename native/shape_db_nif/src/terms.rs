//! Shapes that are read often, kept as terms: such a read costs a copy, not a parse.
//!
//! Terms live on *pages*, which are environments of their own, since one a term would take
//! more memory than most terms do. A shape is written to the open page when it is read for
//! the second time, beside the others that are there: what it has in common with them is
//! there once (see [`crate::parser`]). So a page has room for many more than it has bytes to give
//! out. Nothing on a page is changed or taken away until all of it is: the oldest page goes
//! first, and what of it is still asked for is written anew.
//!
//! Pages and the bodies in memory have one bound together, `cache_size`. A body that is
//! missing costs a read of the file, a term only a parse, and terms are larger. So pages take
//! what is free, and of what is not only as much as nobody misses.

mod page;

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        OnceLock,
        atomic::{AtomicU16, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, RwLock};
use shape_store::{BodyKey, Oid, Store};

use self::page::{Kept, Open, Written};

const SHARDS: usize = 16;

/// How many rows are remembered as read from memory lately.
const LATELY: usize = 4096;

/// A page is this part of the cache, and no larger than [`LARGEST_PAGE`].
const PAGE_PART: usize = 64;
const LARGEST_PAGE: usize = 128 << 10;

/// A cache with smaller pages than this keeps bodies only.
const SMALLEST_PAGE: usize = 8 << 10;

/// The parts of the cache that pages may take at most, and that they have in any case.
const MOST_PART: usize = 2;
const LEAST_PART: usize = 8;

/// The part of the cache that counts as taken though nothing is there: the cache is divided
/// into shards, and these fill unevenly.
const UNEVEN_PART: usize = 8;

/// After so many shapes were written while next to no body was missed, pages take one more
/// from bodies. When many are missed they give one back, and the next try comes after twice
/// as many shapes.
const GROW_AFTER: usize = 1024;
const GROW_AFTER_MOST: usize = 1 << 17;

/// Nothing is concluded from fewer missed bodies than `TELLING`. They are many when fewer than
/// `MANY` shapes were written for each, and few when more than `FEW` were.
const TELLING: usize = 32;
const MANY: usize = 256;
const FEW: usize = 1024;

/// After so many reads of terms one of them counts for the body as well, so that those which
/// are read most are still in memory when their page goes.
const WANT_AFTER: u64 = 64;

/// The time that a copy of a term takes is reckoned by the bytes of its body: so many in
/// 100 ns.
pub(crate) const COPIED: usize = 150;

pub(crate) struct Terms {
    shards: Box<[Shard]>,
    /// Rows whose bodies were read from memory lately: a part of the row's number, at the
    /// place that the rest of it gives.
    lately: OnceLock<Box<[AtomicU16]>>,
    pages: Mutex<Pages>,
    /// What all of it takes.
    bytes: AtomicUsize,
    cache: usize,
}

#[derive(Default)]
struct Shard {
    kept: RwLock<HashMap<BodyKey, Kept, RandomState>>,
    hits: AtomicU64,
}

struct Pages {
    /// The oldest first.
    full: VecDeque<Written>,
    full_bytes: usize,
    open: Option<Open>,
    /// How many bytes may be on them.
    share: usize,
    /// How many bytes of the cache are not left to bodies.
    lent: usize,
    /// Shapes written, and bodies missed, since the share was last in question.
    made: usize,
    missed: usize,
    /// After how many shapes it is in question again.
    grow_after: usize,
    /// Whether they took a page from bodies, and gave none back since.
    grew: bool,
    closed: bool,
}

impl Pages {
    fn bytes(&self) -> usize {
        self.full_bytes + self.open.as_ref().map_or(0, |open| open.written.bytes)
    }

    /// All bytes, with what it takes to write to the open page.
    fn all_bytes(&self) -> usize {
        self.bytes() + self.open.as_ref().map_or(0, |open| open.parser.model_bytes())
    }

    /// The open page is full.
    fn close(&mut self) {
        if let Some(Open { written, .. }) = self.open.take() {
            self.full_bytes += written.bytes;
            self.full.push_back(written);
        }
    }
}

impl Terms {
    /// No terms yet, within a cache of so many bytes.
    pub(crate) fn new(cache: usize) -> Self {
        let pages = Pages {
            full: VecDeque::new(),
            full_bytes: 0,
            open: None,
            share: cache / LEAST_PART,
            lent: 0,
            made: 0,
            grow_after: GROW_AFTER,
            grew: false,
            missed: 0,
            closed: page_bytes(cache) < SMALLEST_PAGE,
        };
        Self {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            lately: OnceLock::new(),
            pages: Mutex::new(pages),
            bytes: AtomicUsize::new(0),
            cache,
        }
    }

    #[expect(clippy::indexing_slicing, reason = "there are SHARDS shards")]
    fn shard(&self, key: BodyKey) -> &Shard {
        &self.shards[key as usize % SHARDS]
    }

    /// The term of a shape that is kept.
    pub(crate) fn get(&self, store: &Store, key: BodyKey) -> Option<Kept> {
        let shard = self.shard(key);
        let kept = shard.kept.read().get(&key).cloned()?;
        if shard.hits.fetch_add(1, Relaxed).is_multiple_of(WANT_AFTER) {
            store.want(key);
        }
        Some(kept)
    }

    /// The term of a shape whose body was in memory, if it is worth keeping.
    pub(crate) fn keep(
        &self,
        store: &Store,
        key: BodyKey,
        table: Oid,
        body: &[u8],
    ) -> Option<Kept> {
        let (lately, tag) = self.lately(key)?;
        if lately.load(Relaxed) != tag {
            lately.store(tag, Relaxed);
            return None;
        }
        // Whoever comes in between parses for itself.
        let mut pages = self.pages.try_lock()?;
        if pages.closed {
            return None;
        }
        // Somebody else may have been first.
        if let Some(kept) = self.shard(key).kept.read().get(&key) {
            return Some(kept.clone());
        }
        if pages.open.is_none() {
            self.grow(store, &mut pages);
        }
        let kept = pages.open.get_or_insert_with(Open::new).write(key, table, body);
        if let Some(kept) = &kept {
            self.shard(key).kept.write().insert(key, kept.clone());
        }
        let page = page_bytes(self.cache);
        if pages.open.as_ref().is_some_and(|open| open.written.bytes >= page) {
            pages.close();
        }
        pages.made += 1;
        self.settle(store, &mut pages);
        kept
    }

    /// Has room for one more page, if that is free, or not missed as far as is known.
    fn grow(&self, store: &Store, pages: &mut Pages) {
        let more = pages.bytes() + page_bytes(self.cache);
        if more <= pages.share || more > self.cache / MOST_PART {
            return;
        }
        let free = store.cache_room().saturating_sub(pages.bytes() + self.cache / UNEVEN_PART);
        if free >= page_bytes(self.cache) {
            pages.share = more;
        } else if pages.made >= pages.grow_after {
            if pages.missed * FEW <= pages.made {
                pages.grew = true;
                pages.share = more;
            }
            (pages.made, pages.missed) = (0, 0);
        }
    }

    /// Notes that a body was not in memory. Where that is not rare, bodies need the room more
    /// than terms do.
    pub(crate) fn missed(&self, store: &Store) {
        let Some(mut pages) = self.pages.try_lock() else { return };
        pages.missed += 1;
        if pages.missed < TELLING || pages.missed * MANY <= pages.made {
            return;
        }
        (pages.made, pages.missed) = (0, 0);
        let least = self.cache / LEAST_PART;
        if pages.bytes() > least {
            if std::mem::take(&mut pages.grew) {
                pages.grow_after = (pages.grow_after * 2).min(GROW_AFTER_MOST);
            }
            pages.share = pages.bytes().saturating_sub(page_bytes(self.cache)).max(least);
            self.settle(store, &mut pages);
        }
    }

    /// Where it is noted that a row was read from memory, and what is there if it was.
    fn lately(&self, key: BodyKey) -> Option<(&AtomicU16, u16)> {
        let (place, tag) = (key as usize % LATELY, (key as usize / LATELY + 1) as u16);
        let lately = self.lately.get_or_init(|| (0..LATELY).map(|_| AtomicU16::new(0)).collect());
        Some((lately.get(place)?, tag))
    }

    /// Frees pages that are too many, and has bodies make room for those that are not.
    fn settle(&self, store: &Store, pages: &mut Pages) {
        while pages.bytes() > pages.share
            && let Some(written) = pages.full.pop_front()
        {
            pages.full_bytes -= written.bytes;
            for key in &written.keys {
                // Freed here, or by the last who copies from it.
                let _kept = self.shard(*key).kept.write().remove(key);
            }
        }
        let (bytes, page) = (pages.all_bytes(), page_bytes(self.cache));
        self.bytes.store(bytes, Relaxed);
        // Lent a page at a time, so that the cache is not resized for each shape.
        let lent = bytes.next_multiple_of(page);
        if lent != pages.lent {
            pages.lent = lent;
            store.lend_cache(lent);
        }
    }

    /// Frees all pages; for good when the store has ended.
    pub(crate) fn clear(&self, ended: bool) {
        let mut pages = self.pages.lock();
        pages.closed |= ended;
        pages.open = None;
        pages.full = VecDeque::new();
        pages.full_bytes = 0;
        for shard in &self.shards {
            let _kept = std::mem::take(&mut *shard.kept.write());
        }
        self.bytes.store(0, Relaxed);
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Relaxed)
    }

    pub(crate) fn hits(&self) -> u64 {
        self.shards.iter().map(|shard| shard.hits.load(Relaxed)).sum()
    }

    /// How many shapes are kept as terms.
    pub(crate) fn count(&self) -> usize {
        self.shards.iter().map(|shard| shard.kept.read().len()).sum()
    }
}

fn page_bytes(cache: usize) -> usize {
    (cache / PAGE_PART).min(LARGEST_PAGE)
}

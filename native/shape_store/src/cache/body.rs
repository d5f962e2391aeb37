//! A serialised shape in memory. Those that were read from the file are kept small: shapes
//! have most of their bytes in common.
//!
//! Such a body is packed by LZ4 beside a *dictionary* of bodies that were read before. The
//! packed form says what to take from there, and has the rest, so that many more stay warm
//! in the same memory. The dictionary is the store's own and gone with it: in SQLite bodies
//! are as they came. Bodies that were added are kept as they came until they are pushed out
//! of the cache and read again: packing would take up to a seventh of the time of an add.

use std::sync::{Arc, OnceLock};

use lz4_flex::block::{compress_into_with_dict, decompress_into_with_dict};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::entry::{Entry, Oid};

/// What ties a body to its shape in the file: a hash over all that is never changed of the
/// shape's row, and over the body. XXH3, which is the same everywhere and for good.
pub(crate) fn checksum(entry: &Entry, body: &[u8]) -> u64 {
    let numbers = entry.row ^ u64::from(entry.hash).rotate_left(32);
    let row = xxh3_64_with_seed(&entry.digest.0, numbers);
    let chain = |seed, oid: &Oid| xxh3_64_with_seed(&oid.to_le_bytes(), seed);
    let row = entry.oids.iter().fold(row, chain);
    xxh3_64_with_seed(body, xxh3_64_with_seed(&entry.handle, row))
}

/// A serialised shape. Cheap to clone; [`Dictionary::unpack`] gives its bytes.
#[derive(Clone, Debug)]
pub struct Body {
    bytes: Arc<[u8]>,
    packed: Option<Packed>,
}

/// How a body was packed.
#[derive(Clone, Copy, Debug)]
struct Packed {
    /// How many bytes it had.
    len: u16,
    /// Of the dictionary.
    version: u8,
}

const VERSIONS: usize = 4;

/// A smaller body is hardly worth it, and a larger one is rare.
const SMALLEST: usize = 64;
const LARGEST: usize = 8192;

/// A packed body that is larger than one part in so many is of a kind that the dictionary
/// does not know.
const UNKNOWN_KIND: usize = 4;

/// Packing takes time for each byte of the dictionary as well.
const LARGEST_DICTIONARY: usize = 8192;

/// What the bodies of a store have in common. Each version is the one before with a body
/// of another kind.
#[derive(Debug, Default)]
pub struct Dictionary {
    versions: [OnceLock<Box<[u8]>>; VERSIONS],
}

impl Dictionary {
    /// A body, packed if that makes it smaller.
    pub(crate) fn pack(&self, body: &Body) -> Body {
        let packed = if body.packed.is_none() { self.try_pack(&body.bytes) } else { None };
        packed.unwrap_or_else(|| body.clone())
    }

    fn try_pack(&self, bytes: &[u8]) -> Option<Body> {
        if !(SMALLEST..=LARGEST).contains(&bytes.len()) {
            return None;
        }
        let (version, dictionary) = self.newest(bytes);
        let mut packed = vec![0; lz4_flex::block::get_maximum_output_size(bytes.len())];
        let len = compress_into_with_dict(bytes, &mut packed, dictionary).ok()?;
        let more = sample(bytes, LARGEST_DICTIONARY.saturating_sub(dictionary.len()));
        if len * UNKNOWN_KIND > bytes.len()
            && more.len() >= SMALLEST
            // There may be room for its beginning only.
            && !dictionary.ends_with(more)
            && let Some(next) = self.versions.get(version + 1)
        {
            // Somebody else may have put another there, which is as good.
            let _ = next.set([dictionary, more].concat().into());
        }
        let smaller = packed.get(..len).filter(|packed| packed.len() < bytes.len())?;
        Some(Body {
            bytes: smaller.into(),
            packed: Some(Packed {
                len: u16::try_from(bytes.len()).ok()?,
                version: u8::try_from(version).ok()?,
            }),
        })
    }

    fn newest(&self, first: &[u8]) -> (usize, &[u8]) {
        let there = self.versions.iter().map_while(OnceLock::get).enumerate().last();
        there.map(|(version, dictionary)| (version, &**dictionary)).unwrap_or_else(|| {
            let none = self.versions.first();
            let first = || sample(first, LARGEST_DICTIONARY).into();
            (0, none.map_or(&[], |version| version.get_or_init(first)))
        })
    }

    /// The bytes of a body, which this dictionary packed, to keep.
    pub(crate) fn bytes(&self, body: &Body) -> Arc<[u8]> {
        match body.packed {
            None => Arc::clone(&body.bytes),
            Some(_) => self.unpack(body, &mut Vec::new()).into(),
        }
    }

    /// The same for a while: in `buffer`, or where they are.
    pub fn unpack<'b>(&self, body: &'b Body, buffer: &'b mut Vec<u8>) -> &'b [u8] {
        let Some(Packed { len, version }) = body.packed else { return &body.bytes };
        let dictionary = self.versions.get(usize::from(version)).and_then(OnceLock::get);
        buffer.clear();
        buffer.resize(usize::from(len), 0);
        // Nobody changes a body in memory. If it fails all the same, the answer is no
        // body, which parses to no term.
        match decompress_into_with_dict(&body.bytes, buffer, dictionary.map_or(&[], |d| d)) {
            Ok(len) => buffer.get(..len).unwrap_or_default(),
            Err(_) => &[],
        }
    }
}

/// As much of a body as goes into the dictionary, in which others need a place too.
fn sample(bytes: &[u8], room: usize) -> &[u8] {
    bytes.get(..room.min(LARGEST_DICTIONARY / 2)).unwrap_or(bytes)
}

impl Body {
    /// A copy of the bytes as they are.
    pub(crate) fn plain(bytes: &[u8]) -> Self {
        Self { bytes: bytes.into(), packed: None }
    }

    /// How many hold these bytes.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        Arc::strong_count(&self.bytes)
    }

    /// How many bytes the serialised shape has.
    #[expect(clippy::len_without_is_empty, reason = "no serialised shape is empty")]
    pub fn len(&self) -> usize {
        self.packed.map_or(self.bytes.len(), |packed| packed.len.into())
    }

    /// How many bytes it takes in memory.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(all(test, not(miri), not(loom)))]
mod tests {
    use proptest::{prelude::*, sample::Index};

    use super::*;

    fn unpacked(dictionary: &Dictionary, body: &Body) -> Vec<u8> {
        dictionary.unpack(body, &mut vec![1; 3]).to_vec()
    }

    /// Bytes that nothing has in common with those of another seed.
    fn kind(seed: u8, len: usize) -> Vec<u8> {
        let mut state = u64::from(seed) + 1;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    fn changed(mut bytes: Vec<u8>, changes: &[(Index, u8)]) -> Vec<u8> {
        for (place, byte) in changes {
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes.splice(place..=place, [*byte]);
            }
        }
        bytes
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let edges = [0, 1, SMALLEST - 1, SMALLEST, 1_000, LARGEST - 1, LARGEST, LARGEST + 1];
        let kinds =
            (0..8u8, prop::sample::select(edges.to_vec())).prop_map(|(n, len)| kind(n, len));
        let plain = (any::<u8>(), 0..2_000usize).prop_map(|(byte, len)| vec![byte; len]);
        let changes = prop::collection::vec(any::<(Index, u8)>(), 0..4);
        (prop_oneof![3 => kinds, 1 => plain], changes)
            .prop_map(|(bytes, changes)| changed(bytes, &changes))
    }

    proptest! {
        #[test]
        fn what_was_packed_is_unpacked_whatever_was_packed_since(
            all in prop::collection::vec(bytes(), 1..20)
        ) {
            let dictionary = Dictionary::default();
            let packed: Vec<_> = all.iter().map(|bytes| dictionary.pack(&Body::plain(bytes))).collect();
            for (bytes, body) in all.iter().zip(&packed) {
                prop_assert_eq!(&unpacked(&dictionary, body), bytes);
                prop_assert_eq!(body.len(), bytes.len());
                prop_assert!(body.size() <= bytes.len());
            }
        }
    }

    #[test]
    fn bodies_of_the_kinds_that_were_there_take_a_fraction() {
        let dictionary = Dictionary::default();
        let kinds: Vec<_> = (0..VERSIONS as u8).map(|n| kind(n, 1_000)).collect();
        kinds.iter().for_each(|kind| drop(dictionary.pack(&Body::plain(kind))));
        for kind in &kinds {
            for place in 0..10 {
                let mut bytes = kind.clone();
                bytes.splice(place * 90..place * 90 + 5, *b"12345678");
                assert!(dictionary.pack(&Body::plain(&bytes)).size() * 20 < bytes.len());
            }
        }
        // No more is remembered, and what is unknown is kept as it is.
        let unknown = Body::plain(&kind(100, 1_000));
        assert_eq!(dictionary.pack(&unknown).size(), unknown.len());
        assert_eq!(dictionary.pack(&unknown).size(), unknown.len());
    }

    #[test]
    fn a_large_body_leaves_room_for_others() {
        let dictionary = Dictionary::default();
        dictionary.pack(&Body::plain(&kind(0, LARGEST)));
        let other = Body::plain(&kind(1, 2_000));
        assert_eq!(dictionary.pack(&other).size(), other.len());
        assert!(dictionary.pack(&other).size() * 20 < other.len());
    }

    #[test]
    fn kinds_that_come_at_once_are_all_unpacked() {
        for _ in 0..200 {
            let dictionary = Dictionary::default();
            std::thread::scope(|scope| {
                for thread in 0..4 {
                    let dictionary = &dictionary;
                    scope.spawn(move || {
                        for n in [thread, thread + 1] {
                            let bytes = kind(n, 500);
                            let body = dictionary.pack(&Body::plain(&bytes));
                            assert_eq!(unpacked(dictionary, &body), bytes);
                        }
                    });
                }
            });
        }
    }
}

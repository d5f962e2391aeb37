//! What stamps were before callers overwrote them, kept while somebody looks at all of them:
//! before-images, by which a look that takes its time gives all stamps as they were when
//! it began.
//!
//! A caller asks whether a look is on, notes what it is about to overwrite, and overwrites
//! it by a compare-and-swap. So whatever a look meets that was written since it began, the
//! note of it is there already. The first note of an entry has what it was at the beginning:
//! who overwrites the next value saw it after it was written, and noted that later.
//!
//! A caller may have asked just before a look began and write while it is on, without a
//! note. It counts as before the beginning or after it, as it is met or not, and either is
//! true: it was under way then. What it must not be is after one that counts as before and
//! started when it was over; for that the order of all these accesses is a single one.

use std::{collections::HashMap, sync::atomic::Ordering::SeqCst};

#[cfg(not(loom))]
use crossbeam_channel::{Receiver, Sender, unbounded};

use crate::{
    entry::RowId,
    index::{slab::EntryId, touch::Stamp},
    sync::{AtomicU64, Mutex, single_order},
};

pub(crate) struct Images {
    /// The number of the look that is on, or 0.
    on: AtomicU64,
    /// The number of the last look; who has it is the one that looks.
    last: Mutex<u64>,
    noted: Noted,
}

/// The number of a look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look(u64);

struct Image {
    look: Look,
    of: (EntryId, RowId),
    stamp: Stamp,
}

impl Images {
    pub(crate) fn new() -> Self {
        Self { on: AtomicU64::new(0), last: Mutex::default(), noted: Noted::new() }
    }

    /// The look that is on, whose notes are to be made.
    pub(crate) fn look(&self) -> Option<Look> {
        single_order();
        let on = self.on.load(SeqCst);
        (on != 0).then_some(Look(on))
    }

    /// Notes what a stamp is that is overwritten after this.
    pub(crate) fn note(&self, look: Look, id: EntryId, row: RowId, stamp: Stamp) {
        self.noted.push(Image { look, of: (id, row), stamp });
    }

    /// Begins a look; another one waits until it is over.
    pub(crate) fn begin(&self) -> Looking<'_> {
        let mut last = self.last.lock();
        *last += 1;
        let look = Look(*last);
        self.on.store(look.0, SeqCst);
        single_order();
        Looking { images: self, look, before: HashMap::new(), _last: last }
    }
}

/// A look that is on, until this goes.
pub(crate) struct Looking<'a> {
    images: &'a Images,
    look: Look,
    before: HashMap<(EntryId, RowId), Stamp>,
    _last: Guard<'a>,
}

impl Looking<'_> {
    /// What the stamps were when the look began, of the entries that were written since.
    pub(crate) fn before(&mut self) -> &HashMap<(EntryId, RowId), Stamp> {
        // Some are of callers who asked during a look before this one.
        let of_this = |image: &Image| image.look == self.look;
        for image in self.images.noted.take().filter(of_this) {
            self.before.entry(image.of).or_insert(image.stamp);
        }
        &self.before
    }
}

impl Drop for Looking<'_> {
    fn drop(&mut self) {
        self.images.on.store(0, SeqCst);
        self.images.noted.take().for_each(drop);
    }
}

#[cfg(not(loom))]
type Guard<'a> = parking_lot::MutexGuard<'a, u64>;
#[cfg(loom)]
type Guard<'a> = loom::sync::MutexGuard<'a, u64>;

/// In the order in which they were made. Nobody who makes one waits.
#[cfg(not(loom))]
struct Noted(Sender<Image>, Receiver<Image>);

#[cfg(not(loom))]
impl Noted {
    fn new() -> Self {
        let (make, made) = unbounded();
        Self(make, made)
    }

    fn push(&self, image: Image) {
        // The other end is here.
        drop(self.0.send(image));
    }

    /// Those that are there: more may come faster than they are taken.
    fn take(&self) -> impl Iterator<Item = Image> {
        self.1.try_iter().take(self.1.len())
    }
}

#[cfg(loom)]
struct Noted(Mutex<Vec<Image>>);

#[cfg(loom)]
impl Noted {
    fn new() -> Self {
        Self(Mutex::default())
    }

    fn push(&self, image: Image) {
        self.0.lock().push(image);
    }

    fn take(&self) -> impl Iterator<Item = Image> {
        std::mem::take(&mut *self.0.lock()).into_iter()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_first_note_of_an_entry_in_this_look_counts() {
        let images = Images::new();
        assert!(images.look().is_none());
        let looking = images.begin();
        let earlier = looking.look;
        assert!(images.look() == Some(earlier));
        drop(looking);
        assert!(images.look().is_none());
        let mut looking = images.begin();
        let look = looking.look;
        images.note(earlier, 1, 7, Stamp::at(1));
        images.note(look, 1, 7, Stamp::at(2));
        images.note(look, 1, 8, Stamp::NEVER);
        assert_eq!(looking.before().get(&(1, 7)), Some(&Stamp::at(2)));
        images.note(look, 1, 7, Stamp::at(3));
        assert_eq!(looking.before().get(&(1, 7)), Some(&Stamp::at(2)));
        assert_eq!(looking.before().get(&(1, 8)), Some(&Stamp::NEVER));
        images.note(look, 2, 9, Stamp::at(4));
        drop(looking);
        assert!(images.begin().before().is_empty());
    }
}

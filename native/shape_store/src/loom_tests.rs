//! Every interleaving of the protocols that are written here rather than taken from a
//! library, as loom explores them: `make models`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, reason = "tests")]

use std::sync::atomic::Ordering::{Acquire, Release};

use loom::{model::Builder, sync::Arc, thread};

use crate::{
    index::{
        images::Images,
        seqlock::SeqLock,
        touch::{Mark, Stamp},
    },
    sync::{AtomicU16, AtomicU32, AtomicU64},
};

mod waiting;

fn check(model: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(model);
}

/// Two values, each of equal words; zero is "nothing".
#[test]
fn a_read_of_a_sequence_lock_is_whole_and_never_goes_back() {
    check(|| {
        let words = Arc::new(SeqLock::<2>::new());
        let mutator = {
            let words = Arc::clone(&words);
            thread::spawn(move || {
                words.write(&[1, 1]);
                words.write(&[0, 0]);
                words.write(&[2, 2]);
            })
        };
        let mut newest = 0;
        for _ in 0..2 {
            if let Some([a, b]) = words.read() {
                assert_eq!(a, b, "torn");
                assert!(a == 0 || a >= newest, "{a} came after {newest}");
                newest = newest.max(a);
            }
        }
        mutator.join().unwrap();
        assert_eq!(words.read(), Some([2, 2]));
    });
}

/// A cell passes from shape to shape under the hands of somebody who marks the first: the
/// second is never marked by that, and who reads it with its mark gets its own.
#[test]
fn a_mark_never_meets_the_next_shape_of_a_cell() {
    const OF_FIRST: i64 = 7;
    const OF_SECOND: i64 = 5;
    struct Slot {
        words: SeqLock<1>,
        stamp: AtomicU64,
        begins: AtomicU32,
        holds: AtomicU16,
    }
    impl Slot {
        fn mark(&self) -> Mark<'_> {
            Mark { stamp: &self.stamp, begins: &self.begins, holds: &self.holds }
        }

        fn fill(&self, shape: u64) {
            self.words.write_with(&[shape], || self.mark().reset(Stamp::NEVER, 0));
        }

        fn touch(&self, shape: u64, time: i64) {
            let held = self.mark().hold();
            if self.words.read() == Some([shape]) {
                held.replace(|there| there.max(Stamp::at(time)), |_| ());
            }
        }
    }
    check(|| {
        let slot = Arc::new(Slot {
            words: SeqLock::new(),
            stamp: AtomicU64::new(0),
            begins: AtomicU32::new(0),
            holds: AtomicU16::new(0),
        });
        slot.fill(1);
        let toucher = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.touch(1, OF_FIRST))
        };
        let reader = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || match slot.words.read_with(|| slot.mark().stamp()) {
                Some(([1], stamp)) => assert_ne!(stamp.time(), Some(OF_SECOND)),
                Some(([2], stamp)) => assert_ne!(stamp.time(), Some(OF_FIRST)),
                _ => {}
            })
        };
        slot.words.write_with(&[0], || slot.mark().reset(Stamp::NEVER, 0));
        // One that is held is left for another.
        if !slot.mark().is_held() {
            slot.fill(2);
            slot.touch(2, OF_SECOND);
        }
        toucher.join().unwrap();
        reader.join().unwrap();
        if slot.words.read() == Some([2]) {
            assert_eq!(slot.mark().stamp().time(), Some(OF_SECOND));
        }
    });
}

/// Two stamps, with what they were for who looks at both.
struct Marks {
    slots: [(AtomicU64, AtomicU32, AtomicU16); 2],
    images: Images,
}

impl Marks {
    fn new() -> Self {
        let slot = |_| (AtomicU64::new(0), AtomicU32::new(0), AtomicU16::new(0));
        Self { slots: std::array::from_fn(slot), images: Images::new() }
    }

    fn mark(&self, id: usize) -> Mark<'_> {
        let (stamp, begins, holds) = &self.slots[id];
        Mark { stamp, begins, holds }
    }

    /// As an index does it.
    fn replace(&self, id: usize, to: impl Fn(Stamp) -> Stamp) {
        let held = self.mark(id).hold();
        let look = self.images.look();
        held.replace(to, |there| {
            if let Some(look) = look {
                self.images.note(look, id as u32, 1, there);
            }
        });
    }

    /// Both at one moment.
    fn look(&self) -> [Option<i64>; 2] {
        let mut looking = self.images.begin();
        let seen = [0, 1].map(|id| self.mark(id).stamp());
        let before = looking.before();
        [0, 1].map(|id| before.get(&(id as u32, 1)).unwrap_or(&seen[id]).time())
    }
}

/// One caller reads a shape, then another shape, while one says when this other one was read:
/// who looks at both never finds the later reading without the earlier, nor what was
/// over before the look missing.
#[test]
fn a_look_at_all_marks_is_of_one_moment() {
    check(|| {
        let marks = Arc::new(Marks::new());
        let over = Arc::new(AtomicU64::new(0));
        let reader = {
            let (marks, over) = (Arc::clone(&marks), Arc::clone(&over));
            thread::spawn(move || {
                marks.replace(0, |there| there.max(Stamp::at(5)));
                marks.replace(1, |there| there.max(Stamp::at(6)));
                over.store(1, Release);
            })
        };
        let setter = {
            let marks = Arc::clone(&marks);
            thread::spawn(move || marks.replace(1, |_| Stamp::at(3)))
        };
        let was_over = over.load(Acquire) == 1;
        let [first, second] = marks.look();
        assert!(second != Some(6) || first == Some(5), "the later without the earlier");
        assert!(!was_over || first == Some(5) && second.is_some(), "what was over is missing");
        reader.join().unwrap();
        setter.join().unwrap();
        let [first, second] = marks.look();
        assert!(first == Some(5) && matches!(second, Some(3 | 6)));
    });
}

/// Of two looks, the second is of a later moment, whoever was under way in between.
#[test]
fn looks_follow_each_other() {
    check(|| {
        let marks = Arc::new(Marks::new());
        let reader = {
            let marks = Arc::clone(&marks);
            thread::spawn(move || {
                marks.replace(0, |there| there.max(Stamp::at(5)));
                marks.replace(1, |there| there.max(Stamp::at(6)));
            })
        };
        let looks = [marks.look(), marks.look()];
        for [first, second] in looks {
            assert!(second.is_none() || first.is_some(), "the later without the earlier");
        }
        let [one, other] = looks;
        assert!(one[0] <= other[0] && one[1] <= other[1], "back in time");
        reader.join().unwrap();
    });
}

//! Callers against each other: one winner for a handle and for a shape, and
//! lookups that are right at every moment of other callers' changes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::{
    sync::{
        Barrier,
        atomic::{
            AtomicBool, AtomicU32,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    thread,
};

use common::{Running, Shape, file_in, named, open, rng::Rng, shape};
use shape_store::{ChangeError, Digest, Options};

const RACES: u32 = 1_000;

fn store() -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(file_in(&folder));
    (folder, store)
}

/// Lets two threads add two shapes at one moment, many times.
fn race(pair: impl Fn(u32) -> [Shape; 2] + Sync, lost: impl Fn(&ChangeError, &Shape) -> bool) {
    let (_folder, store) = store();
    let barrier = Barrier::new(2);
    let results = thread::scope(|scope| {
        let racers = [0, 1].map(|side| {
            let (store, barrier, pair) = (&store.store, &barrier, &pair);
            scope.spawn(move || {
                let one = |n| {
                    let shape = &pair(n)[side];
                    barrier.wait();
                    store.add(shape.to_add(), shape_store::Request::default())
                };
                (0..RACES).map(one).collect::<Vec<_>>()
            })
        });
        racers.map(|racer| racer.join().unwrap())
    });
    let [left, right] = results;
    for (n, results) in (0..).zip(left.into_iter().zip(right)) {
        let shapes = pair(n);
        let (winner, error) = match &results {
            (Ok(_), Err(error)) => (&shapes[0], error),
            (Err(error), Ok(_)) => (&shapes[1], error),
            other => panic!("race {n}: {other:?}"),
        };
        assert!(lost(error, winner), "race {n}: {error:?}");
        assert!(winner.is(&store.entry(&winner.handle).unwrap()));
        assert_eq!(store.handle_for(&winner.digest).unwrap().as_slice(), winner.handle);
        assert_eq!(store.whole_body(&winner.handle).unwrap(), winner.body);
    }
    assert_eq!(store.count(), RACES as usize);
    store.close();
}

#[test]
fn two_adds_of_one_handle_have_one_winner() {
    let pair = |n: u32| [n, n + RACES].map(|m| named(format!("handle-{n}").as_bytes(), m));
    race(pair, |error, _| matches!(error, ChangeError::DuplicateHandle));
}

#[test]
fn two_adds_of_one_shape_have_one_winner() {
    let pair = |n: u32| ["left", "right"].map(|side| named(format!("{side}-{n}").as_bytes(), n));
    race(
        pair,
        |error, winner| matches!(error, ChangeError::DuplicateShape(there) if there.as_slice() == winner.handle),
    );
}

/// While the tables grow from nothing, whatever was added is found.
#[test]
fn what_is_there_is_found_while_the_tables_grow() {
    const SHAPES: u32 = 100_000;
    let (_folder, store) = store();
    let added = AtomicU32::new(0);
    let store = &store;
    thread::scope(|scope| {
        for seed in 0..3 {
            let added = &added;
            scope.spawn(move || {
                let mut chance = Rng(seed);
                loop {
                    let sure = added.load(Acquire);
                    for _ in 0..(sure.min(50)) {
                        let expected = shape(chance.below(sure as usize) as u32);
                        let entry = store.entry(&expected.handle);
                        assert!(expected.is(&entry.expect("an added shape is found")));
                        let found = store.handle_for(&expected.digest);
                        assert_eq!(found.expect("by digest").as_slice(), expected.handle);
                        assert_eq!(store.whole_body(&expected.handle), Some(expected.body));
                    }
                    if sure == SHAPES {
                        break;
                    }
                }
            });
        }
        for n in 0..SHAPES {
            store.add(&shape(n)).unwrap();
            added.store(n + 1, Release);
        }
    });
    assert_eq!(store.count(), SHAPES as usize);
    assert_eq!(
        store.handles_for_relations(&[1000, 1001, 1002], usize::MAX).unwrap().len(),
        SHAPES as usize
    );
}

/// What was removed is never found again, what stays is always found, by every
/// lookup, while neighbours come and go.
#[test]
fn removed_is_gone_and_permanent_stays() {
    const PERMANENT: u32 = 300;
    const PASSING: u32 = 20_000;
    const OID: u32 = 77;
    let (_folder, store) = store();
    let passing = |n: u32| Shape { oids: vec![OID, n % 5 + 100], ..shape(1_000_000 + n) };
    let permanent = |n: u32| Shape { oids: vec![OID], ..shape(n) };
    for n in 0..PERMANENT {
        store.add(&permanent(n)).unwrap();
    }
    let (removed, done) = (AtomicU32::new(0), AtomicBool::new(false));
    let (store, removed, done) = (&store, &removed, &done);
    thread::scope(|scope| {
        for seed in 0..2 {
            scope.spawn(move || {
                let mut chance = Rng(seed);
                while !done.load(Acquire) {
                    let gone_before = removed.load(Acquire);
                    let kept = permanent(chance.below(PERMANENT as usize) as u32);
                    assert!(kept.is(&store.entry(&kept.handle).expect("permanent")));
                    assert!(store.handle_for(&kept.digest).is_some());
                    assert_eq!(store.whole_body(&kept.handle), Some(kept.body));
                    if gone_before > 0 {
                        let back = chance.below(gone_before.min(40) as usize) as u32;
                        let gone = passing(gone_before - 1 - back);
                        assert_eq!(store.entry(&gone.handle), None);
                        assert_eq!(store.handle_for(&gone.digest), None);
                        assert!(store.body(&gone.handle).is_none());
                    }
                    if chance.below(40) == 0 {
                        lists_agree(store, gone_before, PERMANENT, permanent, passing);
                    }
                }
            });
        }
        for n in 0..PASSING {
            store.add(&passing(n)).unwrap();
            store.remove(&passing(n).handle).unwrap();
            removed.store(n + 1, Release);
        }
        done.store(true, Release);
    });
    assert_eq!(store.count(), PERMANENT as usize);
}

fn lists_agree(
    store: &Running,
    gone: u32,
    permanent: u32,
    kept: impl Fn(u32) -> Shape,
    passing: impl Fn(u32) -> Shape,
) {
    let all = store.places().into_iter().map(|place| place.handle).collect();
    for list in [store.handles_for_relations(&[77], usize::MAX).unwrap(), all] {
        let has = |handle: &[u8]| list.iter().any(|there| there.as_slice() == handle);
        (0..permanent).for_each(|n| assert!(has(&kept(n).handle), "a list lacks {n}"));
        for n in gone.saturating_sub(20)..gone {
            assert!(!has(&passing(n).handle), "a list has {n}, which was removed");
        }
    }
}

/// A cell passes from shape to shape, of this table and of another: a list of many pieces is sorted, lacks nothing that stays, and has
/// nothing of the other table.
#[test]
fn a_list_is_whole_and_sorted_while_cells_pass_on() {
    const PERMANENT: u32 = 1_200;
    let (_folder, store) = store();
    let of = |oid, n: u32| {
        let handle = format!("{}-{oid}-{n}", n.wrapping_mul(0x9e37_79b1) >> 5);
        Shape { oids: vec![oid], ..named(handle.as_bytes(), n) }
    };
    let mut permanent: Vec<_> = (0..PERMANENT).map(|n| of(1, n)).collect();
    for shape in &permanent {
        store.add(shape).unwrap();
    }
    permanent.sort_by(|a, b| a.handle.cmp(&b.handle));
    let done = AtomicBool::new(false);
    let (store, done, permanent) = (&store, &done, &permanent);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                while !done.load(Acquire) {
                    let list = store.handles_for_relations(&[1], usize::MAX).unwrap();
                    assert!(list.is_sorted_by(|a, b| a < b));
                    let mut rest = list.iter().map(|handle| handle.as_slice());
                    for shape in permanent {
                        assert!(rest.any(|handle| handle == shape.handle), "it lacks {shape:?}");
                    }
                    let other = |handle: &[u8]| handle.windows(3).any(|part| part == b"-2-");
                    assert!(!list.iter().any(|handle| other(handle)), "of another table");
                }
            });
        }
        for n in PERMANENT..40_000 {
            let passing = of(1 + n % 2, n);
            store.add(&passing).unwrap();
            store.remove(&passing.handle).unwrap();
        }
        done.store(true, Release);
    });
}

/// One handle is removed and added again as another shape, over and over: a
/// lookup gives one of the shapes, whole, or nothing.
#[test]
fn a_handle_taken_again_is_never_a_mixture() {
    let handles: [&[u8]; 2] = [b"short-1736944891394221", &[b'l'; 90]];
    for (handle, rounds) in handles.into_iter().zip([20_000u32, 10_000]) {
        let (_folder, store) = store();
        let done = AtomicBool::new(false);
        let current = AtomicU32::new(0);
        let (store, done, current) = (&store, &done, &current);
        store.add(&named(handle, 0)).unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(move || {
                    while !done.load(Acquire) {
                        let oldest = current.load(Acquire);
                        if let Some(entry) = store.entry(handle) {
                            assert!(named(handle, entry.hash).is(&entry), "mixed: {entry:?}");
                            assert!(entry.hash >= oldest, "{} after {oldest}", entry.hash);
                            if store.handle_for(&entry.digest).is_none() {
                                // Replaced meanwhile, or the lookups disagree.
                                let later = store.entry(handle).map(|e| e.hash);
                                assert_ne!(later, Some(entry.hash));
                            }
                        }
                        // A cold body may be gone by the time it is read.
                        if let Some(body) = store.whole_body(handle) {
                            let n = u32::from_le_bytes(body[..4].try_into().unwrap());
                            assert!(body == common::body(n) && n >= oldest);
                        }
                    }
                });
            }
            for n in 1..rounds {
                store.remove(handle).unwrap();
                store.add(&named(handle, n)).unwrap();
                current.store(n, Release);
                assert_eq!(store.entry(handle).unwrap().hash, n);
                assert_eq!(store.whole_body(handle), Some(common::body(n)));
                if n % 512 == 0 {
                    store.flush();
                    assert_eq!(store.whole_body(handle), Some(common::body(n)));
                }
            }
            done.store(true, Release);
        });
        assert_eq!(store.entry(handle).unwrap().hash, rounds - 1);
    }
}

/// Flushes against a writer that is about to rest: none goes unheard.
#[test]
fn no_flush_is_missed_by_a_writer_that_goes_to_rest() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Options { manual_flush: true, ..file_in(&folder) });
    let spin = AtomicU32::new(0);
    for n in 0..6_000 {
        let seq = store.add(&shape(n)).unwrap();
        // Meets the writer at another place each time.
        (0..n % 600 * 8).for_each(|i| spin.store(i, Relaxed));
        store.flush_to(seq);
        let outcome = store.outcome_within(seq, std::time::Duration::from_secs(5));
        assert!(outcome.is_some(), "flush {n} was not heard");
    }
    assert_eq!(store.handle_for(&Digest::of(b"none")), None);
}

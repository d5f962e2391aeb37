//! Shapes that are read while others come and go: a mark meets the shape it is meant for,
//! and those read longest ago are those of one moment.

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
    collections::HashSet,
    sync::atomic::{
        AtomicBool, AtomicI64, AtomicU32,
        Ordering::{Acquire, Relaxed, Release},
    },
    thread,
};

use common::{Running, Shape, named, open, rng::Rng, shape};
use shape_store::{Location, NewShape, Options, Request};

fn store() -> Running {
    open(Options::new(Location::Memory))
}

/// Sets it when it goes, also by a failure of the test: the threads that wait for it end.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Release);
    }
}

/// A few cells pass from shape to shape under the hands of 16 threads that read them. Each
/// shape has a time of its own, by which it shows whether it was marked for another.
#[test]
fn a_touch_never_marks_another_shape() {
    const SHAPES: u32 = 15_000;
    let store = store();
    let newest = AtomicU32::new(0);
    let done = AtomicBool::new(false);
    let of = |n: u32| match n % 3 {
        // Some do not fit a cell.
        0 => named(format!("{n}-{}", "x".repeat(60)).as_bytes(), n),
        _ => shape(n),
    };
    let (store, newest, done) = (&store, &newest, &done);
    thread::scope(|scope| {
        for seed in 0..16 {
            scope.spawn(move || {
                let mut chance = Rng(seed);
                while !done.load(Acquire) {
                    let n = newest.load(Relaxed) + chance.below(3) as u32;
                    let n = n.saturating_sub(1);
                    let touched = of(n);
                    let time = i64::from(n);
                    match chance.below(4) {
                        0 => _ = store.set_last_read(&touched.handle, time),
                        1 => {
                            if let Some(found) = store.lookup(&touched.digest, Some(time)) {
                                assert!(touched.is(&found.entry));
                                assert_eq!(found.read, Some(time));
                            }
                        }
                        _ => _ = store.touch(&touched.handle, time),
                    }
                    if let Some(meta) = store.meta(&touched.handle) {
                        assert!(touched.is(&meta.entry));
                        assert!(meta.read.is_none_or(|read| read == time), "{n}: {:?}", meta.read);
                    }
                }
            });
        }
        let _ending = Ending(done);
        for n in 0..SHAPES {
            store.add(&of(n)).unwrap();
            newest.store(n, Relaxed);
            if n >= 2 {
                let gone = of(n - 2);
                let read = store.meta(&gone.handle).unwrap().read;
                assert!(read.is_none_or(|read| read == i64::from(n - 2)));
                store.remove(&gone.handle).unwrap();
            }
        }
    });
    assert_eq!(store.count(), 2);
}

/// The coldest shape is read, then the one that is the coldest by then, over and over,
/// while others that are warm are read all the time. At every moment the coldest ones are
/// shapes that follow each other in this circle.
#[test]
fn the_least_recently_read_are_those_of_one_moment() {
    const COLD: i64 = 500;
    const WANTED: usize = 40;
    let store = store();
    let name = |n: i64| Shape { handle: format!("{n:04}").into_bytes(), ..shape(n as u32) };
    (0..COLD + 100).for_each(|n| assert!(store.add(&name(n)).is_ok()));
    let now = AtomicI64::new(0);
    (0..COLD).for_each(|n| assert!(store.touch(&name(n).handle, now.fetch_add(1, Relaxed))));
    let done = AtomicBool::new(false);
    let (store, now, done) = (&store, &now, &done);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut turn = 0;
            while !done.load(Acquire) {
                store.touch(&name(turn % COLD).handle, now.fetch_add(1, Relaxed));
                turn += 1;
            }
        });
        scope.spawn(move || {
            let mut chance = Rng(1);
            while !done.load(Acquire) {
                // Far from cold, whichever way they move.
                let warm = COLD + chance.below(100) as i64;
                let time = i64::MAX / 2 + chance.below(1_000) as i64;
                store.set_last_read(&name(warm).handle, time);
            }
        });
        let _ending = Ending(done);
        for round in 0..2_000 {
            let coldest = store.least_recently_read(WANTED, 0);
            let numbers = coldest
                .handles
                .iter()
                .map(|handle| std::str::from_utf8(handle).unwrap().parse::<i64>().unwrap());
            let numbers: Vec<_> = numbers.collect();
            let first = numbers[0];
            let expected = (0..WANTED as i64).map(|n| (first + n) % COLD);
            assert!(numbers.iter().copied().eq(expected), "round {round}: {numbers:?}");
        }
    });
}

/// Handles of one time, whatever of them is beside the stamps or in a cell: they begin alike,
/// are shorter than what is compared, or longer than a cell.
#[test]
fn of_one_time_the_first_handles_are_given_whatever_they_begin_with() {
    let long = "long".repeat(12);
    let beginnings = ["", "1", "12", "123", "1234", "1234\0", "12345678-", "\u{ff}", &long];
    let name = |n: u32| {
        let handle = format!("{}{}", beginnings[n as usize % beginnings.len()], n * 7_919 % 1_999);
        Shape { handle: handle.into_bytes(), ..shape(n) }
    };
    let store = store();
    let mut handles = Vec::new();
    for n in 0..1_900 {
        // Some numbers make a handle that is there already.
        if store.add(&name(n)).is_ok() {
            assert!(store.touch(&name(n).handle, 5));
            handles.push(name(n).handle);
        }
    }
    assert!(handles.len() > 1_500);
    handles.sort_unstable();
    for n in [1, 3, 40, 300, handles.len() - 1, handles.len()] {
        let coldest = store.least_recently_read(n, 5).handles;
        let coldest: Vec<_> = coldest.iter().map(|handle| handle.to_vec()).collect();
        assert_eq!(coldest, handles[..n]);
    }
}

/// At every moment one of two shapes is cold: each is made so before the other is read. A
/// look that missed the one before it sank and the other after it rose would find neither.
#[test]
fn a_shape_that_becomes_cold_during_a_look_is_not_missed() {
    const OTHERS: u32 = 3_000;
    let store = store();
    (0..OTHERS).for_each(|n| {
        store.add(&shape(n)).unwrap();
        assert!(store.touch(&shape(n).handle, 1_000 + i64::from(n)));
    });
    let [left, right] = [0, OTHERS - 1].map(|n| shape(n).handle);
    assert!(store.set_last_read(&left, -1));
    let done = AtomicBool::new(false);
    let (store, done, left, right) = (&store, &done, &left, &right);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut now = 10_000;
            while !done.load(Acquire) {
                for (sinks, rises) in [(right, left), (left, right)] {
                    store.set_last_read(sinks, -1);
                    now += 1;
                    store.touch(rises, now);
                }
            }
        });
        let _ending = Ending(done);
        for round in 0..2_000 {
            let coldest = store.least_recently_read(1, 0).handles;
            let found = coldest[0].as_slice();
            assert!(found == left || found == right, "round {round}: {found:?}");
        }
    });
}

/// A few shapes, all of which are read all the time: each thread reads its own in a circle.
/// At every moment the shapes of one thread follow each other in its circle.
#[test]
fn shapes_that_are_read_all_the_time_are_those_of_one_moment() {
    const THREADS: u32 = 4;
    const EACH: u32 = 6;
    let store = store();
    let name = |n: u32| Shape { handle: vec![n as u8], ..shape(n) };
    let now = AtomicI64::new(0);
    (0..THREADS * EACH).for_each(|n| {
        store.add(&name(n)).unwrap();
        assert!(store.touch(&name(n).handle, now.fetch_add(1, Relaxed)));
    });
    let done = AtomicBool::new(false);
    let (store, now, done) = (&store, &now, &done);
    thread::scope(|scope| {
        for thread in 0..THREADS {
            scope.spawn(move || {
                let shapes: Vec<_> = (0..EACH).map(|n| name(thread * EACH + n)).collect();
                let mut circle = shapes.iter().cycle();
                while !done.load(Acquire) {
                    let next = circle.next().unwrap();
                    store.touch(&next.handle, now.fetch_add(1, Relaxed));
                }
            });
        }
        let _ending = Ending(done);
        for round in 0..2_000 {
            let all = store.least_recently_read(1_000, 0).handles;
            assert_eq!(all.len(), (THREADS * EACH) as usize, "round {round}");
            for thread in 0..THREADS {
                let numbers = all.iter().map(|handle| u32::from(handle[0]));
                let own: Vec<_> = numbers.filter(|n| n / EACH == thread).collect();
                let expected = (0..EACH).map(|n| thread * EACH + (own[0] + n) % EACH);
                assert!(own.iter().copied().eq(expected), "round {round}: {own:?}");
            }
        }
    });
}

/// One shape after the other is added and read for the first time, each at an earlier time
/// than all before it. At every moment the coldest are the newest that were read, without a gap.
#[test]
fn no_first_reading_is_missed() {
    const WANTED: usize = 5;
    /// More than are read during a look. Without a bound each round would remove what came
    /// during the one before, and take ever longer.
    const AHEAD: u32 = 64;
    let store = store();
    let name = |n: u32| Shape { handle: format!("{n:08}").into_bytes(), ..shape(n) };
    let read = |n: u32| {
        store.add(&name(n)).unwrap();
        assert!(store.touch(&name(n).handle, -i64::from(n)));
    };
    (0..500).for_each(read);
    let done = AtomicBool::new(false);
    let seen = AtomicU32::new(499);
    let (store, done, seen, read) = (&store, &done, &seen, &read);
    thread::scope(|scope| {
        scope.spawn(move || {
            for n in 500.. {
                while n > seen.load(Acquire) + AHEAD && !done.load(Acquire) {
                    thread::yield_now();
                }
                if done.load(Acquire) {
                    break;
                }
                read(n);
            }
        });
        let _ending = Ending(done);
        let (mut newest, mut gone) = (499, 0);
        for round in 0..2_000 {
            let coldest = store.least_recently_read(WANTED, 0).handles;
            let numbers = coldest
                .iter()
                .map(|handle| std::str::from_utf8(handle).unwrap().parse::<u32>().unwrap());
            let numbers: Vec<_> = numbers.collect();
            let first = numbers[0];
            assert!(first >= newest, "round {round}: {first} after {newest}");
            newest = first;
            let expected = (0..WANTED as u32).map(|n| first - n);
            assert!(numbers.iter().copied().eq(expected), "round {round}: {numbers:?}");
            // What is added next comes into their cells, which are in no order.
            (gone..newest - 400).for_each(|n| assert!(store.remove(&name(n).handle).is_ok()));
            gone = newest - 400;
            seen.store(newest, Release);
        }
    });
}

/// Shapes are expired, added and read at once: none is expired twice or before it is read,
/// and the counts are right in the end.
#[test]
fn expiry_beside_adds() {
    const ADDERS: u32 = 3;
    const EACH: u32 = 8_000;
    let store = store();
    let now = AtomicI64::new(1);
    let adding = AtomicU32::new(ADDERS);
    let (store, now, adding) = (&store, &now, &adding);
    let expired = thread::scope(|scope| {
        for adder in 0..ADDERS {
            scope.spawn(move || {
                for n in adder * EACH..(adder + 1) * EACH {
                    let new = shape(n);
                    let flagged = NewShape { flags: (n % 4) as u8, ..new.to_add() };
                    store.store.add(flagged, Request::default()).unwrap();
                    assert_eq!(store.meta(&new.handle).unwrap().read, None);
                    store.touch(&new.handle, now.fetch_add(1, Relaxed));
                    drop(store.set_flags(&new.handle, (n % 8) as u8, Request::default()));
                }
                adding.fetch_sub(1, Release);
            });
        }
        let mut expired = HashSet::new();
        while adding.load(Acquire) > 0 {
            for handle in store.least_recently_read(50, now.load(Relaxed)).handles {
                assert!(expired.insert(handle.clone()), "expired twice");
                store.remove(&handle).unwrap();
            }
        }
        expired.len()
    });
    assert_eq!(store.count() + expired, (ADDERS * EACH) as usize);
    let places = store.places();
    for bit in 0..8 {
        let with =
            places.iter().filter(|place| store.entry_at(place).unwrap().flags >> bit & 1 == 1);
        assert_eq!(store.count_by_flags(1 << bit, 1 << bit), with.count());
    }
    assert_eq!(store.count_by_flags(0, 0), places.len());
}

//! When shapes were last read, across a restart.

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
    path::Path,
    time::{Duration, Instant},
};

use common::{PATIENCE, Running, file_in, open, path_of, shape, sql, unsynced};
use rusqlite::Connection;
use shape_store::{HostClock, Options};

const SECOND: i64 = 1_000_000_000;

/// A clock that starts below zero, as Erlang's does.
const THEN: i64 = -576_460_752_303_423_488;

fn at(options: Options, now: i64) -> Running {
    open(Options { clock: HostClock { now, per_second: SECOND as u32 }, ..options })
}

/// Whether a time is this one, give or take what the test took.
/// To the hour, as all times here are: the clock goes on, and how far is no matter.
fn is_about(time: Option<i64>, expected: i64) -> bool {
    time.is_some_and(|time| (time - expected).abs() < 1_800 * SECOND)
}

/// Shape n was read so many hours before `now`; those from 20 on never.
fn fill(store: &Running, now: i64) {
    (0..30).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    (0..20).for_each(|n| assert!(store.touch(&shape(n).handle, now - hours(n))));
    store.flush();
}

fn hours(n: u32) -> i64 {
    i64::from(n) * 3_600 * SECOND
}

fn assert_kept(store: &Running, now: i64) {
    for n in 0..30 {
        let expected = now - if n < 20 { hours(n) } else { 0 };
        let read = store.meta(&shape(n).handle).unwrap().read;
        assert!(is_about(read, expected), "{n}: {read:?}");
    }
    let coldest = store.least_recently_read(19, now).handles;
    let expected = (1..20).rev().map(|n| shape(n).handle);
    assert!(coldest.iter().map(|handle| handle.to_vec()).eq(expected));
}

#[test]
fn a_store_that_was_closed_knows_which_shapes_are_cold() {
    for exclusive in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { exclusive, ..unsynced(file_in(&folder)) };
        let store = at(options.clone(), THEN);
        fill(&store, THEN);
        store.close();
        // The clock of another run of the VM.
        let later = 77 * SECOND;
        let store = at(options.clone(), later);
        assert_kept(&store, later);
        store.close();
        // Unread for the whole of that run, and kept all the same.
        let store = at(options, THEN);
        assert_kept(&store, THEN);
    }
}

#[test]
fn a_store_that_keeps_no_ages_has_read_all_now() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { keep_ages: false, ..unsynced(file_in(&folder)) };
    let store = at(options.clone(), 0);
    fill(&store, 0);
    store.close();
    for keep_ages in [true, false] {
        let store = at(Options { keep_ages, ..options.clone() }, hours(5));
        let all = |n| is_about(store.meta(&shape(n).handle).unwrap().read, hours(5));
        assert!((0..30).all(all));
        store.close();
    }
}

/// Ages are no reason not to start, nor to lose anything.
#[test]
fn ages_that_cannot_be_used_count_for_nothing() {
    for damage in [
        "UPDATE ages SET items = x'00'",
        "DELETE FROM ages",
        "UPDATE ages SET items = zeroblob(800)",
        "UPDATE ages SET piece = -1",
    ] {
        let folder = tempfile::tempdir().unwrap();
        let options = unsynced(file_in(&folder));
        let store = at(options.clone(), 0);
        fill(&store, 0);
        store.close();
        sql::execute(path_of(&options), damage);
        let store = at(options, 0);
        assert_eq!((store.count(), &store.opening.quarantined), (30, &None));
        assert!((0..30).all(|n| is_about(store.meta(&shape(n).handle).unwrap().read, 0)));
    }
}

/// They are written now and then: a store that is never closed is found again as it was
/// then.
#[test]
fn after_a_crash_the_ages_last_written_count() {
    let folder = tempfile::tempdir().unwrap();
    let interval = Duration::from_millis(5);
    let options = Options { ages_interval: interval, ..unsynced(file_in(&folder)) };
    let store = at(options.clone(), 0);
    fill(&store, 0);
    let end = Instant::now() + PATIENCE;
    while items(path_of(&options)) < 20 {
        assert!(Instant::now() < end, "the ages are not written");
        std::thread::yield_now();
    }
    // What a crash leaves.
    let after = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("shapes.sqlite{suffix}");
        std::fs::copy(folder.path().join(&name), after.path().join(&name)).unwrap();
    }
    let store = at(file_in(&after), hours(1_000));
    assert_kept(&store, hours(1_000));
}

fn items(path: &Path) -> usize {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(PATIENCE).unwrap();
    let sql = "SELECT coalesce(sum(length(items)), 0) / 8 FROM ages";
    db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap() as usize
}

/// More rows than one piece of the table has, with gaps.
#[test]
fn ages_of_many_rows_are_found_again() {
    const ROWS: u32 = 70_000;
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let store = at(options.clone(), 0);
    (0..ROWS).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    (0..ROWS).step_by(7).for_each(|n| assert!(store.remove(&shape(n).handle).is_ok()));
    (0..ROWS).step_by(3).for_each(|n| {
        store.touch(&shape(n).handle, -hours(n % 100));
    });
    store.close();
    let store = at(options, 0);
    for n in (0..ROWS).filter(|n| n % 7 != 0) {
        let expected = if n % 3 == 0 { -hours(n % 100) } else { 0 };
        assert!(is_about(store.meta(&shape(n).handle).unwrap().read, expected), "{n}");
    }
}

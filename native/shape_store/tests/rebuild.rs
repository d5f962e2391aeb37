//! A file that turns out to be corrupt while a store has it: it is moved aside and
//! written anew from memory, and what could not be had any more is named.

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
    collections::BTreeSet,
    fs,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use common::{PATIENCE, Running, Shape, file_in, open, path_of, shape, sql, tell, unsynced};
use crossbeam_channel::unbounded;
use shape_store::{Event, Options, Outcome, Request, Snapshot};

const SHAPES: u32 = 500;

fn truth(n: u32) -> Shape {
    Shape { body: common::body(n).repeat(8), ..shape(n) }
}

/// A store with shapes and with no connection open.
fn at_rest(cache_bytes: usize) -> (tempfile::TempDir, Running, Options) {
    let folder = tempfile::tempdir().unwrap();
    let connection_idle = Duration::from_millis(20);
    let options = unsynced(Options { cache_bytes, connection_idle, ..file_in(&folder) });
    let store = open(options.clone());
    (0..SHAPES).for_each(|n| assert!(store.add(&truth(n)).is_ok()));
    store.flush();
    let end = Instant::now() + PATIENCE;
    // The log goes last, when all of it is in the file.
    let log = folder.path().join("shapes.sqlite-wal");
    while store.statistics().connections > 0 || log.exists() {
        assert!(Instant::now() < end, "connections stay open without use");
        std::thread::yield_now();
    }
    (folder, store, options)
}

/// Overwrites pages of the file, from this part of it on.
fn spoil(path: &Path, from: f64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let pages = file.metadata().unwrap().len() / 16_384;
    for page in ((pages as f64 * from) as u64).max(1)..pages {
        file.write_all_at(&[0xa5; 200], page * 16_384).unwrap();
    }
}

fn rebuilt(store: &Running) -> (PathBuf, BTreeSet<Vec<u8>>) {
    store.event(|event| match event {
        Event::Rebuilt { quarantined, lost, .. } => {
            Some((quarantined.unwrap(), lost.iter().map(|handle| handle.to_vec()).collect()))
        }
        _ => None,
    })
}

/// Whatever is not among the lost is there, here and after a restart.
fn assert_all_but(lost: &BTreeSet<Vec<u8>>, store: Running, options: Options) {
    let check = |store: &Running| {
        for n in 0..SHAPES {
            let truth = truth(n);
            let there = store.entry(&truth.handle);
            assert_eq!(there.is_none(), lost.contains(&truth.handle), "{n}");
            if let Some(entry) = there {
                assert!(truth.is(&entry));
                assert_eq!(store.whole_body(&truth.handle), Some(truth.body));
            }
        }
    };
    check(&store);
    let seq = store.add(&shape(SHAPES)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    store.close();
    sql::assert_sound(path_of(&options), "rebuilt");
    let store = open(options);
    assert_eq!(store.opening.quarantined, None);
    check(&store);
}

#[test]
fn a_commit_that_meets_corruption_rebuilds_the_file_from_memory() {
    let (_folder, store, options) = at_rest(64 << 20);
    spoil(path_of(&options), 0.0);
    let seq = store.remove(&shape(3).handle).unwrap();
    let (aside, lost) = rebuilt(&store);
    assert!(aside.exists());
    assert_eq!(lost, BTreeSet::new(), "every body was warm");
    assert_eq!(store.outcome(seq), Outcome::Durable);
    store.add(&truth(3)).unwrap();
    assert_all_but(&lost, store, options);
}

#[test]
fn a_read_that_meets_corruption_rebuilds_what_can_be_read() {
    let (_folder, store, options) = at_rest(0);
    spoil(path_of(&options), 0.6);
    let failed = (0..SHAPES).rev().find(|n| store.try_body(&shape(*n).handle).is_err());
    assert!(failed.is_some(), "some page was met");
    let (_, lost) = rebuilt(&store);
    assert!(!lost.is_empty() && lost.len() < SHAPES as usize, "{} lost", lost.len());
    assert_all_but(&lost, store, options);
}

/// A reader that was lent meanwhile has the old file open. Nobody reads from it
/// when it has come home.
#[test]
fn a_reader_of_the_old_file_is_not_used_again() {
    let (_folder, store, options) = at_rest(0);
    let (sender, granted) = unbounded();
    store.ask_reader(tell(sender));
    let lease = granted.recv_timeout(PATIENCE).unwrap().unwrap();
    let one = |sql: &str| lease.with(|conn| conn.query_row(sql, [], |row| row.get::<_, i64>(0)));
    assert_eq!(one("SELECT count(*) FROM shapes").unwrap().unwrap(), i64::from(SHAPES));
    spoil(path_of(&options), 0.9);
    let failed = (0..SHAPES).rev().find(|n| store.try_body(&shape(*n).handle).is_err());
    assert!(failed.is_some(), "some page was met");
    let (_, lost) = rebuilt(&store);
    drop(lease);
    for n in SHAPES..SHAPES + 5 {
        let seq = store.add(&truth(n)).unwrap();
        assert_eq!(store.outcome(seq), Outcome::Durable);
        assert_eq!(store.whole_body(&truth(n).handle), Some(truth(n).body));
        store.remove(&truth(n).handle).unwrap();
    }
    assert_all_but(&lost, store, options);
}

/// What is marked in memory alone is forgotten with the store, also when the file was written
/// anew from memory meanwhile.
#[test]
fn a_file_that_is_written_anew_has_no_marks_of_memory_alone() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let store = open(options.clone());
    (0..3).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.mark(&shape(1).handle, Snapshot::Started, Request::default()).unwrap();
    store.flush();
    (0..2).for_each(|n| store.mark_in_memory(&shape(n).handle, Snapshot::Started).unwrap());
    store.mark_in_memory(&shape(2).handle, Snapshot::Complete).unwrap();
    fs::remove_file(path_of(&options)).unwrap();
    let seq = store.add(&shape(3)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    assert_eq!(store.statistics().rebuilds, 1);
    let snapshot = |store: &Running, n: u32| store.entry(&shape(n).handle).unwrap().snapshot;
    let (none, started, complete) = (Snapshot::None, Snapshot::Started, Snapshot::Complete);
    assert_eq!([0, 1, 2, 3].map(|n| snapshot(&store, n)), [started, started, complete, none]);
    store.close();
    let store = open(options);
    assert_eq!([0, 1, 2, 3].map(|n| snapshot(&store, n)), [none, started, none, none]);
}

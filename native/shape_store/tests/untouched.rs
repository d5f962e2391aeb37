//! A store that did nothing leaves its file as it found it, and waits for no disk.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::{fs, path::PathBuf};

use common::{file_in, open, path_of, shape, tell};
use fault_vfs::{FaultVfs, Kinds};
use shape_store::{Options, Outcome, Waiting};

fn log_of(options: &Options) -> PathBuf {
    PathBuf::from(format!("{}-wal", path_of(options).display()))
}

#[test]
fn a_store_that_did_nothing_ends_without_a_sync_and_is_found_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultVfs::unique();
    let options = Options { vfs: Some(vfs.name().into()), ..file_in(&folder) };
    let store = open(options.clone());
    store.add(&shape(1)).unwrap();
    store.close();
    assert!(!log_of(&options).exists());
    let before = fs::read(path_of(&options)).unwrap();
    let syncs = vfs.operations().of(Kinds::SYNC);

    let mut epoch = 0;
    for _ in 0..3 {
        let store = open(options.clone());
        let statistics = store.statistics();
        assert_eq!((statistics.found_clean, store.count()), (1, 1));
        assert!(statistics.epoch > epoch, "each start is another writer");
        epoch = statistics.epoch;
        store.close();
        assert!(fs::read(path_of(&options)).unwrap() == before);
    }
    assert_eq!(vfs.operations().of(Kinds::SYNC), syncs);

    // One that does something has it all in the file, and on the disk.
    let store = open(options.clone());
    let seq = store.add(&shape(2)).unwrap();
    store.flush_to(seq);
    let (told, outcome) = crossbeam_channel::unbounded();
    match store.wait(seq, tell(told)) {
        Waiting::Over(outcome) => assert_eq!(outcome, Outcome::Durable),
        Waiting::Until(_) => {
            assert_eq!(outcome.recv_timeout(common::PATIENCE).unwrap(), Outcome::Durable);
        }
    }
    store.close();
    assert!(vfs.operations().of(Kinds::SYNC) > syncs);
    assert!(!log_of(&options).exists());
    let store = open(options);
    assert_eq!((store.statistics().found_clean, store.count()), (1, 2));
    store.close();
}

#[test]
fn a_log_that_was_left_does_not_grow_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let options = common::unsynced(file_in(&folder));
    let store = open(options.clone());
    store.add(&shape(1)).unwrap();
    store.close();
    let mut longest = 0;
    let mut gone = 0;
    for _ in 0..150 {
        open(options.clone()).close();
        match fs::metadata(log_of(&options)) {
            Ok(log) => longest = longest.max(log.len()),
            Err(_) => gone += 1,
        }
    }
    assert!(gone > 0 && longest < 3 << 20, "{longest} bytes, gone {gone} times");
}

/// When shapes were last read is first written by the start that loaded them, and makes the
/// file longer: what stays in the log then would have the next start check the whole file.
#[test]
fn a_store_that_did_nothing_never_leaves_a_file_shorter_than_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let options = file_in(&folder);
    let store = open(options.clone());
    for n in 0..10_000 {
        store.add(&shape(n)).unwrap();
    }
    store.close();
    let mut left_in_log = Vec::new();
    for _ in 0..3 {
        let store = open(options.clone());
        assert_eq!((store.statistics().found_clean, store.count()), (1, 10_000));
        store.close();
        left_in_log.push(log_of(&options).exists());
        let len = fs::metadata(path_of(&options)).unwrap().len();
        let conn = rusqlite::Connection::open(path_of(&options)).unwrap();
        conn.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)
            .unwrap();
        let number = |sql| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(number("PRAGMA page_count") * number("PRAGMA page_size"), len as i64);
    }
    assert_eq!(left_in_log, [false, true, true]);
}

//! Operations are held and released; others go on meanwhile.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{DELETE, WAL, commit, last, open};
use fault_vfs::{Fault, FaultVfs, Kinds, Plan};
use std::{thread, time::Duration};

const LONG: Duration = Duration::from_secs(60);

#[test]
fn a_held_sync_blocks_its_commit_and_no_reader() {
    let vfs = FaultVfs::unique();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut db = open(&vfs, &path, WAL).unwrap();
    let reader = open(&vfs, &path, WAL).unwrap();
    thread::scope(|scope| {
        let hold = vfs.hold(Kinds::SYNC);
        let commit = scope.spawn(|| commit(&mut db, 1));
        assert!(vfs.wait_until_held(LONG));
        assert_eq!(vfs.held(), 1);
        assert!(!commit.is_finished());
        assert_eq!(last(&reader).unwrap(), 0);
        hold.release();
        commit.join().unwrap().unwrap();
    });
    assert_eq!(last(&reader).unwrap(), 1);
    assert_eq!(vfs.held(), 0);
}

#[test]
fn a_held_operation_can_be_failed_or_healed_before_it_goes_on() {
    for mode in [WAL, DELETE] {
        let vfs = FaultVfs::unique();
        let dir = tempfile::tempdir().unwrap();
        let mut db = open(&vfs, &dir.path().join("a.db"), mode).unwrap();
        for fails in [true, false] {
            thread::scope(|scope| {
                let hold = vfs.hold(Kinds::WRITE);
                let commit = scope.spawn(|| commit(&mut db, 1));
                assert!(vfs.wait_until_held(LONG));
                vfs.fail(Plan::nth(1, Fault::IoErr));
                if !fails {
                    vfs.heal();
                }
                hold.release();
                assert_eq!(commit.join().unwrap().is_err(), fails, "{mode:?}");
            });
        }
    }
}

#[test]
fn a_hold_lets_operations_pass_one_by_one() {
    let vfs = FaultVfs::unique();
    let dir = tempfile::tempdir().unwrap();
    let mut db = open(&vfs, &dir.path().join("a.db"), DELETE).unwrap();
    let before = vfs.operations().of(Kinds::SYNC);
    thread::scope(|scope| {
        let hold = vfs.hold(Kinds::SYNC);
        let commit = scope.spawn(|| commit(&mut db, 1));
        // One by one: each passes only when it is let go.
        let mut passed = 0;
        while !commit.is_finished() {
            if vfs.wait_until_held(Duration::from_millis(20)) {
                assert_eq!(vfs.operations().of(Kinds::SYNC) - before, passed);
                // What passed is not caught again, however late it wakes.
                hold.pass();
                passed += 1;
            }
        }
        assert!(passed >= 3, "{passed}");
        drop(hold);
        commit.join().unwrap().unwrap();
    });
}

#[test]
fn a_dropped_hold_releases_and_waiting_is_bounded() {
    let vfs = FaultVfs::unique();
    assert!(!vfs.wait_until_held(Duration::ZERO));
    let dir = tempfile::tempdir().unwrap();
    let mut db = open(&vfs, &dir.path().join("a.db"), WAL).unwrap();
    let failed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        thread::scope(|scope| {
            let _hold = vfs.hold(Kinds::ALL);
            scope.spawn(|| commit(&mut db, 1).unwrap());
            assert!(vfs.wait_until_held(LONG));
            panic!("a test fails");
        });
    }));
    assert!(failed.is_err());
    assert_eq!(last(&db).unwrap(), 1);
}

//! Each operation of a workload fails in turn, in every way; afterwards nothing is lost, twice
//! or corrupt.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{DELETE, Mode, WAL, check, commit, last, open};
use fault_vfs::{Count, Fault, FaultVfs, Kind, Kinds, Plan, Roles};
use rusqlite::{Connection, ErrorCode, Result};
use std::{path::Path, sync::Arc};

const BATCHES: i64 = 6;

/// Commits the batches, trying each again until it holds; heals after a few failures.
fn run(vfs: &FaultVfs, path: &Path, mode: Mode) {
    let mut db = None;
    let mut failures = 0;
    for batch in 1..=BATCHES {
        while let Err(error) = step(vfs, path, mode, &mut db, batch) {
            failures += 1;
            // Now with the same connection, now with a new one.
            if failures % 2 == 0 {
                db = None;
            }
            if failures == 4 {
                vfs.heal();
            }
            assert!(failures < 12, "batch {batch} goes on failing: {error}");
        }
    }
}

fn step(
    vfs: &FaultVfs,
    path: &Path,
    mode: Mode,
    db: &mut Option<Connection>,
    batch: i64,
) -> Result<()> {
    if db.is_none() {
        *db = Some(open(vfs, path, mode)?);
    }
    let db = db.as_mut().unwrap();
    if !db.is_autocommit() {
        db.execute_batch("rollback")?;
    }
    // A commit that reported an error may have been done all the same.
    if last(db)? < batch { commit(db, batch) } else { Ok(()) }
}

/// Runs once per operation until the plan comes too late to hit any; returns the points.
fn each_operation(vfs: &Arc<FaultVfs>, mode: Mode, plan: Plan) -> u64 {
    let dir = tempfile::tempdir().unwrap();
    for from in 1.. {
        let path = dir.path().join(format!("{from}.db"));
        let before = vfs.injected();
        vfs.fail(Plan { from, ..plan });
        run(vfs, &path, mode);
        vfs.heal();
        assert_eq!(check(&path), Ok(Some(BATCHES)), "{mode:?} {plan:?} from {from}");
        if vfs.injected() == before {
            return from - 1;
        }
    }
    unreachable!()
}

fn matrix(mode: Mode) {
    let vfs = FaultVfs::unique();
    vfs.skip_syncs(true);
    for fault in Fault::ALL {
        let plan = Plan::nth(1, fault);
        let plans = [plan, plan.times(3), plan.forever()];
        // With every lock of `-shm` busy for ever, SQLite waits 10 s before each error.
        let plans = if fault == Fault::Busy { &plans[..2] } else { &plans[..] };
        for plan in plans {
            let points = each_operation(&vfs, mode, *plan);
            assert!(points > 20, "{mode:?} {plan:?}: {points} points");
        }
    }
    // Reads, locks and maps too, which the matrix leaves out for time.
    each_operation(&vfs, mode, Plan::nth(1, Fault::IoErr).kinds(Kinds::ALL));
}

#[test]
fn each_operation_fails_in_wal_mode() {
    matrix(WAL);
}

#[test]
fn each_operation_fails_in_delete_mode() {
    matrix(DELETE);
}

#[test]
fn operations_are_counted_by_kind_and_role() {
    let vfs = FaultVfs::unique();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut db = open(&vfs, &path, WAL).unwrap();
    let before = vfs.operations();
    commit(&mut db, 1).unwrap();
    let after = vfs.operations();
    let made = |kind: Kinds, roles| after.count(kind, roles) - before.count(kind, roles);
    assert_eq!(made(Kinds::SYNC, Roles::WAL), 1, "{after}");
    assert!(made(Kinds::WRITE, Roles::WAL) >= 4, "{after}");
    assert_eq!(made(Kind::Write.into(), Roles::JOURNAL), 0, "{after}");
    assert!(after.count(Kinds::MAP, Roles::SHM) > 0, "{after}");
    assert_eq!(
        after.total(),
        after.of(Kinds::CHANGING) + after.of(Kinds::READ | Kinds::LOCK | Kinds::MAP)
    );
}

#[test]
fn a_plan_names_kinds_roles_and_count() {
    let vfs = FaultVfs::unique();
    let dir = tempfile::tempdir().unwrap();
    let mut db = open(&vfs, &dir.path().join("a.db"), WAL).unwrap();

    // Nothing writes a journal in this mode.
    vfs.fail(Plan::nth(1, Fault::IoErr).roles(Roles::JOURNAL).forever());
    commit(&mut db, 1).unwrap();
    assert_eq!(vfs.injected(), 0);

    let plan = Plan::nth(1, Fault::Full).kinds(Kinds::WRITE).roles(Roles::WAL).times(2);
    assert_eq!(plan.count, Count::Times(2));
    vfs.fail(plan);
    for _ in 0..2 {
        let error = commit(&mut db, 2).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull));
    }
    commit(&mut db, 2).unwrap();
    assert_eq!(vfs.injected(), 2);

    vfs.fail(Plan::nth(1, Fault::ReadOnly).forever());
    let error = commit(&mut db, 3).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly));
    assert_eq!(last(&db).unwrap(), 2);
    vfs.heal();
    commit(&mut db, 3).unwrap();
}

#[test]
fn a_name_is_registered_once_and_can_be_given_back() {
    let vfs = FaultVfs::register("mine");
    assert!(std::panic::catch_unwind(|| FaultVfs::register("mine")).is_err());
    let dir = tempfile::tempdir().unwrap();
    let mut db = open(&vfs, &dir.path().join("a.db"), DELETE).unwrap();
    vfs.unregister();
    assert!(open(&vfs, &dir.path().join("b.db"), DELETE).is_err());
    commit(&mut db, 1).unwrap();
    FaultVfs::register("mine");
}

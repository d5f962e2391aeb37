//! Raw SQLite, and the system's files and locks, on the platform.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends at what it does not expect"
)]

use std::{
    cell::{Cell, RefCell},
    path::Path,
    rc::Rc,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use shape_store::System as _;
use simulate::{
    chance::Chance,
    platform::{Fault, Kind, Platform, ProcessId},
    system::Simulated,
    vfs,
};

const PATH: &str = "/data/db";

fn install(seed: u64) -> Rc<Platform> {
    let platform = Platform::install(seed);
    platform.disk.borrow_mut().make_folders("/data").unwrap();
    platform
}

fn connect(slot: usize) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags_and_vfs(PATH, flags, vfs::name_of(slot).as_str())?;
    conn.busy_timeout(Duration::from_millis(250))?;
    Ok(conn)
}

fn set_up(conn: &Connection, journal: &str, synchronous: &str) -> rusqlite::Result<()> {
    conn.execute_batch(&format!(
        "pragma journal_mode={journal}; pragma synchronous={synchronous};
         create table if not exists t(id integer primary key, x)"
    ))
}

fn count(conn: &Connection) -> rusqlite::Result<i64> {
    conn.query_row("select count(*) from t", [], |row| row.get(0))
}

fn is_sound(conn: &Connection) -> bool {
    conn.query_row("pragma integrity_check", [], |row| row.get::<_, String>(0)).unwrap() == "ok"
}

/// Rows of 900 bytes, three a transaction. Says how many were acknowledged.
fn insert(
    conn: &Connection,
    transactions: usize,
    acknowledged: &Cell<i64>,
) -> rusqlite::Result<()> {
    for _ in 0..transactions {
        conn.execute_batch("begin immediate")?;
        for _ in 0..3 {
            conn.execute("insert into t(x) values (randomblob(900))", [])?;
        }
        conn.execute_batch("commit")?;
        acknowledged.set(acknowledged.get() + 3);
    }
    Ok(())
}

#[test]
fn two_processes_share_a_database_in_wal_mode() {
    let platform = install(1);
    platform.start(0);
    platform.start(1);
    let (a, b) = (connect(0).unwrap(), connect(1).unwrap());
    set_up(&a, "wal", "off").unwrap();
    assert_eq!(count(&b).unwrap(), 0);
    a.execute_batch("begin immediate; insert into t(x) values (1)").unwrap();
    assert_eq!(count(&b).unwrap(), 0);
    let before = platform.elapsed();
    let busy = b.execute_batch("begin immediate").unwrap_err();
    assert_eq!(busy.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    assert!(platform.elapsed() - before >= Duration::from_millis(240));
    a.execute_batch("commit").unwrap();
    assert_eq!(count(&b).unwrap(), 1);
    b.execute("insert into t(x) values (2)", []).unwrap();
    assert_eq!(count(&a).unwrap(), 2);
    drop(a);
    assert!(platform.disk.borrow().find("/data/db-wal").is_some());
    drop(b);
    let left = platform.disk.borrow().list("/data");
    assert_eq!(left, [PATH]);
}

#[test]
fn two_processes_share_a_database_with_a_rollback_journal() {
    let platform = install(2);
    platform.start(0);
    platform.start(1);
    let (a, b) = (connect(0).unwrap(), connect(1).unwrap());
    set_up(&a, "delete", "full").unwrap();
    a.execute_batch("begin immediate; insert into t(x) values (1)").unwrap();
    assert_eq!(count(&b).unwrap(), 0);
    assert!(b.execute_batch("begin immediate").is_err());
    b.execute_batch("begin; select count(*) from t").unwrap();
    assert_eq!(count(&b).unwrap(), 0);
    let busy = a.execute_batch("commit").unwrap_err();
    assert_eq!(busy.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
    b.execute_batch("commit").unwrap();
    a.execute_batch("commit").unwrap();
    assert_eq!(count(&b).unwrap(), 1);
}

/// Ends a process, or all, at the nth operation of a workload, for each n.
fn at_each_operation(
    journal: &str,
    synchronous: &str,
    power: bool,
    seed: u64,
    check: impl Fn(Option<&Connection>, i64, bool) -> bool,
) {
    for n in 1.. {
        let platform = install(seed);
        let process = platform.start(0);
        let other = platform.start(1);
        let acknowledged = Cell::new(0);
        let conn = connect(0).unwrap();
        set_up(&conn, journal, synchronous).unwrap();
        insert(&conn, 1, &acknowledged).unwrap();
        platform.disk.borrow_mut().sync_folder("/data").unwrap();
        let survivor = (!power).then(|| connect(1).unwrap());
        if let Some(survivor) = &survivor {
            count(survivor).unwrap();
        }
        let left = Rc::new(Cell::new(n));
        let killer = Rc::clone(&platform);
        let ticking = Rc::clone(&left);
        platform.set_hook(Some(Rc::new(move |operation| {
            if operation.process == process {
                ticking.set(ticking.get() - 1);
                if ticking.get() == 0 {
                    killer.kill(process);
                    if power {
                        killer.kill(other);
                    }
                }
            }
            None
        })));
        let done = platform.within(process, || {
            let work = insert(&conn, 4, &acknowledged)
                .and_then(|()| conn.query_row("pragma wal_checkpoint(restart)", [], |_| Ok(())))
                .and_then(|()| insert(&conn, 2, &acknowledged));
            drop(conn);
            work.is_ok() && left.get() > 0
        });
        platform.set_hook(None);
        if power {
            for process in [process, other] {
                if platform.is_alive(process) {
                    platform.kill(process);
                }
            }
            platform.disk.borrow_mut().lose_power(&mut Chance::new(seed + n as u64));
        } else if !done {
            assert!(!platform.is_alive(process));
        }
        platform.start(0);
        if let Some(survivor) = &survivor {
            assert!(check(Some(survivor), acknowledged.get(), false), "{journal} {n}");
        }
        let again = connect(0).unwrap();
        assert!(check(Some(&again), acknowledged.get(), true), "{journal} {n} of seed {seed}");
        if done {
            assert!(n > 30, "the workload has more operations than {n}");
            break;
        }
    }
}

#[test]
fn a_process_that_is_killed_leaves_what_it_committed_and_nothing_half() {
    for (journal, synchronous) in [("wal", "off"), ("wal", "full"), ("delete", "full")] {
        at_each_operation(journal, synchronous, false, 3, |conn, acknowledged, _| {
            let conn = conn.unwrap();
            let there = count(conn).unwrap();
            is_sound(conn) && there >= acknowledged && there <= acknowledged + 3 && there % 3 == 0
        });
    }
}

#[test]
fn a_loss_of_power_takes_nothing_that_was_synced() {
    for seed in 0..6 {
        for (journal, synchronous) in [("wal", "full"), ("delete", "extra")] {
            at_each_operation(journal, synchronous, true, seed * 1000, |conn, acknowledged, _| {
                let conn = conn.unwrap();
                let there = count(conn).unwrap();
                is_sound(conn) && there >= acknowledged && there <= acknowledged + 3
            });
        }
    }
}

#[test]
fn a_loss_of_power_can_take_what_was_not_synced() {
    let lost = RefCell::new(0);
    for seed in 0..5 {
        at_each_operation("wal", "off", true, seed * 1000, |conn, acknowledged, _| {
            let there = count(conn.unwrap());
            *lost.borrow_mut() += i32::from(there.is_ok_and(|there| there < acknowledged));
            true
        });
    }
    assert!(lost.into_inner() > 10);
}

#[test]
fn an_operation_can_fail() {
    let platform = install(4);
    let process = platform.start(0);
    let conn = connect(0).unwrap();
    set_up(&conn, "wal", "full").unwrap();
    for (kind, fault, code) in [
        (Kind::Write, Fault::Io, ErrorCode::SystemIoFailure),
        (Kind::Write, Fault::Half, ErrorCode::SystemIoFailure),
        (Kind::Write, Fault::Full, ErrorCode::DiskFull),
        (Kind::Sync, Fault::Io, ErrorCode::SystemIoFailure),
    ] {
        platform.set_hook(Some(Rc::new(move |op| (op.kind == kind).then_some(fault))));
        let error = conn.execute("insert into t(x) values (randomblob(9000))", []).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(code), "{kind:?} {fault:?}");
        platform.set_hook(None);
    }
    let used = platform.disk.borrow().used();
    platform.disk.borrow_mut().set_capacity(Some(used + 1000));
    let error = conn.execute("insert into t(x) values (randomblob(90000))", []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull));
    platform.disk.borrow_mut().set_capacity(None);
    conn.execute("insert into t(x) values (randomblob(9000))", []).unwrap();
    assert_eq!(count(&conn).unwrap(), 1);
    assert!(platform.is_alive(process) && is_sound(&conn));
}

#[test]
fn others_run_within_an_operation() {
    let platform = install(5);
    let process = platform.start(0);
    platform.start(1);
    let (a, b) = (connect(0).unwrap(), Rc::new(connect(1).unwrap()));
    set_up(&a, "wal", "full").unwrap();
    let nested = Rc::clone(&b);
    let busy = Rc::new(Cell::new(0));
    let met = Rc::clone(&busy);
    platform.set_hook(Some(Rc::new(move |operation| {
        if operation.process == process && operation.kind == Kind::Sync {
            let refused = nested.execute("insert into t(x) values (1)", []).is_err();
            met.set(met.get() + i32::from(refused));
        }
        None
    })));
    a.execute("insert into t(x) values (2)", []).unwrap();
    assert!(busy.get() > 0);
    platform.set_hook(None);
    assert_eq!(count(&b).unwrap(), 1);
}

fn system(platform: &Platform, slot: usize) -> (ProcessId, Simulated) {
    let process = platform.start(slot);
    (process, Simulated::new(platform, process))
}

#[test]
fn lock_files_tell_processes_of_each_other() {
    let platform = install(6);
    let (one, a) = system(&platform, 0);
    let (_, b) = system(&platform, 1);
    let path = Path::new("/data/db.lock");
    let (mine, theirs) = (a.lock_file(path).unwrap(), b.lock_file(path).unwrap());
    assert!(mine.try_exclusive().unwrap());
    assert!(!theirs.try_shared().unwrap());
    mine.write("one").unwrap();
    assert_eq!(theirs.read().unwrap(), "one");
    assert!(mine.try_shared().unwrap());
    assert!(theirs.try_shared().unwrap());
    assert!(!theirs.try_exclusive().unwrap());
    // What was held was given up for the try.
    assert!(mine.try_exclusive().unwrap());
    platform.kill(one);
    assert!(theirs.try_exclusive().unwrap());
    assert!(mine.try_shared().is_err());
    platform.disk.borrow_mut().remove("/data/db.lock").unwrap();
    let anew = b.lock_file(path).unwrap();
    assert!(anew.try_exclusive().unwrap());
    assert_ne!(anew.id().unwrap(), theirs.id().unwrap());
}

#[test]
fn a_number_is_given_again_once_nobody_has_its_file() {
    let platform = install(7);
    let (_, a) = system(&platform, 0);
    let path = Path::new("/data/x");
    a.append(path, b"one").unwrap();
    let anchor = a.anchor(path).unwrap();
    a.remove(path).unwrap();
    a.append(path, b"two").unwrap();
    let second = a.stat(path).unwrap().unwrap().id;
    assert_ne!(second, anchor.id());
    anchor.copy_to(Path::new("/data/copy")).unwrap();
    let mut buffer = [0; 8];
    assert_eq!(a.read_at(Path::new("/data/copy"), 0, &mut buffer).unwrap(), 3);
    assert_eq!(&buffer[..3], b"one");
    let first = anchor.id();
    drop(anchor);
    a.append(Path::new("/data/third"), b"three").unwrap();
    assert_eq!(a.stat(Path::new("/data/third")).unwrap().unwrap().id, first);
    assert!(platform.take_violations().is_empty());
}

#[test]
fn a_database_that_was_moved_is_not_written() {
    let platform = install(8);
    platform.start(0);
    let conn = connect(0).unwrap();
    set_up(&conn, "delete", "full").unwrap();
    platform.disk.borrow_mut().rename(PATH, "/data/elsewhere").unwrap();
    assert!(conn.execute("insert into t(x) values (1)", []).is_err());
    platform.disk.borrow_mut().rename("/data/elsewhere", PATH).unwrap();
    conn.execute("insert into t(x) values (1)", []).unwrap();
}

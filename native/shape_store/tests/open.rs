//! Opening: bad files, bad places, two stores for one file, and an owner that
//! lets go with changes still queued.

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
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use common::{PATIENCE, Shape, file_in, open, path_of, shape, sql, try_open, unsynced};
use fault_vfs::{Fault, FaultVfs, Kinds, Plan};
use shape_store::{Event, Location, Options, Outcome, State, Store};

/// Something in our file's place is moved aside and kept, and the store starts
/// empty and works.
fn is_moved_aside(make: impl Fn(&Path)) {
    for exclusive in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let options = unsynced(Options { exclusive, ..file_in(&folder) });
        make(path_of(&options));
        let store = open(options.clone());
        let aside = store.opening.quarantined.clone().expect("it is moved aside");
        assert!(aside.exists() && store.count() == 0);
        store.add(&shape(1)).unwrap();
        store.close();
        let store = open(options);
        assert_eq!((store.count(), store.opening.quarantined.clone()), (1, None));
        assert!(aside.exists(), "it is kept");
    }
}

#[test]
fn what_is_not_a_database_is_moved_aside() {
    is_moved_aside(|path| fs::write(path, "certainly not a database ".repeat(2_000)).unwrap());
    is_moved_aside(|path| fs::write(path, b"short").unwrap());
}

#[test]
fn a_directory_is_moved_aside() {
    is_moved_aside(|path| fs::create_dir(path).unwrap());
}

#[test]
fn a_database_of_others_is_moved_aside() {
    is_moved_aside(|path| sql::execute(path, "CREATE TABLE shapes(id); PRAGMA user_version = 5"));
    is_moved_aside(|path| sql::execute(path, "CREATE TABLE theirs(id)"));
    is_moved_aside(|path| sql::execute(path, "CREATE TABLE shapes(id); PRAGMA user_version = 3"));
}

/// It is a later version's, which has to be told from one that is of no use.
#[test]
fn a_file_of_a_newer_schema_is_refused_and_left_as_it_is() {
    for exclusive in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let options = unsynced(Options { exclusive, ..file_in(&folder) });
        let path = path_of(&options);
        sql::execute(path, "CREATE TABLE later(id); PRAGMA user_version = 6");
        let before = fs::read(path).unwrap();
        let reason = try_open(options.clone()).err().expect("it does not open");
        assert!(reason.contains("schema 6") && reason.contains("shapes.sqlite"), "{reason}");
        assert_eq!(fs::read(path).unwrap(), before);
        fs::remove_file(path).unwrap();
        assert_eq!(open(options).opening.quarantined, None);
    }
}

/// What its writer had in its log when it was killed, and what it was about to put in place.
#[test]
fn a_newer_schema_that_is_in_a_log_is_refused_with_the_log_and_the_replacement_left() {
    for replaced in [false, true] {
        let (made, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let from = made.path().join("db");
        let conn = rusqlite::Connection::open(&from).unwrap();
        let sql = "PRAGMA journal_mode = WAL; CREATE TABLE later(id); PRAGMA user_version = 6";
        conn.execute_batch(sql).unwrap();
        let options = unsynced(file_in(&folder));
        let path = path_of(&options);
        let beside = |suffix| PathBuf::from(format!("{}{suffix}", path.display()));
        fs::copy(&from, path).unwrap();
        fs::copy(made.path().join("db-wal"), beside("-wal")).unwrap();
        if replaced {
            fs::copy(&from, beside(".replacement")).unwrap();
        }
        let read = || (fs::read(path).unwrap(), fs::read(beside("-wal")).unwrap());
        let before = read();
        let reason = try_open(options.clone()).err().expect("it does not open");
        assert!(reason.contains("schema 6"), "{reason}");
        assert_eq!(read(), before);
        assert_eq!(beside(".replacement").exists(), replaced);
    }
}

#[test]
fn a_file_with_values_of_the_wrong_shape_is_moved_aside() {
    let spoilt = [
        "UPDATE shapes SET comparable = x'00'",
        "UPDATE shapes SET hash = -1",
        "DELETE FROM changes",
        "DELETE FROM meta",
        "UPDATE meta SET value = 'many' WHERE key = 'epoch'",
    ];
    for sql in spoilt {
        is_moved_aside(|path| {
            let options = unsynced(Options::new(Location::File(path.into())));
            let store = open(options);
            store.add(&shape(1)).unwrap();
            store.close();
            sql::execute(path, sql);
        });
    }
}

#[test]
fn an_empty_file_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(path_of(&file_in(&folder)), "").unwrap();
    let store = open(file_in(&folder));
    assert_eq!((store.count(), store.opening.quarantined.clone()), (0, None));
}

/// Row ids are given on from what is there, whatever the file says.
#[test]
fn a_row_id_is_never_given_twice() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let store = open(options.clone());
    (0..5).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.close();
    sql::execute(path_of(&options), "UPDATE changes SET next_row = 1");
    let store = open(options.clone());
    (5..10).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.close();
    assert_eq!(open(options).count(), 10);
}

/// No store writes such rows. Which are left out depends on which were before.
#[test]
fn a_row_that_repeats_one_before_it_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let store = open(options.clone());
    (0..5).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.close();
    let repeat = "
        INSERT INTO shapes SELECT 11, handle, zeroblob(32), 0, 2, relations, 0 FROM shapes WHERE id = 1;
        INSERT INTO shapes SELECT 12, x'aa', comparable, 0, 2, relations, 0 FROM shapes WHERE id = 2;
        INSERT INTO shapes SELECT 13, x'aa', zeroblob(32), 0, 2, x'05000000', 0 FROM shapes WHERE id = 3;";
    sql::execute(path_of(&options), repeat);
    let store = open(options);
    assert_eq!((store.opening.shapes, store.count(), store.places().len()), (6, 6, 6));
    for n in 0..5 {
        let entry = store.entry(&shape(n).handle).expect("those before are there");
        assert!(shape(n).is(&entry) && store.handle_for(&entry.digest) == Some(entry.handle));
    }
    let entry = store.entry(b"\xaa").expect("it repeats one that was left out");
    assert_eq!((entry.row, store.handle_for(&entry.digest)), (13, Some(entry.handle.clone())));
    assert_eq!(store.handles_for_relations(&[5], 10), Some(vec![entry.handle]));
}

#[test]
fn a_place_that_cannot_be_written_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    // Root may write anywhere but below a file.
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let reason = try_open(file_in(file.join("below"))).err().expect("it does not open");
    assert!(reason.contains("below") && reason.contains("folder"), "{reason}");
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    match try_open(file_in(&locked)) {
        Err(reason) => assert!(reason.contains("locked"), "{reason}"),
        Ok(_) => assert!(fs::write(locked.join("root"), "").is_ok(), "only root may do this"),
    }
}

#[test]
fn a_store_that_did_not_open_answers_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    let (sender, events) = crossbeam_channel::unbounded();
    let store = Store::open(
        file_in(folder.path().join("file/below")),
        Box::new(move |event| sender.send(event).unwrap()),
        Box::new(|_| Err("unused".into())),
    );
    let store = store.unwrap();
    assert!(matches!(events.recv_timeout(PATIENCE), Ok(Event::OpenFailed { .. })));
    assert_eq!((store.state(), store.count()), (State::Closed, 0));
    assert!(store.entry(b"any").is_none() && store.remove(b"any", Default::default()).is_err());
    store.close();
    drop(store);
    assert!(events.recv_timeout(PATIENCE).is_err(), "it was the last event");
}

#[test]
fn a_second_store_of_a_file_waits_and_then_says_why_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(file_in(&folder));
    let lease_timeout = Duration::from_millis(100);
    // Another name of the same folder is the same file.
    let other = folder.path().join("link");
    std::os::unix::fs::symlink(folder.path(), &other).unwrap();
    for place in [folder.path(), &other] {
        let reason = try_open(Options { lease_timeout, ..file_in(place) }).err().unwrap();
        assert!(reason.contains("open in another store"), "{reason}");
    }
    first.add(&shape(1)).unwrap();
    first.store.close();
    assert_eq!(open(file_in(&folder)).count(), 1, "it waits for the first to end");
}

/// The owner is gone with changes queued and the disk stalled: they are committed
/// all the same, and a new store of the file waits for them.
#[test]
fn what_was_queued_outlives_its_owner() {
    const SHAPES: u32 = 10_000;
    let vfs = FaultVfs::unique();
    let folder = tempfile::tempdir().unwrap();
    let options = Options { vfs: Some(vfs.name().into()), ..file_in(&folder) };
    let owner = open(Options { manual_flush: true, ..options.clone() });
    (0..SHAPES).for_each(|n| assert!(owner.add(&shape(n)).is_ok()));
    let hold = vfs.hold(Kinds::WRITE);
    drop(owner);
    assert!(vfs.wait_until_held(PATIENCE), "it commits without its owner");
    let next = std::thread::spawn(move || open(Options { lease_timeout: PATIENCE, ..options }));
    hold.release();
    let next = next.join().unwrap();
    assert_eq!(next.count(), SHAPES as usize);
    assert_eq!(next.whole_body(&shape(77).handle), Some(shape(77).body));
}

#[test]
fn a_store_dropped_while_it_opens_ends() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let (sender, events) = crossbeam_channel::unbounded();
        let hear = Box::new(move |event| drop(sender.send(event)));
        let verify = Box::new(|_| Err("unused".into()));
        drop(Store::open(unsynced(file_in(&folder)), hear, verify).unwrap());
        let all: Vec<_> = events.iter().collect();
        let last = all.last();
        let ended = matches!(last, Some(Event::Closed { durable: 0 } | Event::OpenFailed { .. }));
        assert!(ended, "{all:?}");
    }
}

/// SQLite's check tells of a page in a chain that the disk does not give as of one that is
/// damaged.
#[test]
fn a_page_of_a_long_body_that_cannot_be_read_for_now_is_no_damage() {
    let (folder, left) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = unsynced(file_in(&folder));
    let store = open(options.clone());
    let long = Shape { body: vec![7; 100_000], ..shape(0) };
    let seq = store.add(&long).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    for suffix in ["", "-wal"] {
        let name = format!("shapes.sqlite{suffix}");
        fs::copy(folder.path().join(&name), left.path().join(&name)).unwrap();
    }
    let mut failed = 0;
    for nth in 1.. {
        let folder = tempfile::tempdir().unwrap();
        for suffix in ["", "-wal"] {
            let name = format!("shapes.sqlite{suffix}");
            fs::copy(left.path().join(&name), folder.path().join(&name)).unwrap();
        }
        let vfs = FaultVfs::unique();
        vfs.skip_syncs(true);
        vfs.fail(Plan::nth(nth, Fault::IoErr).kinds(Kinds::READ));
        let options = Options { vfs: Some(vfs.name().into()), ..file_in(&folder) };
        let opened = try_open(options.clone());
        let fired = vfs.injected() > 0;
        vfs.heal();
        if let Ok(store) = opened {
            assert_eq!((store.opening.quarantined.clone(), store.count()), (None, 1), "read {nth}");
        } else {
            failed += 1;
            let store = open(options);
            assert_eq!((store.opening.quarantined.clone(), store.count()), (None, 1), "read {nth}");
        }
        if !fired {
            break;
        }
    }
    assert!(failed > 10, "{failed}");
}

/// A shared file system: a file with a log comes from elsewhere, or a start without exclusive
/// mode was tried there.
#[test]
fn a_file_with_a_log_opens_in_exclusive_mode_where_nothing_can_be_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultVfs::unique();
    let options = Options { vfs: Some(vfs.name().into()), ..file_in(&folder) };
    let store = open(options.clone());
    (0..50).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.close();
    vfs.fail(Plan::nth(1, Fault::IoErr).kinds(Kinds::MAP).forever());
    let refused = try_open(options.clone());
    assert!(refused.is_err_and(|reason| reason.contains("exclusive_mode is for that")));
    let store = open(Options { exclusive: true, ..options.clone() });
    assert_eq!((store.count(), store.opening.quarantined.clone()), (50, None));
    store.add(&shape(50)).unwrap();
    store.close();
    let store = open(Options { exclusive: true, ..options.clone() });
    assert_eq!((store.count(), store.opening.quarantined.clone()), (51, None));
    store.close();
    vfs.heal();
    sql::assert_sound(path_of(&options), "");
}

//! Checkpoints that another process makes under a store: the log is restarted and cut
//! under it, which is not what somebody does who damages it; and a store that leaves them
//! all to that process.

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
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use common::{
    PATIENCE, Running, file_in,
    instance::{Between, elsewhere},
    open, path_of, shape, sql, tell, try_open, unsynced,
};
use crossbeam_channel::{Sender, unbounded};
use rusqlite::{Connection, OpenFlags};
use shape_store::{
    Event, Location, Options, Source, SourceSchema,
    admin::{self, Access},
};

const SHAPES: u32 = 200;

/// Somebody who makes a checkpoint whenever he is told to, and writes to a table of his own
/// now and then, as a replicator does.
struct Replicator {
    told: Sender<()>,
    thread: JoinHandle<usize>,
}

impl Replicator {
    fn start(path: &Path, mode: &str) -> Self {
        let (told, turns) = unbounded::<()>();
        let (path, checkpoint) = (path.to_path_buf(), format!("PRAGMA wal_checkpoint({mode})"));
        let thread = thread::spawn(move || {
            let db = Connection::open(path).unwrap();
            db.busy_timeout(PATIENCE).unwrap();
            // No power is lost here.
            db.pragma_update(None, "synchronous", "OFF").unwrap();
            let table =
                "CREATE TABLE IF NOT EXISTS _litestream_seq (id INTEGER PRIMARY KEY, seq INTEGER)";
            db.execute_batch(table).unwrap();
            let own = "INSERT OR REPLACE INTO _litestream_seq VALUES (1, 1)";
            let made = turns.iter().enumerate().filter(|(turn, ())| {
                let busy: i64 = db.query_row(&checkpoint, [], |row| row.get(0)).unwrap();
                if turn % 8 == 0 {
                    db.execute_batch(own).unwrap();
                }
                busy == 0
            });
            made.count()
        });
        Self { told, thread }
    }

    /// How many of his checkpoints went through.
    fn stop(self) -> usize {
        drop(self.told);
        self.thread.join().unwrap()
    }
}

fn left_to_others(folder: &tempfile::TempDir) -> Options {
    Options { external_checkpoint: true, ..unsynced(file_in(folder)) }
}

fn log_len(options: &Options) -> u64 {
    let log = format!("{}-wal", path_of(options).display());
    fs::metadata(log).map_or(0, |log| log.len())
}

/// Whether it never doubted its file.
fn assert_undoubted(store: &Running, context: &str) {
    assert_eq!(store.statistics().rebuilds, 0, "{context}");
    let doubted = |event| matches!(event, Event::Rebuilt { .. });
    assert!(!store.events.try_iter().any(doubted), "{context}");
}

fn everything_is_there(options: &Options, shapes: u32, context: &str) {
    let store = open(options.clone());
    assert_eq!(store.opening.quarantined, None, "{context}");
    assert_eq!(store.count(), shapes as usize, "{context}");
    (0..shapes).for_each(|n| {
        assert_eq!(store.whole_body(&shape(n).handle), Some(shape(n).body), "{context}: {n}");
    });
    store.close();
    sql::assert_sound(path_of(options), context);
}

#[test]
fn a_log_that_another_checkpoints_is_not_taken_for_a_cut_one() {
    for mode in ["PASSIVE", "RESTART", "TRUNCATE"] {
        for external_checkpoint in [false, true] {
            let context = format!("{mode}, external_checkpoint={external_checkpoint}");
            let folder = tempfile::tempdir().unwrap();
            let options = Options { external_checkpoint, ..unsynced(file_in(&folder)) };
            let store = open(options.clone());
            let replicator = Replicator::start(path_of(&options), mode);
            // Each while a checkpoint is made.
            for n in 0..SHAPES {
                replicator.told.send(()).unwrap();
                store.add(&shape(n)).unwrap();
                store.flush();
            }
            assert!(replicator.stop() > 0, "{context}");
            assert_undoubted(&store, &context);
            if external_checkpoint {
                // It waits until the other one is done.
                assert_eq!(store.statistics().faults, 0, "{context}");
            }
            store.close();
            everything_is_there(&options, SHAPES, &context);
        }
    }
}

#[test]
fn a_checkpoint_between_any_two_looks_at_the_log_is_no_damage() {
    for nth in 0..12 {
        let folder = tempfile::tempdir().unwrap();
        let (path, looks) = (path_of(&file_in(&folder)).to_path_buf(), AtomicUsize::new(0));
        let truncate = move || {
            if looks.fetch_add(1, Relaxed) % 12 == nth && path.exists() {
                let db = Connection::open(&path).unwrap();
                db.busy_timeout(PATIENCE).unwrap();
                db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            }
        };
        let system = Arc::new(Between::new(truncate));
        let options = Options { system, ..left_to_others(&folder) };
        let store = open(options.clone());
        for n in 0..60 {
            store.add(&shape(n)).unwrap();
            store.flush();
        }
        let context = format!("before look {nth}");
        assert_undoubted(&store, &context);
        assert_eq!(store.statistics().faults, 0, "{context}");
        store.close();
        everything_is_there(&options, 60, &context);
    }
}

#[test]
fn a_store_that_leaves_checkpoints_to_others_makes_none_from_its_start_to_its_end() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { connection_idle: Duration::ZERO, ..left_to_others(&folder) };
    let store = open(options.clone());
    let empty = fs::metadata(path_of(&options)).unwrap().len();
    for n in 0..3000 {
        store.add(&shape(n)).unwrap();
        if n % 2 == 0 {
            store.flush();
        }
    }
    store.flush();
    assert_eq!(fs::metadata(path_of(&options)).unwrap().len(), empty);
    // More than would be left in it otherwise.
    assert!(log_len(&options) > 2000 * 16_384, "{}", log_len(&options));
    // An idle one keeps its connection.
    assert!(store.statistics().connections >= 1);
    store.close();
    assert_eq!(fs::metadata(path_of(&options)).unwrap().len(), empty);
    // The next one reads the log, and so does one that takes over.
    let first = open(options.clone());
    let second = open(elsewhere(options.clone()));
    assert_eq!((first.count(), second.count()), (3000, 3000));
    let (sender, promoted) = unbounded();
    second.promote(tell(sender));
    assert_eq!(promoted.recv_timeout(PATIENCE), Ok(Ok(())));
    second.add(&shape(3000)).unwrap();
    second.flush();
    first.close();
    second.close();
    assert_eq!(fs::metadata(path_of(&options)).unwrap().len(), empty);
    everything_is_there(&Options { external_checkpoint: false, ..options.clone() }, 3001, "");
    assert_eq!(log_len(&options), 0);
}

#[test]
fn checkpoints_cannot_be_left_to_others_without_a_log() {
    let folder = tempfile::tempdir().unwrap();
    let refused = try_open(Options { exclusive: true, ..left_to_others(&folder) });
    assert!(refused.is_err_and(|reason| reason.contains("write-ahead log")));
    assert!(!path_of(&file_in(&folder)).exists());
}

#[test]
fn tables_of_a_replicator_are_left_alone_and_do_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let options = left_to_others(&folder);
    let store = open(options.clone());
    (0..50).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.flush();
    let replicator = Replicator::start(path_of(&options), "TRUNCATE");
    replicator.told.send(()).unwrap();
    assert_eq!(replicator.stop(), 1);
    store.close();
    let system = &*options.system;
    let path = path_of(&options);
    let checked = admin::check(system, path, Access::Alone, &mut |_, _| {}).unwrap();
    assert!(checked.is_sound(), "{checked:?}");
    let copy = folder.path().join("copy.sqlite");
    admin::backup(system, path, &copy, Access::Alone, &mut |_, _| {}).unwrap();
    let in_copy = Options { location: Location::File(copy), ..options.clone() };
    everything_is_there(&in_copy, 50, "the copy");
    let mended = admin::repair(system, path, &HashSet::new(), &mut |_, _| {}).unwrap();
    assert_eq!((mended.shapes, mended.damaged), (50, 0));
    everything_is_there(&options, 50, "mended");
}

/// What a replicator finds that looks at a path all the while.
#[test]
fn a_file_has_its_tables_and_its_log_from_the_first_look_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = path_of(&file_in(&folder)).to_path_buf();
    let (found, seen) = unbounded();
    let look = move || {
        if path.exists() {
            let db = Connection::open_with_flags(&path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
            let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
            let version = number("PRAGMA user_version");
            let header = fs::read(&path).unwrap();
            found.send((version, number("PRAGMA page_size"), header[18])).unwrap();
        }
    };
    // The file is looked at before each look of the store at any file.
    let system = Arc::new(Between::any(look));
    let options = Options { system, ..left_to_others(&folder) };
    let store = open(options.clone());
    store.add(&shape(0)).unwrap();
    store.close();
    let seen: Vec<_> = seen.try_iter().collect();
    assert!(seen.len() > 5);
    assert!(seen.iter().all(|found| *found == (5, 16_384, 2)), "{seen:?}");
    everything_is_there(&left_to_others(&folder), 1, "");
}

#[test]
fn an_older_file_is_taken_over_under_a_replicator() {
    let folder = tempfile::tempdir().unwrap();
    let older = Options {
        location: Location::File(folder.path().join("older.sqlite")),
        ..unsynced(file_in(&folder))
    };
    let store = open(older.clone());
    (0..70).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.close();
    let source = Source { path: path_of(&older).into(), schema: SourceSchema::Five, verify: false };
    let options = Options { sources: vec![source], ..left_to_others(&folder) };
    everything_is_there(&options, 70, "taken over");
    assert!(!path_of(&older).exists());
}

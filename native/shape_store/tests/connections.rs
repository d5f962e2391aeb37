//! Leases of connections: who gets which, in what order, and how they come home;
//! and connections that close when nobody uses them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::Duration;

use common::{PATIENCE, Running, file_in, open, shape, tell, unsynced};
use crossbeam_channel::{Receiver, unbounded};
use shape_store::{Granted, Lease, Options, Outcome, WRITER_SLOT};

fn store(exclusive: bool, readers: usize) -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { exclusive, readers, cache_bytes: 0, ..file_in(&folder) };
    let store = open(unsynced(options));
    (0..3).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.flush();
    (folder, store)
}

fn ask(store: &Running, writer: bool) -> (Option<u64>, Receiver<Granted>) {
    let (sender, granted) = unbounded();
    let number =
        if writer { store.ask_writer(tell(sender)) } else { store.ask_reader(tell(sender)) };
    (number, granted)
}

fn lease(store: &Running, writer: bool) -> Lease {
    ask(store, writer).1.recv_timeout(PATIENCE).unwrap().unwrap()
}

fn count(lease: &Lease) -> i64 {
    let sql = "SELECT count(*) FROM shapes";
    lease.with(|conn| conn.query_row(sql, [], |row| row.get(0))).unwrap().unwrap()
}

#[test]
fn two_readers_and_the_writer_are_three_connections() {
    let (_folder, store) = store(false, 2);
    let leases = [lease(&store, false), lease(&store, false), lease(&store, true)];
    assert_eq!(leases[2].slot(), WRITER_SLOT);
    assert!(leases[0].slot() != leases[1].slot() && leases[0].slot() != WRITER_SLOT);
    leases.iter().for_each(|lease| assert_eq!(count(lease), 3));
    assert_eq!(store.statistics().connections, 3);
}

#[test]
fn readers_beyond_the_pool_wait_in_the_order_of_asking() {
    let (_folder, store) = store(false, 1);
    let held = lease(&store, false);
    let (left, never) = ask(&store, false);
    let waiting: Vec<_> = (0..3).map(|_| ask(&store, false).1).collect();
    assert!(store.cancel_reader(left.expect("it stands in line")));
    assert!(!store.cancel_reader(left.unwrap()));
    let slot = held.slot();
    drop(held);
    for (n, next) in waiting.iter().enumerate() {
        let lease = next.recv_timeout(PATIENCE).unwrap().unwrap();
        assert_eq!(lease.slot(), slot, "one connection is passed on");
        assert!(waiting[n + 1..].iter().all(Receiver::is_empty));
    }
    assert!(never.recv().is_err(), "what was taken back is not answered");
    // A body that is needed does not stand in line.
    let held = lease(&store, false);
    assert_eq!(store.whole_body(&shape(1).handle), Some(shape(1).body));
    drop(held);
}

#[test]
fn exclusive_mode_has_one_connection_for_everything() {
    let (_folder, store) = store(true, 4);
    let reader = lease(&store, false);
    assert_eq!((reader.slot(), store.statistics().connections), (WRITER_SLOT, 1));
    let (number, second) = ask(&store, true);
    assert!(store.cancel_reader(number.unwrap()) && second.recv().is_err());
    drop(reader);
    let writer = lease(&store, true);
    assert_eq!((writer.slot(), count(&writer)), (WRITER_SLOT, 3));
}

#[test]
fn the_queue_waits_while_the_writer_is_lent_and_callers_do_not() {
    for exclusive in [false, true] {
        let (_folder, store) = store(exclusive, 2);
        let writer = lease(&store, true);
        let seq = store.add(&shape(9)).unwrap();
        assert_eq!(store.whole_body(&shape(9).handle), Some(shape(9).body));
        assert_eq!(store.durable(), seq - 1);
        assert_eq!(count(&writer), 3);
        drop(writer);
        assert_eq!(store.outcome(seq), Outcome::Durable);
    }
}

/// What a borrower that died leaves behind is rolled back.
#[test]
fn a_lease_that_ends_in_a_transaction_leaves_nothing() {
    for writer in [false, true] {
        let (_folder, store) = store(false, 1);
        let borrowed = lease(&store, writer);
        let begun = if writer { "BEGIN IMMEDIATE; DELETE FROM shapes" } else { "BEGIN; SELECT 1" };
        borrowed.with(|conn| conn.execute_batch(begun)).unwrap().unwrap();
        drop(borrowed);
        let seq = store.add(&shape(9)).unwrap();
        assert_eq!(store.outcome(seq), Outcome::Durable);
        assert_eq!(count(&lease(&store, writer)), 4);
    }
}

#[test]
fn a_statement_that_runs_can_be_interrupted() {
    let (_folder, store) = store(false, 1);
    let lease = lease(&store, false);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)
                   SELECT count(*) FROM n";
    std::thread::scope(|scope| {
        let running = scope.spawn(|| {
            lease.with(|conn| conn.query_row(endless, [], |row| row.get::<_, i64>(0))).unwrap()
        });
        while !running.is_finished() {
            lease.interrupt();
            std::thread::yield_now();
        }
        assert!(running.join().unwrap().is_err());
    });
    assert_eq!(count(&lease), 3);
}

#[test]
fn who_waits_for_a_connection_is_told_when_the_store_closes() {
    let (_folder, store) = store(false, 1);
    let held = lease(&store, false);
    let (_, waiting) = ask(&store, false);
    store.store.close();
    assert!(waiting.recv_timeout(PATIENCE).unwrap().is_err());
    store.closed();
    assert_eq!(count(&held), 3, "what is lent is good until it comes home");
    drop(held);
    for writer in [false, true] {
        assert!(ask(&store, writer).1.recv_timeout(PATIENCE).unwrap().is_err());
    }
}

#[test]
fn a_store_without_use_has_no_connection_open() {
    let folder = tempfile::tempdir().unwrap();
    let idle = Duration::from_millis(30);
    let options = unsynced(Options { connection_idle: idle, cache_bytes: 0, ..file_in(&folder) });
    let store = open(options.clone());
    (0..3).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.flush();
    assert_eq!(store.whole_body(&shape(1).handle), Some(shape(1).body));
    let end = std::time::Instant::now() + PATIENCE;
    while store.statistics().connections > 0 {
        assert!(std::time::Instant::now() < end, "{:?}", store.statistics());
        std::thread::yield_now();
    }
    // All is still to be had.
    assert_eq!(store.whole_body(&shape(1).handle), Some(shape(1).body));
    let seq = store.add(&shape(9)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    store.close();
    // Exclusive mode keeps its one.
    let store = open(Options { exclusive: true, ..options });
    assert!(store.events.recv_timeout(idle * 4).is_err(), "nothing happens meanwhile");
    assert_eq!(store.statistics().connections, 1);
}

/// What a borrower leaves on a connection does not stay with it.
#[test]
fn a_connection_that_was_altered_is_not_handed_on() {
    let alterations = [
        "CREATE TEMP TABLE shapes AS SELECT * FROM main.shapes",
        "CREATE TEMP TABLE bodies (id, checksum, shape)",
        "CREATE TEMP TRIGGER t BEFORE INSERT ON main.shapes BEGIN SELECT RAISE(IGNORE); END",
        "ATTACH ':memory:' AS other",
        "PRAGMA query_only = 1",
        "PRAGMA synchronous = FULL",
        "BEGIN IMMEDIATE",
        "SAVEPOINT mine",
    ];
    for exclusive in [false, true] {
        for alteration in alterations {
            let folder = tempfile::tempdir().unwrap();
            let options = unsynced(Options { exclusive, ..file_in(&folder) });
            let store = open(options.clone());
            let (sender, granted) = unbounded();
            store.ask_writer(tell(sender.clone()));
            let lease = granted.recv_timeout(PATIENCE).unwrap().unwrap();
            lease.with(|conn| conn.execute_batch(alteration).unwrap()).unwrap();
            drop(lease);
            for n in 0..5 {
                let seq = store.add(&shape(n)).unwrap();
                assert_eq!(store.outcome(seq), Outcome::Durable, "{alteration}");
            }
            store.ask_reader(tell(sender));
            let lease = granted.recv_timeout(PATIENCE).unwrap().unwrap();
            let temporary = "SELECT count(*) FROM temp.sqlite_schema";
            let left = lease.with(|conn| conn.query_row(temporary, [], |r| r.get::<_, i64>(0)));
            assert_eq!(left.unwrap().unwrap(), 0, "{alteration}");
            drop(lease);
            store.close();
            assert_eq!(open(options).count(), 5, "{alteration}");
        }
    }
}

/// In memory the connection is all there is: what would alter it is refused.
#[test]
fn the_connection_of_a_store_in_memory_is_not_altered() {
    let store = open(Options::new(shape_store::Location::Memory));
    let (sender, granted) = unbounded();
    store.ask_writer(tell(sender));
    let lease = granted.recv_timeout(PATIENCE).unwrap().unwrap();
    let run = |sql: &str| lease.with(|conn| conn.execute_batch(sql)).unwrap();
    assert!(run("PRAGMA query_only = 1").is_err());
    assert!(run("CREATE TEMP TABLE shapes (id)").is_err());
    assert!(run("PRAGMA table_info(shapes)").is_ok());
    drop(lease);
    let seq = store.add(&shape(1)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
}

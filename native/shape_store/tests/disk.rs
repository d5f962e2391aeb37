//! A disk that stalls, that is full, and a change that SQLite refuses: callers go
//! on, and the rest of the queue too.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::{Duration, Instant};

use common::{PATIENCE, Running, file_in, open, shape, tell};
use crossbeam_channel::unbounded;
use fault_vfs::{FaultVfs, Kinds};
use shape_store::{
    ChangeError, Event, Found, Operation, Options, Outcome, QueueSize, Request, Synchronous,
};

/// Far less than any stall, far more than a call takes on a busy machine.
const SOON: Duration = Duration::from_secs(2);

fn soon<T>(what: &str, call: impl FnOnce() -> T) -> T {
    let started = Instant::now();
    let answer = call();
    assert!(started.elapsed() < SOON, "{what} took {:?}", started.elapsed());
    answer
}

#[test]
fn a_stalled_sync_holds_up_nobody_until_the_queue_is_full() {
    const OPS: usize = 300;
    let vfs = FaultVfs::unique();
    let folder = tempfile::tempdir().unwrap();
    let store = open(Options {
        synchronous: Synchronous::Full,
        vfs: Some(vfs.name().into()),
        cache_bytes: 0,
        max_pending: QueueSize { ops: OPS, bytes: 1 << 20 },
        ..file_in(&folder)
    });
    store.add(&shape(0)).unwrap();
    store.flush();

    let hold = vfs.hold(Kinds::SYNC);
    store.add(&shape(1)).unwrap();
    assert!(vfs.wait_until_held(PATIENCE));
    for n in 2..=OPS as u32 {
        soon("an add", || store.add(&shape(n)).unwrap());
    }
    for n in 0..=OPS as u32 {
        assert!(soon("a lookup", || store.entry(&shape(n).handle)).is_some());
    }
    assert!(matches!(store.body(&shape(0).handle), Some(Found::Cold(_))));
    assert_eq!(soon("a cold read", || store.whole_body(&shape(0).handle)), Some(shape(0).body));

    let late = shape(1_000);
    assert!(matches!(store.add(&late), Err(ChangeError::Full)));
    let (sender, told) = unbounded();
    let ticket = store.wait_for_room(late.body.len(), tell(sender)).expect("it is full");
    assert!(told.is_empty() && store.durable() == 1);
    hold.release();
    told.recv_timeout(PATIENCE).expect("there is room after the stall");
    let seq =
        store.store.add(late.to_add(), Request { ticket: Some(&ticket), log: false }).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    store.event(|event| matches!(event, Event::PressureStarted { .. }).then_some(()));
    drop(ticket);
    store.event(|event| matches!(event, Event::PressureEnded { .. }).then_some(()));
    store.close();
    let store = open(file_in(&folder));
    assert_eq!(store.count(), OPS + 2);
}

#[test]
fn a_full_disk_is_waited_out() {
    for exclusive in [false, true] {
        let vfs = FaultVfs::unique();
        let folder = tempfile::tempdir().unwrap();
        let options = Options { exclusive, vfs: Some(vfs.name().into()), ..file_in(&folder) };
        let store = open(options);
        vfs.set_capacity(Some(vfs.used() + (64 << 10)));
        for n in 0..300 {
            store.add(&common::Shape { body: vec![3; 4_000], ..shape(n) }).unwrap();
        }
        let reason = store.event(|event| match event {
            Event::CommitFailed { reason, .. } => Some(reason),
            _ => None,
        });
        assert!(reason.contains("full"), "{reason}");
        assert_eq!(store.whole_body(&shape(299).handle), Some(vec![3; 4_000]));
        store.remove(&shape(7).handle).unwrap();
        vfs.set_capacity(None);
        let failures = store.event(|event| match event {
            Event::Recovered { failures, .. } => Some(failures),
            _ => None,
        });
        assert!(failures > 0);
        store.close();
        let store = open(file_in(&folder));
        assert_eq!(store.count(), 299);
        assert_eq!(store.entry(&shape(7).handle), None);
    }
}

/// Runs SQL on the connection that writes.
fn on_writer(store: &Running, sql: &str) {
    let (sender, granted) = unbounded();
    store.ask_writer(tell(sender));
    let lease = granted.recv_timeout(PATIENCE).unwrap().unwrap();
    lease.with(|conn| conn.execute_batch(sql)).unwrap().unwrap();
}

#[test]
fn a_refused_add_is_set_aside_alone() {
    for table in ["shapes", "bodies"] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(Options { manual_flush: true, ..file_in(&folder) });
        let trigger = format!(
            "CREATE TRIGGER refuse BEFORE INSERT ON {table} WHEN NEW.id = 4
             BEGIN SELECT RAISE(ABORT, 'not this one'); END"
        );
        on_writer(&store, &trigger);
        let seqs: Vec<_> = (0..100).map(|n| store.add(&shape(n)).unwrap()).collect();
        let marked = store.complete(&shape(3).handle).unwrap();
        store.flush_to(marked);
        for (n, seq) in seqs.iter().enumerate() {
            let expected = if n == 3 { Outcome::SetAside } else { Outcome::Durable };
            assert_eq!(store.outcome(*seq), expected, "{n}");
        }
        let (operation, handle, reason) = store.event(|event| match event {
            Event::SetAside { operation, handle, reason } => Some((operation, handle, reason)),
            _ => None,
        });
        assert_eq!((operation, handle.as_slice()), (Operation::Add, &*shape(3).handle));
        assert!(reason.contains("not this one"), "{reason}");
        assert_eq!(store.statistics().set_aside, 1);
        // Served from memory for as long as the store lives.
        assert_eq!(store.whole_body(&shape(3).handle), Some(shape(3).body));
        on_writer(&store, "DROP TRIGGER refuse");
        store.close();
        common::sql::assert_sound(common::path_of(&file_in(&folder)), table);
        let store = open(file_in(&folder));
        assert_eq!((store.count(), store.entry(&shape(3).handle)), (99, None));
        let rest = (0..100).filter(|n| *n != 3).map(shape);
        rest.for_each(|one| assert_eq!(store.whole_body(&one.handle), Some(one.body)));
    }
}

/// Adds are selected from a table that no file has, unless a borrower makes one of its name.
#[test]
fn adds_come_from_no_table_of_a_borrowers() {
    let columns = "id, handle, comparable, hash, snapshot, relations, flags, checksum, shape";
    for schema in ["main", "temp"] {
        let folder = tempfile::tempdir().unwrap();
        let store = open(file_in(&folder));
        on_writer(&store, &format!("CREATE TABLE {schema}.shape_store_inserts ({columns})"));
        (0..5).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
        store.flush();
        assert_eq!((store.statistics().set_aside, store.statistics().rebuilds), (0, 0));
        store.close();
        let store = open(file_in(&folder));
        (0..5).for_each(|n| assert_eq!(store.whole_body(&shape(n).handle), Some(shape(n).body)));
    }
}

#[test]
fn a_refused_remove_is_set_aside_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Options { manual_flush: true, ..file_in(&folder) });
    (0..4).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.flush();
    on_writer(
        &store,
        "CREATE TRIGGER refuse BEFORE DELETE ON shapes WHEN OLD.id = 2
         BEGIN SELECT RAISE(ABORT, 'it stays'); END",
    );
    let seqs = [0, 1, 2].map(|n| store.remove(&shape(n).handle).unwrap());
    store.flush_to(seqs[2]);
    let outcomes = seqs.map(|seq| store.outcome(seq));
    assert_eq!(outcomes, [Outcome::Durable, Outcome::SetAside, Outcome::Durable]);
    assert_eq!((store.count(), store.pending_ops()), (1, 0));
    store.close();
}

/// A trigger may end the whole transaction, which leaves no part of the batch in.
#[test]
fn a_refusal_that_rolls_back_loses_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(Options { manual_flush: true, ..file_in(&folder) });
    on_writer(
        &store,
        "CREATE TRIGGER refuse BEFORE INSERT ON shapes WHEN NEW.id = 4
         BEGIN SELECT RAISE(ROLLBACK, 'nothing of it'); END",
    );
    (0..8).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.flush_to(store.last());
    store.event(|event| matches!(event, Event::CommitFailed { .. }).then_some(()));
    on_writer(&store, "DROP TRIGGER refuse");
    store.flush();
    store.close();
    common::sql::assert_sound(common::path_of(&file_in(&folder)), "after a rollback");
    let store = open(file_in(&folder));
    assert_eq!(store.count(), 8);
}

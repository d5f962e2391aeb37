//! Numbers and those who wait for them: flushes, pauses, waits taken back, and
//! the end of the store.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::Arc;

use common::{PATIENCE, Running, file_in, open, shape, tell, unsynced};
use crossbeam_channel::unbounded;
use fault_vfs::{FaultVfs, Kinds};
use shape_store::{
    Asker, ChangeError, Event, NotWritable, Operation, Options, Outcome, ReadError, Request, State,
    Waiting,
};

fn held() -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let store = open(unsynced(Options { manual_flush: true, ..file_in(&folder) }));
    (folder, store)
}

#[test]
fn a_flush_reaches_its_number_and_no_further() {
    let (_folder, store) = held();
    let seqs: Vec<_> = (0..6).map(|n| store.add(&shape(n)).unwrap()).collect();
    assert_eq!(seqs, [1, 2, 3, 4, 5, 6]);
    store.flush_to(3);
    assert_eq!(store.outcome(3), Outcome::Durable);
    assert_eq!((store.durable(), store.pending_ops(), store.last()), (3, 3, 6));
    // An older number neither waits nor takes anything back.
    store.flush_to(1);
    assert_eq!(store.wait(1, Box::new(|_| {})), Waiting::Over(Outcome::Durable));
    assert_eq!(store.pending_entries().len(), 3);
}

#[test]
fn what_is_paused_stays_in_memory_until_it_is_resumed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(unsynced(file_in(&folder)));
    store.pause(true);
    store.flush();
    let seq = store.add(&shape(1)).unwrap();
    assert!(store.is_pending(&store.entry(&shape(1).handle).unwrap()));
    assert_eq!((store.pending_ops(), store.durable()), (1, 0));
    store.pause(false);
    assert_eq!(store.outcome(seq), Outcome::Durable);
    assert!(!store.is_pending(&store.entry(&shape(1).handle).unwrap()));
}

#[test]
fn a_wait_taken_back_is_not_told() {
    let (_folder, store) = held();
    let seq = store.add(&shape(1)).unwrap();
    let (sender, told) = unbounded();
    let Waiting::Until(id) = store.wait(seq, tell(sender)) else { panic!("nothing is flushed") };
    assert!(store.cancel_wait(id));
    assert!(!store.cancel_wait(id), "there is nothing to take back twice");
    store.flush();
    assert!(told.recv().is_err(), "the notification was dropped, not called");
}

#[test]
fn a_thousand_waiters_of_one_commit_are_all_told() {
    let (_folder, store) = held();
    let (sender, told) = unbounded();
    for n in 0..1_000 {
        let seq = store.add(&shape(n)).unwrap();
        store.wait(seq, tell(sender.clone()));
    }
    store.flush();
    for _ in 0..1_000 {
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Outcome::Durable));
    }
    store.event(|event| matches!(event, Event::Committed { ops: 1_000, .. }).then_some(()));
}

#[test]
fn an_add_that_is_removed_before_its_commit_costs_no_row() {
    let (folder, store) = held();
    let request = Request { log: true, ..Request::default() };
    for n in 0..10 {
        store.store.add(shape(n).to_add(), request).unwrap();
        store.store.remove(&shape(n).handle, request).unwrap();
    }
    assert_eq!(store.pending_count_diff(), 0);
    store.flush();
    let log = store.event(|event| match event {
        Event::Committed { log, ops: 20, .. } => Some(log),
        _ => None,
    });
    assert!(log.iter().all(|(operation, _)| *operation == Operation::Remove));
    store.close();
    assert_eq!(common::sql::stored(common::path_of(&file_in(&folder))), []);
}

#[test]
fn a_closing_store_takes_nothing_more_and_commits_the_rest() {
    let (folder, store) = held();
    (0..1_000).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    let last = store.last();
    let (sender, told) = unbounded();
    store.wait(last, tell(sender.clone()));
    store.wait(last + 5, tell(sender));
    store.store.close();
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Outcome::Durable));
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Outcome::Closed));
    assert_eq!(store.closed(), last);
    assert_eq!(store.state(), State::Closed);
    let refused = store.add(&shape(2_000));
    assert!(matches!(refused, Err(ChangeError::NotWritable(NotWritable::Closed))));
    assert!(matches!(store.reset(), Err(ChangeError::NotWritable(_))));
    assert!(store.remove_incomplete().is_err());
    let (bodies, read) = unbounded();
    store.ask_bodies(vec![shape(1).entry(1)], Asker::default(), tell(bodies));
    assert!(matches!(read.recv_timeout(PATIENCE), Ok(Err(ReadError::Closed))));
    assert_eq!(store.wait(last + 1, Box::new(|_| {})), Waiting::Over(Outcome::Closed));
    assert_eq!(open(unsynced(file_in(&folder))).count(), 1_000);
}

/// Whoever asked the writer for something is answered, however the asking and
/// the end of the store meet.
#[test]
fn whoever_asks_a_closing_writer_is_answered() {
    for (exclusive, lent) in [(false, false), (false, true), (true, false), (true, true)] {
        let vfs = FaultVfs::unique();
        let folder = tempfile::tempdir().unwrap();
        let vfs_name = Some(vfs.name().into());
        let store = open(Options { exclusive, vfs: vfs_name, ..file_in(&folder) });
        let hold = vfs.hold(Kinds::WRITE);
        store.add(&shape(1)).unwrap();
        assert!(vfs.wait_until_held(PATIENCE));
        store.store.close();
        let (bodies, read) = unbounded();
        store.ask_bodies(vec![shape(1).entry(1)], Asker::default(), tell(bodies));
        let (promotion, promoted) = unbounded();
        store.promote(tell(promotion));
        let (lease, granted) = unbounded();
        if lent {
            store.ask_writer(tell(lease));
        }
        hold.release();
        if lent {
            // Lent and given back, or refused; either way somebody says so.
            drop(granted.recv_timeout(PATIENCE).expect("the request for the writer is answered"));
        }
        assert!(read.recv_timeout(PATIENCE).is_ok(), "the read is answered");
        assert!(promoted.recv_timeout(PATIENCE).is_ok(), "the promotion is answered");
        store.closed();
    }
}

#[test]
fn the_events_tell_of_each_commit_and_of_the_end() {
    let (_folder, store) = held();
    store.add(&shape(1)).unwrap();
    store.flush();
    store.event(|event| matches!(event, Event::Committed { ops: 1, .. }).then_some(()));
    let unknown = store.note_unknown(Operation::Remove, b"nobody", Request::default()).unwrap();
    assert_eq!((store.pending_ops(), store.pending_count_diff()), (1, -1));
    store.flush_to(unknown);
    assert_eq!(store.outcome(unknown), Outcome::Durable);
    store.event(|event| matches!(event, Event::Committed { ops: 1, .. }).then_some(()));
    let events = store.events.clone();
    store.close();
    assert!(events.recv().is_err(), "nothing comes after the end");
}

#[test]
fn two_handles_of_one_store_are_one_store() {
    let (_folder, store) = held();
    let other = Arc::new(store.store.clone());
    store.add(&shape(1)).unwrap();
    assert_eq!(other.count(), 1);
    drop(other);
    store.add(&shape(2)).unwrap();
    store.flush();
    assert_eq!(store.state(), State::Active);
}

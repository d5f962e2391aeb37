//! The queue is bounded: who finds it full stands in line, first come first
//! served, and nothing is dropped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::thread;

use common::{PATIENCE, Running, Shape, file_in, open, shape, tell, unsynced};
use crossbeam_channel::{Receiver, unbounded};
use shape_store::{
    ChangeError, Event, NotWritable, Operation, Options, Outcome, QueueSize, Request, Ticket,
};

const OPS: usize = 20;

fn full(ops: usize, bytes: usize) -> (tempfile::TempDir, Running) {
    let folder = tempfile::tempdir().unwrap();
    let max_pending = QueueSize { ops, bytes };
    let store = open(unsynced(Options { manual_flush: true, max_pending, ..file_in(&folder) }));
    (folder, store)
}

fn fill(store: &Running) -> u32 {
    let taken = (0..).take_while(|n| store.add(&shape(*n)).is_ok()).count();
    taken as u32
}

fn line_up(store: &Running, body: usize) -> (Ticket, Receiver<()>) {
    let (sender, told) = unbounded();
    (store.wait_for_room(body, tell(sender)).expect("it is full"), told)
}

fn add_with(store: &Running, shape: &Shape, ticket: &Ticket) -> Result<u64, ChangeError> {
    store.store.add(shape.to_add(), Request { ticket: Some(ticket), log: false })
}

#[test]
fn the_queue_is_bounded_in_operations() {
    let (_folder, store) = full(OPS, 1 << 30);
    assert_eq!(fill(&store), OPS as u32);
    assert_eq!(store.pending_ops(), OPS);
    let known = &shape(0).handle;
    assert!(matches!(store.remove(known), Err(ChangeError::Full)));
    assert!(matches!(store.complete(known), Err(ChangeError::Full)));
    let unknown = store.note_unknown(Operation::Remove, b"nobody", Request::default());
    assert!(matches!(unknown, Err(ChangeError::Full)));
    // What is wrong anyhow is told at once, not after a wait for room.
    assert!(matches!(store.remove(b"nobody"), Err(ChangeError::Unknown)));
    assert_eq!(store.count(), OPS, "what was refused did not happen");
    store.flush();
    assert!(store.add(&shape(100)).is_ok());
}

#[test]
fn the_queue_is_bounded_in_bytes() {
    let (_folder, store) = full(1_000, 10_000);
    let large = |n| Shape { body: vec![1; 3_000], ..shape(n) };
    (0..3).for_each(|n| assert!(store.add(&large(n)).is_ok()));
    assert!(matches!(store.add(&large(3)), Err(ChangeError::Full)));
    assert!(store.add(&Shape { body: vec![], ..shape(4) }).is_ok(), "a small one still fits");
    let never = store.add(&Shape { body: vec![1; 10_000], ..shape(5) });
    assert!(matches!(never, Err(ChangeError::TooLarge { bound: 10_000, .. })));
}

#[test]
fn room_is_given_in_the_order_of_asking() {
    let (_folder, store) = full(OPS, 1 << 30);
    let first = fill(&store);
    let line: Vec<_> = (0..OPS).map(|_| line_up(&store, 10)).collect();
    let (last, behind) = line_up(&store, 10);
    assert!(line.iter().all(|(_, told)| told.is_empty()));
    store.flush();
    for (n, (ticket, told)) in (first..).zip(&line) {
        told.recv_timeout(PATIENCE).expect("room for each in the line");
        // Nobody without a ticket gets in before them.
        assert!(matches!(store.add(&shape(5_000)), Err(ChangeError::Full)));
        add_with(&store, &shape(n), ticket).unwrap();
    }
    assert!(behind.is_empty(), "the room is used up");
    drop(line);
    store.flush();
    behind.recv_timeout(PATIENCE).unwrap();
    drop(last);
    assert!(store.add(&shape(5_000)).is_ok(), "what was promised is given back");
    assert_eq!(store.pending_ops(), 1);
}

#[test]
fn who_leaves_the_line_holds_up_nobody() {
    let (_folder, store) = full(OPS, 100_000);
    fill(&store);
    // Too large for the room there will be while others hold some.
    let (huge, _) = line_up(&store, 99_000);
    let (small, told) = line_up(&store, 10);
    let (leaving, gone) = line_up(&store, 10);
    drop(huge);
    store.flush();
    told.recv_timeout(PATIENCE).expect("room");
    drop((leaving, gone));
    add_with(&store, &shape(900), &small).unwrap();
    drop(small);
    store.flush();
    assert_eq!((store.pending_ops(), store.statistics().pending_bytes), (0, 0));
}

#[test]
fn a_refused_change_gives_its_room_back() {
    let (_folder, store) = full(OPS, 1 << 30);
    fill(&store);
    let (ticket, told) = line_up(&store, 10);
    store.flush();
    told.recv_timeout(PATIENCE).unwrap();
    let again = add_with(&store, &shape(0), &ticket);
    assert!(matches!(again, Err(ChangeError::DuplicateHandle)));
    assert_eq!(store.pending_ops(), 1, "the promise stands while the ticket does");
    drop(ticket);
    assert_eq!(store.pending_ops(), 0);
}

#[test]
fn who_waits_is_told_when_the_store_closes() {
    let (_folder, store) = full(OPS, 1 << 30);
    fill(&store);
    let (ticket, told) = line_up(&store, 10);
    store.store.close();
    told.recv_timeout(PATIENCE).expect("there will never be room");
    let refused = add_with(&store, &shape(900), &ticket);
    // Either there was room before the end, or the error says why there is none.
    assert!(matches!(refused, Err(ChangeError::NotWritable(NotWritable::Closed))), "{refused:?}");
    store.closed();
}

#[test]
fn pressure_is_told_once_from_its_start_to_its_end() {
    let (_folder, store) = full(OPS, 1 << 30);
    fill(&store);
    let line: Vec<_> = (0..3).map(|_| line_up(&store, 10)).collect();
    let ops = store.event(|event| match event {
        Event::PressureStarted { ops, .. } => Some(ops),
        _ => None,
    });
    assert_eq!(ops, OPS);
    store.flush();
    store.event(|event| match event {
        Event::PressureStarted { .. } => panic!("told twice"),
        Event::PressureEnded { .. } => Some(()),
        _ => None,
    });
    drop(line);
}

/// Far more callers than room: each gets through, and nothing is lost.
#[test]
fn a_crowd_gets_through_a_small_queue() {
    const CALLERS: u32 = 16;
    const EACH: u32 = 200;
    let folder = tempfile::tempdir().unwrap();
    let max_pending = QueueSize { ops: 10, bytes: 20_000 };
    let store = open(unsynced(Options { max_pending, ..file_in(&folder) }));
    let shared = &store;
    thread::scope(|scope| {
        for caller in 0..CALLERS {
            scope.spawn(move || {
                (0..EACH).for_each(|n| push(shared, &shape(caller * EACH + n)));
            });
        }
    });
    assert_eq!(store.outcome(store.last()), Outcome::Durable);
    assert_eq!(store.count(), (CALLERS * EACH) as usize);
    assert_eq!((store.pending_ops(), store.statistics().pending_bytes), (0, 0));
    store.close();
    assert_eq!(open(unsynced(file_in(&folder))).count(), (CALLERS * EACH) as usize);
}

fn push(store: &Running, shape: &Shape) {
    let mut ticket = None;
    loop {
        let request = Request { ticket: ticket.as_ref(), log: false };
        match store.store.add(shape.to_add(), request) {
            Ok(_) => return,
            Err(ChangeError::Full) => {
                let (sender, told) = unbounded();
                ticket = store.wait_for_room(shape.body.len(), tell(sender));
                if ticket.is_some() {
                    told.recv_timeout(PATIENCE).expect("the line moves");
                }
            }
            Err(other) => panic!("{other}"),
        }
    }
}

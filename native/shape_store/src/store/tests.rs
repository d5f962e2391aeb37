//! What only the inside of a store tells: who holds a body, and who waits for which lock.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::{
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::*;
use crate::{cache::body::Body, entry::Digest, event::Event, store::cold_reads::Asker};

const PATIENCE: Duration = Duration::from_secs(30);
const SHAPES: u32 = 500;

fn handle(n: u32) -> Vec<u8> {
    format!("handle-{n}").into_bytes()
}

fn add(store: &Store, n: u32) {
    let handle = handle(n);
    let digest = Digest::of(&handle);
    let body = vec![1; 1000];
    let shape = NewShape { handle: &handle, digest, hash: n, oids: &[1], flags: 0, body: &body };
    store.add(shape, Request::default()).unwrap();
}

fn opened(folder: &TempDir) -> (Store, Receiver<Event>) {
    opened_with(folder, false)
}

fn opened_with(folder: &TempDir, exclusive: bool) -> (Store, Receiver<Event>) {
    let location = Location::File(folder.path().join("shapes.sqlite"));
    let options = Options { exclusive, ..Options::new(location) };
    let (sender, events) = channel();
    let told = Box::new(move |event| drop(sender.send(event)));
    let store = Store::open(options, told, Box::new(|_| Ok(Vec::new()))).unwrap();
    until_event(&events, |event| matches!(event, Event::Opened { .. }));
    (store, events)
}

fn until_event(events: &Receiver<Event>, wanted: impl Fn(&Event) -> bool) {
    while !wanted(&events.recv_timeout(PATIENCE).unwrap()) {}
}

/// Adds shapes that are not committed, and gives what the store has of their bodies.
fn queued(store: &Store) -> Vec<Body> {
    (0..SHAPES).for_each(|n| add(store, n));
    let body = |n| match store.body(&handle(n)) {
        Some(Found::Warm(body)) => Some(body),
        _ => None,
    };
    let bodies: Vec<_> = (0..SHAPES).filter_map(body).collect();
    assert_eq!(bodies.len(), SHAPES as usize);
    assert!(bodies.iter().all(|body| body.holders() > 1));
    bodies
}

/// While the store has its handle: what is left to that is freed wherever it is dropped.
fn until_let_go_of(store: Store, bodies: &[Body]) {
    let end = Instant::now() + PATIENCE;
    while bodies.iter().any(|body| body.holders() > 1) {
        assert!(Instant::now() < end, "the store holds bodies that nobody can ask for");
        thread::yield_now();
    }
    drop(store);
}

#[test]
fn a_fenced_store_holds_no_body_that_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (store, events) = opened(&folder);
    store.pause(true);
    let bodies = queued(&store);
    let conn = rusqlite::Connection::open(folder.path().join("shapes.sqlite")).unwrap();
    conn.execute("UPDATE meta SET value = value + 1 WHERE key = 'epoch'", []).unwrap();
    store.pause(false);
    until_event(&events, |event| matches!(event, Event::Fenced { .. }));
    until_let_go_of(store, &bodies);
}

#[test]
fn a_poisoned_store_holds_no_body() {
    let folder = tempfile::tempdir().unwrap();
    let (store, events) = opened_with(&folder, true);
    store.pause(true);
    let bodies = queued(&store);
    let entry = store.entry(&handle(0)).unwrap();
    // The writer reads, and whom it tells is not its own.
    store.ask_bodies(
        vec![entry],
        Asker::default(),
        Box::new(|_| std::panic::panic_any("as asked for")),
    );
    until_event(&events, |event| matches!(event, Event::Poisoned { .. }));
    until_let_go_of(store, &bodies);
}

/// Whoever changes something has the mutation lock while this looks and lists.
#[test]
fn looks_and_lists_of_what_is_pending_go_without_the_mutation_lock() {
    let folder = tempfile::tempdir().unwrap();
    let (store, _events) = opened(&folder);
    store.pause(true);
    (0..3).for_each(|n| add(&store, n));
    store.remove(&handle(0), Request::default()).unwrap();

    let (sender, told) = channel();
    let queue = store.shared.queue.lock();
    let other = store.clone();
    thread::spawn(move || {
        let is_pending = |n| other.entry(&handle(n)).is_some_and(|entry| other.is_pending(&entry));
        let mut added: Vec<_> = other.pending_entries().into_iter().map(|e| e.handle).collect();
        added.sort();
        let added: Vec<_> = added.iter().map(|handle| handle.to_vec()).collect();
        let removed = [0, 1].map(|n| other.is_removal_pending(&handle(n)));
        sender.send(([0, 1].map(is_pending), removed, added, other.pending_removals().len()))
    });
    let seen = told.recv_timeout(PATIENCE).unwrap();
    drop(queue);
    assert_eq!(seen, ([false, true], [true, false], vec![handle(1), handle(2)], 1));
}

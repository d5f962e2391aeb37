//! Changes that gather, with the writer run by hand and the time told to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::time::{Duration, Instant};

use common::{file_in, shape, unsynced};
use shape_store::{Machine, Next, Request, State, Store};

/// What goes into one batch.
const BATCH: u32 = 4096;

/// Until the writer waits: for how long, as far as it says.
fn run(machine: &mut Machine, now: Instant) -> Option<Duration> {
    loop {
        match machine.step(now) {
            Next::Again => {}
            Next::Wait(until) => return until.map(|until| until.saturating_duration_since(now)),
            Next::Over => panic!("the writer ended"),
        }
    }
}

/// A writer that has committed one change and lets others gather.
fn gathering(folder: &tempfile::TempDir) -> (Store, Machine, Instant) {
    let verify = Box::new(|_| Err("none".into()));
    let (store, mut machine) =
        Store::assemble(unsynced(file_in(folder)), Box::new(|_| {}), verify).unwrap();
    let now = Instant::now();
    run(&mut machine, now);
    assert_eq!(store.state(), State::Active);
    add(&store, 0);
    let later = Instant::now();
    assert!(run(&mut machine, later).is_some_and(|wait| wait < Duration::from_secs(1)));
    assert_eq!(store.durable(), 1);
    (store, machine, later)
}

fn add(store: &Store, n: u32) {
    store.add(shape(n).to_add(), Request::default()).unwrap();
}

#[test]
fn a_change_waits_until_it_has_gathered_and_calls_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut machine, now) = gathering(&folder);
    add(&store, 1);
    assert!(!machine.has_mail());
    let left = run(&mut machine, now).unwrap();
    assert_eq!(store.durable(), 1);
    run(&mut machine, now + left);
    assert_eq!(store.durable(), 2);
}

#[test]
fn a_batch_that_is_full_does_not_wait_for_more() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut machine, now) = gathering(&folder);
    (1..BATCH).for_each(|n| add(&store, n));
    assert!(!machine.has_mail());
    add(&store, BATCH);
    assert!(machine.has_mail());
    run(&mut machine, now);
    assert_eq!(store.durable(), u64::from(BATCH) + 1);
}

#[test]
fn who_waits_for_a_number_ends_the_gathering() {
    let folder = tempfile::tempdir().unwrap();
    let (store, mut machine, now) = gathering(&folder);
    add(&store, 1);
    store.flush_to(2);
    assert!(machine.has_mail());
    run(&mut machine, now);
    assert_eq!(store.durable(), 2);
}

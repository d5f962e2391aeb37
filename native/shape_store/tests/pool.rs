//! The threads that stores share: what one store waits for, holds up no other.

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
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

use common::{Running, file_in, open, shape, tell, unsynced};
use fault_vfs::{FaultVfs, Kinds};
use shape_store::{Event, Options, Outcome, State, Store, Waiting};

/// More than take turns at once on most machines, and fewer than there may be threads.
const STALLED: u32 = 40;

fn in_folder(root: &Path, n: u32) -> Options {
    file_in(root.join(n.to_string()))
}

fn threads_of_writers() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).ok();
    let names = tasks.filter_map(|task| name(task.ok()?));
    names.filter(|name| name.trim_end() == "shape_db_writer").count()
}

#[test]
fn stores_whose_disks_stall_hold_up_no_other_and_are_closed_and_dropped_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let vfs = FaultVfs::unique();
    let on_it = |n| Options { vfs: Some(vfs.name().into()), ..in_folder(folder.path(), n) };
    let stalled: Vec<Running> = (0..STALLED).map(|n| open(on_it(n))).collect();
    let (told, outcomes) = crossbeam_channel::unbounded();
    let hold = vfs.hold(Kinds::WRITE);
    for (n, store) in stalled.iter().enumerate() {
        let seq = store.add(&shape(n as u32)).unwrap();
        store.flush_to(seq);
        assert!(matches!(store.wait(seq, tell(told.clone())), Waiting::Until(_)));
    }
    // With all of them in their turns, or in line for one.
    let other = open(unsynced(in_folder(folder.path(), STALLED)));
    for n in 0..100 {
        other.add(&shape(n)).unwrap();
        other.flush();
    }
    assert!(outcomes.is_empty());
    assert!(vfs.held() > 0);

    // Half of them are closed, half let go of: what they have is committed all the same.
    let (closed, dropped): (Vec<_>, Vec<_>) =
        stalled.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
    let events: Vec<_> = dropped.into_iter().map(|(_, store)| store.events).collect();
    closed.iter().for_each(|(_, store)| store.store.close());
    assert_eq!(closed[0].1.state(), State::Closing);
    other.add(&shape(1_000)).unwrap();
    other.flush();
    hold.release();
    for _ in 0..STALLED {
        assert_eq!(outcomes.recv_timeout(common::PATIENCE).unwrap(), Outcome::Durable);
    }
    closed.iter().for_each(|(_, store)| assert_eq!(store.closed(), 1));
    for events in events {
        let ended = |event| matches!(event, Event::Closed { durable: 1 });
        while !ended(events.recv_timeout(common::PATIENCE).unwrap()) {}
    }
    for n in 0..STALLED {
        let again = open(on_it(n));
        assert_eq!(again.whole_body(&shape(n).handle), Some(shape(n).body));
        again.close();
    }
    other.close();
}

#[test]
fn stores_that_wait_have_no_threads_and_come_when_they_are_called() {
    const STORES: u32 = 150;
    let folder = tempfile::tempdir().unwrap();
    let stores: Vec<_> = (0..STORES).map(|n| open(unsynced(in_folder(folder.path(), n)))).collect();
    for round in 0..3 {
        for store in &stores {
            store.add(&shape(round)).unwrap();
        }
        stores.iter().for_each(|store| store.flush());
    }
    assert!(threads_of_writers() <= 64.max(4 * processors()), "{}", threads_of_writers());
    stores.into_iter().for_each(|store| assert_eq!(store.close(), 3));
}

fn processors() -> usize {
    std::thread::available_parallelism().unwrap().get()
}

#[test]
fn a_panic_around_a_turn_ends_its_store_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let other = open(unsynced(in_folder(folder.path(), 0)));
    let breaks = Arc::new(AtomicBool::new(false));
    let (send, events) = crossbeam_channel::unbounded();
    let scope = {
        let breaks = Arc::clone(&breaks);
        move |turn: &mut dyn FnMut()| {
            assert!(!breaks.load(SeqCst), "what is around the turn is broken");
            turn();
        }
    };
    let options = unsynced(in_folder(folder.path(), 1));
    let verify = Box::new(|_| Err("nothing to verify with".into()));
    let events_to = Box::new(move |event| drop(send.send(event)));
    let store = Store::open_within(options.clone(), events_to, verify, scope).unwrap();
    assert!(matches!(events.recv_timeout(common::PATIENCE), Ok(Event::Opened { .. })));
    let store = Running {
        store,
        events,
        opening: common::Opening { shapes: 0, standby: false, quarantined: None },
    };
    store.add(&shape(1)).unwrap();
    store.flush();
    breaks.store(true, SeqCst);
    let seq = store.add(&shape(2)).unwrap();
    store.flush_to(seq);
    assert_eq!(store.outcome(seq), Outcome::Poisoned);
    assert_eq!(store.state(), State::Poisoned);

    other.add(&shape(3)).unwrap();
    other.flush();
    // Its file is free, with what was committed.
    let again = open(options);
    assert_eq!(again.count(), 1);
    again.close();
    other.close();
}

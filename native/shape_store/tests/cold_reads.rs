//! Bodies that are not in memory: who asks stands in a line, and is told.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use common::{PATIENCE, Running, file_in, open, path_of, shape, sql::execute, tell};
use crossbeam_channel::{Receiver, unbounded};
use fault_vfs::{FaultVfs, Kinds};
use shape_store::{Asker, Event, Found, Options, ReadBodies, ReadError};

const SHAPES: u32 = 100;

/// A store that keeps no body in memory, on a disk that can stall.
fn store(exclusive: bool, readers: usize) -> (Arc<FaultVfs>, tempfile::TempDir, Running) {
    let vfs = FaultVfs::unique();
    let folder = tempfile::tempdir().unwrap();
    let vfs_name = Some(vfs.name().into());
    let options = Options { exclusive, readers, cache_bytes: 0, vfs: vfs_name, ..file_in(&folder) };
    let store = open(options);
    (0..SHAPES).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.flush();
    (vfs, folder, store)
}

fn ask(store: &Running, n: u32, asker: Asker) -> Receiver<ReadBodies> {
    let Some(Found::Cold(entry)) = store.body(&shape(n).handle) else {
        panic!("shape {n} is in memory, or nowhere")
    };
    let (sender, told) = unbounded();
    store.ask_bodies(vec![entry], asker, tell(sender));
    told
}

fn read(store: &Running, told: &Receiver<ReadBodies>) -> Vec<u8> {
    let bodies = told.recv_timeout(PATIENCE).expect("who asks is told").unwrap();
    let mut buffer = Vec::new();
    store.dictionary().unpack(bodies[0].as_ref().expect("a body"), &mut buffer).to_vec()
}

#[test]
fn those_behind_a_stalled_read_wait_in_line_and_no_store_beside_it_does() {
    let (vfs, _folder, stalled) = store(false, 2);
    let (_vfs, _other_folder, other) = store(false, 4);
    let hold = vfs.hold(Kinds::READ | Kinds::MAP | Kinds::LOCK);
    let asked: Vec<_> = (0..SHAPES).map(|n| ask(&stalled, n, Asker::default())).collect();
    assert!(vfs.wait_until_held(PATIENCE));
    // Two reads go on, of a bounded part of the line each.
    assert!(stalled.waiting_reads() >= 30);
    for n in 0..SHAPES {
        assert_eq!(read(&other, &ask(&other, n, Asker::default())), shape(n).body);
    }
    assert!(asked.iter().all(Receiver::is_empty));
    assert_eq!(stalled.handle_for(&shape(7).digest).unwrap().as_slice(), shape(7).handle);
    hold.release();
    for (n, told) in asked.iter().enumerate() {
        assert_eq!(read(&stalled, told), shape(n as u32).body);
    }
    // Who is told has left the line.
    assert_eq!(stalled.waiting_reads(), 0);
}

#[test]
fn what_nobody_wants_any_more_is_not_read() {
    let (vfs, _folder, store) = store(false, 1);
    let hold = vfs.hold(Kinds::READ | Kinds::MAP | Kinds::LOCK);
    let first = ask(&store, 0, Asker::default());
    assert!(vfs.wait_until_held(PATIENCE));
    let wanted = Arc::new(AtomicBool::new(true));
    let asker = || {
        let wanted = Arc::clone(&wanted);
        Asker { is_wanting: Box::new(move || wanted.load(SeqCst)), ..Asker::default() }
    };
    let left: Vec<_> = (1..SHAPES).map(|n| ask(&store, n, asker())).collect();
    wanted.store(false, SeqCst);
    // Whoever joins a long line takes some of them out, so that it does not grow without end.
    let long = store.waiting_reads();
    for _ in 0..200 {
        drop(ask(&store, 0, asker()));
    }
    assert!(store.waiting_reads() < long, "{} of {long}", store.waiting_reads());
    let last = ask(&store, 0, Asker::default());
    hold.release();
    assert_eq!(read(&store, &first), shape(0).body);
    assert_eq!(read(&store, &last), shape(0).body);
    for told in left {
        // Whoever has left hears no more than that, if they hear at all.
        let answer = told.recv_timeout(PATIENCE);
        assert!(matches!(answer, Ok(Err(ReadError::Closed))), "{answer:?}");
    }
}

#[test]
fn who_has_the_connection_that_writes_does_not_wait_for_it() {
    for exclusive in [false, true] {
        let (_vfs, folder, store) = store(exclusive, 4);
        let (sender, granted) = unbounded();
        store.ask_writer(tell(sender));
        let lease = granted.recv_timeout(PATIENCE).unwrap().unwrap();
        let asker = || Asker { has_writer: true, ..Asker::default() };
        if exclusive {
            let answer = ask(&store, 1, asker()).recv_timeout(PATIENCE).unwrap();
            assert!(matches!(answer, Err(ReadError::Borrowed)), "{answer:?}");
        } else {
            // No reader finds the file, and the writer, who would see to that, is lent.
            let options = file_in(&folder);
            let path = common::path_of(&options);
            let elsewhere = path.with_extension("elsewhere");
            std::fs::rename(path, &elsewhere).unwrap();
            let answer = ask(&store, 1, asker()).recv_timeout(PATIENCE).unwrap();
            assert!(matches!(answer, Err(ReadError::Sqlite(_) | ReadError::NotOurs(_))));
            std::fs::rename(&elsewhere, path).unwrap();
            assert_eq!(read(&store, &ask(&store, 1, asker())), shape(1).body);
        }
        drop(lease);
    }
}

#[test]
fn whoever_stands_in_line_is_told_when_the_store_closes() {
    for exclusive in [false, true] {
        let (vfs, _folder, store) = store(exclusive, 1);
        let hold = vfs.hold(Kinds::READ | Kinds::MAP | Kinds::LOCK);
        let asked: Vec<_> = (0..SHAPES).map(|n| ask(&store, n, Asker::default())).collect();
        assert!(vfs.wait_until_held(PATIENCE));
        store.store.close();
        hold.release();
        for (n, told) in asked.iter().enumerate() {
            match told.recv_timeout(PATIENCE).expect("who asks is told") {
                Ok(bodies) => assert_eq!(bodies.len(), 1, "shape {n}"),
                Err(error) => assert!(matches!(error, ReadError::Closed), "shape {n}: {error}"),
            }
        }
        store.closed();
    }
}

/// By hand, with the store running or, where nobody else gets at the file, between two runs.
#[test]
fn a_shape_whose_row_was_taken_out_is_lost_by_name() {
    for (exclusive, tables) in [(false, 1), (false, 2), (true, 1)] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { exclusive, cache_bytes: 0, ..file_in(&folder) };
        let take_out = || {
            for table in &["bodies", "shapes"][..tables] {
                execute(path_of(&options), &format!("DELETE FROM {table} WHERE id = 4"));
            }
        };
        let mut store = open(options.clone());
        (0..SHAPES).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
        store.flush();
        if exclusive {
            store.close();
            take_out();
            store = open(options.clone());
        } else {
            take_out();
        }
        assert_eq!(store.whole_body(&shape(3).handle), None);
        let lost = store.event(|event| match event {
            Event::Lost { handle, reason } => Some((handle.to_vec(), reason)),
            _ => None,
        });
        assert_eq!(lost, (shape(3).handle, "its definition is gone from the file".into()));
        assert!(store.entry(&shape(3).handle).is_none());
        // It may be added again, and nothing else is lost.
        assert!(store.add(&shape(3)).is_ok());
        store.flush();
        for n in 0..SHAPES {
            assert_eq!(store.whole_body(&shape(n).handle), Some(shape(n).body), "shape {n}");
        }
        assert_eq!(store.statistics().lost, 1);
        store.close();
        assert_eq!(open(options).opening.shapes, SHAPES as usize);
    }
}

/// As a list asks for them: a few are named, and of many the file is not to be saved.
#[test]
fn shapes_whose_rows_were_taken_out_are_lost_from_a_list() {
    for gone in [2, 50] {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { cache_bytes: 0, ..file_in(&folder) };
        let store = open(options.clone());
        (0..SHAPES).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
        store.flush();
        execute(path_of(&options), &format!("DELETE FROM bodies WHERE id > {}", SHAPES - gone));
        let list = || {
            let entries = (0..SHAPES).filter_map(|n| store.entry(&shape(n).handle)).collect();
            let (sender, told) = unbounded();
            store.ask_bodies(entries, Asker::default(), tell(sender));
            let bodies = told.recv_timeout(PATIENCE).expect("who asks is told").unwrap();
            bodies.iter().flatten().count()
        };
        assert_eq!(list(), (SHAPES - gone) as usize);
        if gone == 2 {
            assert_eq!(store.statistics().lost, 2);
            assert_eq!(store.statistics().rebuilds, 0);
        } else {
            let lost = store.event(|event| match event {
                Event::Rebuilt { lost, .. } => Some(lost.len()),
                _ => None,
            });
            assert_eq!(lost, gone as usize);
        }
        assert_eq!(store.count(), (SHAPES - gone) as usize);
        assert_eq!(list(), (SHAPES - gone) as usize);
    }
}

/// The rows go before the index has forgotten the last of the shapes.
#[test]
fn nothing_is_lost_that_a_reset_takes_out() {
    let shapes = 3_000;
    let folder = tempfile::tempdir().unwrap();
    let store = open(Options { cache_bytes: 0, ..file_in(&folder) });
    for _ in 0..10 {
        (0..shapes).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
        store.flush();
        std::thread::scope(|scope| {
            for part in 0..2 {
                let store = &store;
                scope.spawn(move || {
                    (0..shapes).rev().filter(|n| n % 2 == part).for_each(|n| {
                        assert!(
                            store.whole_body(&shape(n).handle).is_none_or(|b| b == shape(n).body)
                        );
                    });
                });
            }
            assert!(store.reset().is_ok());
        });
        store.flush();
        assert_eq!((store.count(), store.statistics().lost), (0, 0));
    }
}

//! Cold bodies that the system has in memory: read by who asks.

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
    fs::File,
    io::IoSliceMut,
    ops::{ControlFlow, Range},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    path::Path,
};

use common::{Running, Shape, file_in, open, path_of, shape, sql::execute};
use fault_vfs::{FaultVfs, Kinds};
use rustix::{
    fs::{Advice, fadvise},
    io::{Errno, ReadWriteFlags, preadv2},
};
use shape_store::{Entry, Found, Options};

/// Many more pages than SQLite keeps, and than the system reads ahead.
const SHAPES: u32 = 400;

fn large(n: u32) -> Shape {
    Shape { body: n.to_le_bytes().repeat(3_000), ..shape(n) }
}

/// A store that was started on a file with shapes, and keeps none of their bodies.
fn restarted(options: &Options, before: impl FnOnce(&Path)) -> Running {
    let store = open(options.clone());
    (0..SHAPES).for_each(|n| assert!(store.add(&large(n)).is_ok()));
    store.flush();
    store.close();
    before(path_of(options));
    open(options.clone())
}

fn cold(store: &Running, n: u32) -> Entry {
    match store.body(&large(n).handle) {
        Some(Found::Cold(entry)) => entry,
        other => panic!("shape {n}: {other:?}"),
    }
}

/// Whether it could be read, and then rightly.
fn at_once(store: &Running, n: u32) -> bool {
    let Some(body) = store.body_at_once(&cold(store, n)) else { return false };
    assert!(store.dictionary().unpack(&body, &mut Vec::new()) == large(n).body, "shape {n}");
    true
}

/// Whether its body is right, wherever it is.
fn is_whole(store: &Running, n: u32) -> bool {
    store.whole_body(&large(n).handle) == Some(large(n).body)
}

/// Whether nothing of a file is in memory any more.
fn forget(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    file.sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    let mut byte = [0];
    let read = preadv2(&file, &mut [IoSliceMut::new(&mut byte)], 40_000, ReadWriteFlags::NOWAIT);
    read == Err(Errno::AGAIN)
}

/// Whether a file says what of it is in memory.
fn tells(path: &Path) -> bool {
    let file = File::open(path).unwrap();
    let mut byte = [0];
    let read = preadv2(&file, &mut [IoSliceMut::new(&mut byte)], 0, ReadWriteFlags::NOWAIT);
    matches!(read, Ok(_) | Err(Errno::AGAIN))
}

#[test]
fn what_is_in_memory_is_read_at_once_after_one_read_in_line() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 0, ..file_in(&folder) };
    let mut tells_it = false;
    let store = restarted(&options, |path| tells_it = tells(path));
    assert!(!at_once(&store, 0), "nothing is known of the file");
    assert!(is_whole(&store, 0));
    // One page or the other may be busy.
    let read = (0..SHAPES).filter(|n| at_once(&store, *n)).count();
    assert_eq!(read > SHAPES as usize / 2, tells_it, "{read}");
}

#[test]
fn it_is_kept_warm() {
    let folder = tempfile::tempdir().unwrap();
    let options = file_in(&folder);
    let mut tells_it = false;
    let store = restarted(&options, |path| tells_it = tells(path));
    assert!(is_whole(&store, 0));
    let read = (1..SHAPES).find(|n| at_once(&store, *n));
    assert_eq!(read.is_some(), tells_it);
    if let Some(n) = read {
        assert!(matches!(store.body(&large(n).handle), Some(Found::Warm(_))), "shape {n}");
    }
}

#[test]
fn what_would_be_waited_for_is_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 0, ..file_in(&folder) };
    let mut gone = false;
    let store = restarted(&options, |path| gone = forget(path));
    assert!(is_whole(&store, 0));
    // In an order in which the system does not read ahead.
    let order = (0..SHAPES).map(|n| n * 149 % SHAPES);
    let missing = order.filter(|n| !at_once(&store, *n)).count();
    assert!(missing > 0 || !gone, "the file was not in memory");
    for n in 0..SHAPES {
        assert!(is_whole(&store, n), "shape {n}");
    }
}

#[test]
fn a_body_that_was_damaged_and_one_that_is_gone_are_left_to_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 0, ..file_in(&folder) };
    let store = restarted(&options, |path| {
        execute(path, "UPDATE bodies SET shape = x'00' WHERE id = 2");
        execute(path, "DELETE FROM bodies WHERE id = 3");
    });
    assert!(is_whole(&store, 0));
    assert!(!at_once(&store, 1) && !at_once(&store, 2));
    assert_eq!(store.statistics().lost, 0);
    assert_eq!(store.whole_body(&large(1).handle), None);
    assert_eq!(store.statistics().lost, 1);
    assert_eq!(store.whole_body(&large(2).handle), None);
    assert_eq!(store.statistics().lost, 2);
}

#[test]
fn on_another_vfs_nothing_is_tried() {
    let vfs = FaultVfs::unique();
    let folder = tempfile::tempdir().unwrap();
    let vfs_name = Some(vfs.name().into());
    let options = Options { cache_bytes: 0, vfs: vfs_name, ..file_in(&folder) };
    let store = restarted(&options, |_| ());
    assert!(is_whole(&store, 0));
    let _hold = vfs.hold(Kinds::READ | Kinds::MAP | Kinds::LOCK);
    assert!(!at_once(&store, 1));
}

#[test]
fn a_store_that_is_closed_reads_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store = restarted(&Options { cache_bytes: 0, ..file_in(&folder) }, |_| ());
    assert!(is_whole(&store, 0));
    let entry = cold(&store, 1);
    store.store.close();
    store.closed();
    assert!(store.body_at_once(&entry).is_none());
    store.visit_at_once(&[&entry], |_| panic!("it is closed"));
}

#[test]
fn a_list_is_visited_as_far_as_nothing_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 0, ..file_in(&folder) };
    let mut tells_it = false;
    let store = restarted(&options, |path| {
        tells_it = tells(path);
        execute(path, "DELETE FROM bodies WHERE id = 400");
        execute(path, "UPDATE bodies SET shape = x'00' WHERE id = 200");
    });
    let entries: Vec<_> = (0..SHAPES).map(|n| cold(&store, n)).collect();
    let visit = |range: Range<u32>, most: u32| {
        let some: Vec<_> = range.clone().map(|n| &entries[n as usize]).collect();
        let mut next = range.start;
        store.visit_at_once(&some, |body| {
            assert!(body == large(next).body, "shape {next}");
            next += 1;
            if next == range.start + most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        next - range.start
    };
    assert_eq!(visit(0..10, 10), 0, "nothing is known of the file");
    // What is asked for as a list tells it as well.
    assert_eq!(store.ask(entries[..2].to_vec()).unwrap().len(), 2);
    let read: u32 = (0..SHAPES).step_by(10).map(|n| visit(n..n + 10, 10)).sum();
    // One page or the other may be busy.
    assert_eq!(read > SHAPES / 2, tells_it, "{read}");
    assert!(visit(0..50, 5) <= 5);
    // The damaged one and the one that is gone end it, and are found by the line.
    assert!(visit(190..210, 20) <= 9 && visit(390..400, 10) <= 9);
    assert_eq!(store.statistics().lost, 0);
    let rest = store.ask(entries[199..].to_vec()).unwrap();
    assert_eq!((rest.first(), rest.len()), (Some(&None), 176));
    assert_eq!(store.ask(entries[390..].to_vec()).unwrap().last(), Some(&None));
    assert_eq!(store.statistics().lost, 2);
}

#[test]
fn a_visit_that_panics_costs_a_connection_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 0, ..file_in(&folder) };
    let mut tells_it = false;
    let store = restarted(&options, |path| tells_it = tells(path));
    assert!(is_whole(&store, 0));
    let open = store.statistics().connections;
    let entries: Vec<_> = (0..SHAPES).map(|n| cold(&store, n)).collect();
    let panics = |entry| {
        let visit = || store.visit_at_once(&[entry, entry], |_| resume_unwind(Box::new(())));
        catch_unwind(AssertUnwindSafe(visit)).is_err()
    };
    // One page or the other may be busy.
    let panicked = entries.iter().any(panics);
    assert_eq!(panicked, tells_it);
    assert_eq!(store.statistics().connections, open - usize::from(panicked));
    assert!((0..SHAPES).all(|n| is_whole(&store, n)));
    assert_eq!(store.statistics().connections, open);
}

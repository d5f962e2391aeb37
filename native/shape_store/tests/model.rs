//! Random operations against a plain map: after every step every lookup agrees.
//!
//! Handles and shapes come from small pools, so that operations meet. The pools
//! hold what does not fit a cell of the index too: long handles, many tables.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Running, Shape, file_in, named, open, unsynced};
use proptest::prelude::*;
use shape_store::{ChangeError, Location, Operation, Options, Request, Snapshot};

const HANDLES: usize = 9;
const SHAPES: u32 = 9;
const OIDS: u32 = 8;

#[derive(Clone, Debug)]
enum Step {
    Add { handle: usize, shape: u32 },
    Remove(usize),
    Mark(usize, bool),
    NoteUnknown(usize),
    RemoveIncomplete,
    Reset,
    Flush,
    Pause(bool),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..HANDLES, 0..SHAPES).prop_map(|(handle, shape)| Step::Add { handle, shape }),
        6 => (0..HANDLES).prop_map(Step::Remove),
        6 => (0..HANDLES, any::<bool>()).prop_map(|(handle, done)| Step::Mark(handle, done)),
        1 => (0..HANDLES).prop_map(Step::NoteUnknown),
        1 => Just(Step::RemoveIncomplete),
        1 => Just(Step::Reset),
        4 => Just(Step::Flush),
        4 => any::<bool>().prop_map(Step::Pause),
        1 => Just(Step::Reopen),
    ]
}

fn handle(n: usize) -> Vec<u8> {
    let long = [0, 0, 0, 0, 33, 32, 200, 1024, 1][n];
    let mut handle = format!("{n}-1736944891394221").into_bytes();
    if long > 0 {
        handle.resize(long, b'x');
    }
    handle
}

fn shape(handle: &[u8], n: u32) -> Shape {
    let mut shape = named(handle, n);
    shape.oids = (0..[1, 1, 2, 0, 3, 7, 1, 2, 5][n as usize]).map(|i| (n + i) % OIDS).collect();
    shape.oids.sort_unstable();
    shape.body.truncate([0, 1, 300, 300, 300, 300, 300, 300, 300][n as usize]);
    shape.body.resize([0, 1, 300, 300, 20_000, 70_000, 300, 300, 300][n as usize], n as u8);
    shape
}

/// What must be true of the store.
#[derive(Default)]
struct Model {
    shapes: BTreeMap<Vec<u8>, (Shape, Snapshot)>,
    /// What is queued since the last flush, if nothing of it can be committed.
    queued: Option<Queued>,
}

#[derive(Default)]
struct Queued {
    ops: usize,
    diff: i64,
    added: BTreeSet<Vec<u8>>,
    removed: BTreeSet<Vec<u8>>,
}

impl Model {
    /// Counts an operation, which is exact only while nothing is committed.
    fn queue(&mut self, paused: bool, note: impl FnOnce(&mut Queued)) {
        if !paused {
            self.queued = None;
        } else if let Some(queued) = &mut self.queued {
            queued.ops += 1;
            note(queued);
        }
    }

    fn remove(&mut self, handle: &[u8], paused: bool) {
        self.shapes.remove(handle);
        self.queue(paused, |queued| {
            queued.diff -= 1;
            queued.added.remove(handle);
            queued.removed.insert(handle.to_vec());
        });
    }
}

struct Run {
    options: Options,
    store: Running,
    paused: bool,
    model: Model,
}

impl Run {
    fn new(options: Options) -> Self {
        let store = open(options.clone());
        let model = Model { queued: Some(Queued::default()), ..Model::default() };
        Self { paused: options.manual_flush, options, store, model }
    }

    fn step(&mut self, step: &Step) {
        let (store, model, paused) = (&self.store, &mut self.model, self.paused);
        match *step {
            Step::Add { handle: h, shape: s } => {
                let new = shape(&handle(h), s);
                let taken = model.shapes.contains_key(&new.handle);
                let equal = model.shapes.values().find(|(other, _)| other.digest == new.digest);
                match (store.add(&new), taken, equal) {
                    (Err(ChangeError::DuplicateHandle), true, _) => {}
                    (Err(ChangeError::DuplicateShape(there)), false, Some((other, _))) => {
                        assert_eq!(there.as_slice(), other.handle);
                    }
                    (Ok(seq), false, None) => {
                        assert_eq!(seq, store.last());
                        model.queue(paused, |queued| {
                            queued.diff += 1;
                            queued.added.insert(new.handle.clone());
                        });
                        model.shapes.insert(new.handle.clone(), (new, Snapshot::None));
                    }
                    other => panic!("{step:?} gave {other:?}"),
                }
            }
            Step::Remove(h) => match (store.remove(&handle(h)), model.shapes.get(&handle(h))) {
                (Ok(_), Some(_)) => model.remove(&handle(h), paused),
                (Err(ChangeError::Unknown), None) => {}
                other => panic!("{step:?} gave {other:?}"),
            },
            Step::Mark(h, done) => {
                let to = if done { Snapshot::Complete } else { Snapshot::Started };
                let marked = store.mark(&handle(h), to, Request::default());
                match (marked, model.shapes.get_mut(&handle(h))) {
                    (Ok(_), Some((_, snapshot))) => {
                        *snapshot = to.max(*snapshot);
                        model.queue(paused, |_| {});
                    }
                    (Err(ChangeError::Unknown), None) => {}
                    other => panic!("{step:?} gave {other:?}"),
                }
            }
            Step::NoteUnknown(h) => {
                store.note_unknown(Operation::Remove, &handle(h), Request::default()).unwrap();
                model.queue(paused, |queued| queued.diff -= 1);
            }
            Step::RemoveIncomplete => {
                let (removed, _) = store.remove_incomplete().unwrap();
                let expected: Vec<_> = model
                    .shapes
                    .iter()
                    .filter(|(_, (_, snapshot))| *snapshot != Snapshot::Complete)
                    .map(|(handle, _)| handle.clone())
                    .collect();
                assert!(removed.iter().map(|h| h.to_vec()).eq(expected.iter().cloned()));
                expected.iter().for_each(|handle| model.remove(handle, paused));
            }
            Step::Reset => {
                store.reset().unwrap();
                model.shapes.clear();
                model.queue(paused, |queued| queued.added.clear());
            }
            Step::Flush => {
                store.flush();
                model.queued = Some(Queued::default());
            }
            Step::Pause(pause) => {
                store.pause(pause);
                if pause != paused {
                    // What was queued may be committed, or is about to be.
                    model.queued = None;
                }
                self.paused = pause;
            }
            Step::Reopen if self.options.location == Location::Memory => {}
            Step::Reopen => {
                self.store.store.close();
                self.store = open(self.options.clone());
                assert_eq!(self.store.opening.quarantined, None);
                assert_eq!(self.store.opening.shapes, self.model.shapes.len());
                self.model.queued = Some(Queued::default());
                self.paused = self.options.manual_flush;
            }
        }
        self.agree();
    }

    fn agree(&self) {
        let (store, shapes) = (&self.store, &self.model.shapes);
        assert_eq!(store.count(), shapes.len());
        for handle in (0..HANDLES).map(handle) {
            let entry = store.entry(&handle);
            assert_eq!(entry.is_some(), shapes.contains_key(&handle));
            if let (Some(entry), Some((shape, snapshot))) = (entry, shapes.get(&handle)) {
                assert!(shape.is(&entry), "{entry:?} is not {shape:?}");
                assert_eq!(entry.snapshot, *snapshot);
            }
            let body = shapes.get(&handle).map(|(shape, _)| shape.body.clone());
            assert_eq!(store.whole_body(&handle), body);
        }
        for n in 0..SHAPES {
            let digest = shape(b"", n).digest;
            let there = shapes.values().find(|(shape, _)| shape.digest == digest);
            let found = store.handle_for(&digest).map(|handle| handle.to_vec());
            assert_eq!(found, there.map(|(shape, _)| shape.handle.clone()));
        }
        for oids in [vec![], vec![3], vec![0, 5], (0..OIDS).collect()] {
            let reads = |shape: &Shape| shape.oids.iter().any(|oid| oids.contains(oid));
            let expected: Vec<_> =
                shapes.values().filter(|(s, _)| reads(s)).map(|(s, _)| s.handle.clone()).collect();
            let found = store.handles_for_relations(&oids, usize::MAX).unwrap();
            assert!(found.iter().map(|h| h.to_vec()).eq(expected));
        }
        let all: BTreeSet<_> = store.places().iter().map(|place| place.handle.to_vec()).collect();
        assert!(all.iter().eq(shapes.keys()));
        if let Some(queued) = &self.model.queued {
            self.pending_agrees(queued);
        }
    }

    fn pending_agrees(&self, queued: &Queued) {
        let store = &self.store;
        assert_eq!((store.pending_ops(), store.pending_count_diff()), (queued.ops, queued.diff));
        let added: BTreeSet<_> =
            store.pending_entries().iter().map(|entry| entry.handle.to_vec()).collect();
        assert_eq!(added, queued.added);
        let removed: BTreeSet<_> = store.pending_removals().iter().map(|h| h.to_vec()).collect();
        let gone = queued.removed.iter().filter(|h| !self.model.shapes.contains_key(*h));
        assert!(removed.iter().eq(gone));
        for handle in self.model.shapes.keys() {
            let entry = store.entry(handle).unwrap();
            assert_eq!(store.is_pending(&entry), queued.added.contains(handle));
            assert!(!store.is_removal_pending(handle));
        }
        for handle in &queued.removed {
            assert_eq!(store.is_removal_pending(handle), removed.contains(handle));
        }
    }
}

fn run(mut options: Options, steps: &[Step], manual: bool, cache: usize) {
    options.manual_flush = manual;
    options.cache_bytes = cache;
    if options.location != Location::Memory {
        options = unsynced(options);
    }
    let mut run = Run::new(options);
    steps.iter().for_each(|step| run.step(step));
    if run.options.location != Location::Memory {
        run.store.close();
        common::sql::assert_sound(common::path_of(&run.options), "at the end");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 48, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_store_with_a_log_is_a_map(
        steps in prop::collection::vec(step(), 1..60), manual: bool, cold: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        run(file_in(&folder), &steps, manual, if cold { 0 } else { 50_000 });
    }

    #[test]
    fn an_exclusive_store_is_a_map(
        steps in prop::collection::vec(step(), 1..60), manual: bool, cold: bool,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let options = Options { exclusive: true, ..file_in(&folder) };
        run(options, &steps, manual, if cold { 0 } else { 50_000 });
    }

    #[test]
    fn a_store_in_memory_is_a_map(
        steps in prop::collection::vec(step(), 1..60), manual: bool, cold: bool,
    ) {
        run(Options::new(Location::Memory), &steps, manual, if cold { 0 } else { 50_000 });
    }
}

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
use shape_store::{
    ChangeError, HostClock, Location, NewShape, Operation, Options, Request, Snapshot,
};

const HANDLES: usize = 9;
const SHAPES: u32 = 9;
const OIDS: u32 = 8;

/// When shapes are read: few times, so that some are the same.
const TIMES: std::ops::Range<i64> = -6..6;

/// What the host's clock says at each opening. It counts in seconds.
const NOW: i64 = 1_000_000;

/// What is in memory alone until the store closes in order.
#[derive(Clone, Debug)]
struct Known {
    shape: Shape,
    snapshot: Snapshot,
    /// As it is in the file, when everything is.
    persisted: Snapshot,
    flags: u8,
    read: Option<i64>,
}

#[derive(Clone, Debug)]
enum Step {
    Add { handle: usize, shape: u32 },
    Remove(usize),
    Mark { handle: usize, done: bool, persist: bool },
    Touch(usize, i64),
    SetRead(usize, i64),
    SetFlags(usize, u8),
    SetManyFlags(u8),
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
        6 => (0..HANDLES, any::<bool>(), any::<bool>())
            .prop_map(|(handle, done, persist)| Step::Mark { handle, done, persist }),
        8 => (0..HANDLES, TIMES).prop_map(|(handle, time)| Step::Touch(handle, time)),
        3 => (0..HANDLES, TIMES).prop_map(|(handle, time)| Step::SetRead(handle, time)),
        4 => (0..HANDLES, any::<u8>()).prop_map(|(handle, flags)| Step::SetFlags(handle, flags)),
        1 => any::<u8>().prop_map(Step::SetManyFlags),
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
    shapes: BTreeMap<Vec<u8>, Known>,
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
                let equal = model.shapes.values().find(|other| other.shape.digest == new.digest);
                let request = Request::default();
                let added = store.store.add(NewShape { flags: s as u8, ..new.to_add() }, request);
                match (added, taken, equal) {
                    (Err(ChangeError::DuplicateHandle), true, _) => {}
                    (Err(ChangeError::DuplicateShape(there)), false, Some(other)) => {
                        assert_eq!(there.as_slice(), other.shape.handle);
                    }
                    (Ok(seq), false, None) => {
                        assert_eq!(seq, store.last());
                        model.queue(paused, |queued| {
                            queued.diff += 1;
                            queued.added.insert(new.handle.clone());
                        });
                        let none = Snapshot::None;
                        let (shape, flags) = (new, s as u8);
                        let handle = shape.handle.clone();
                        let known =
                            Known { shape, snapshot: none, persisted: none, flags, read: None };
                        model.shapes.insert(handle, known);
                    }
                    other => panic!("{step:?} gave {other:?}"),
                }
            }
            Step::Remove(h) => match (store.remove(&handle(h)), model.shapes.get(&handle(h))) {
                (Ok(_), Some(_)) => model.remove(&handle(h), paused),
                (Err(ChangeError::Unknown), None) => {}
                other => panic!("{step:?} gave {other:?}"),
            },
            Step::Mark { handle: h, done: false, persist: false } => {
                let marked = store.mark_in_memory(&handle(h), Snapshot::Started);
                match (marked, model.shapes.get_mut(&handle(h))) {
                    (Ok(()), Some(known)) => known.snapshot = known.snapshot.max(Snapshot::Started),
                    (Err(ChangeError::Unknown), None) => {}
                    other => panic!("{step:?} gave {other:?}"),
                }
            }
            Step::Mark { handle: h, done, .. } => {
                let to = if done { Snapshot::Complete } else { Snapshot::Started };
                let marked = store.mark(&handle(h), to, Request::default());
                match (marked, model.shapes.get_mut(&handle(h))) {
                    (Ok(_), Some(known)) => {
                        known.snapshot = to.max(known.snapshot);
                        known.persisted = known.snapshot;
                        model.queue(paused, |_| {});
                    }
                    (Err(ChangeError::Unknown), None) => {}
                    other => panic!("{step:?} gave {other:?}"),
                }
            }
            Step::Touch(h, time) => {
                let known = model.shapes.get_mut(&handle(h));
                assert_eq!(store.touch(&handle(h), time), known.is_some());
                known.into_iter().for_each(|known| known.read = known.read.max(Some(time)));
            }
            Step::SetRead(h, time) => {
                let known = model.shapes.get_mut(&handle(h));
                assert_eq!(store.set_last_read(&handle(h), time), known.is_some());
                known.into_iter().for_each(|known| known.read = Some(time));
            }
            Step::SetFlags(h, flags) => {
                let set = store.set_flags(&handle(h), flags, Request::default());
                match (set, model.shapes.get_mut(&handle(h))) {
                    (Ok(_), Some(known)) => {
                        known.flags = flags;
                        model.queue(paused, |_| {});
                    }
                    (Err(ChangeError::Unknown), None) => {}
                    other => panic!("{step:?} gave {other:?}"),
                }
            }
            Step::SetManyFlags(flags) => {
                let all: Vec<_> = (0..HANDLES).map(handle).collect();
                let all: Vec<_> = all.iter().map(|handle| (handle.as_slice(), flags)).collect();
                store.set_many_flags(&all).unwrap();
                if model.shapes.values().any(|known| known.flags != flags) {
                    model.queue(paused, |_| {});
                }
                model.shapes.values_mut().for_each(|known| known.flags = flags);
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
                    .filter(|(_, known)| known.snapshot != Snapshot::Complete)
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
                self.reopened();
            }
        }
        self.agree();
    }

    /// The file has ages, of the clock at the end; the store has times, of the clock when it
    /// opened. Both clocks went on for some seconds at most.
    fn reopened(&mut self) {
        for (handle, known) in &mut self.model.shapes {
            known.snapshot = known.persisted;
            let read = self.store.meta(handle).unwrap().read.unwrap();
            let expected = known.read.unwrap_or(NOW);
            assert!((expected - 120..=expected + 120).contains(&read), "{read}: not {expected}");
            known.read = Some(read);
        }
    }

    fn meta_agrees(&self) {
        let (store, shapes) = (&self.store, &self.model.shapes);
        for handle in (0..HANDLES).map(handle) {
            let meta = store.meta(&handle);
            let known = shapes.get(&handle);
            let found = meta.as_ref().map(|meta| (meta.read, meta.entry.flags));
            assert_eq!(found, known.map(|known| (known.read, known.flags)));
            if let Some(known) = known {
                assert_eq!(store.lookup(&known.shape.digest, None), meta);
            }
        }
        let mut read: Vec<_> =
            shapes.iter().filter_map(|(handle, known)| Some((known.read?, handle))).collect();
        read.sort();
        for n in [0, 1, 3, HANDLES + 1] {
            let coldest = store.least_recently_read(n, NOW);
            let expected = &read[..n.min(read.len())];
            assert!(
                coldest.handles.iter().map(|h| h.to_vec()).eq(expected.iter().map(|e| e.1.clone()))
            );
            assert_eq!(coldest.last_read, expected.last().map(|e| e.0));
        }
        for (mask, value) in [(0, 0), (1, 1), (1, 0), (128, 128), (3, 1), (255, 7), (4, 1)] {
            let with = shapes.iter().filter(|(_, known)| known.flags & mask == value);
            let expected: Vec<_> = with.map(|(handle, _)| handle.clone()).collect();
            assert_eq!(store.count_by_flags(mask, value), expected.len());
            let found = store.handles_by_flags(mask, value);
            assert!(found.iter().map(|h| h.to_vec()).eq(expected));
        }
    }

    fn agree(&self) {
        self.meta_agrees();
        let (store, shapes) = (&self.store, &self.model.shapes);
        assert_eq!(store.count(), shapes.len());
        for handle in (0..HANDLES).map(handle) {
            let entry = store.entry(&handle);
            assert_eq!(entry.is_some(), shapes.contains_key(&handle));
            if let (Some(entry), Some(known)) = (entry, shapes.get(&handle)) {
                assert!(known.shape.is(&entry), "{entry:?} is not {known:?}");
                assert_eq!(entry.snapshot, known.snapshot);
            }
            let body = shapes.get(&handle).map(|known| known.shape.body.clone());
            assert_eq!(store.whole_body(&handle), body);
        }
        for n in 0..SHAPES {
            let digest = shape(b"", n).digest;
            let there = shapes.values().find(|known| known.shape.digest == digest);
            let found = store.handle_for(&digest).map(|handle| handle.to_vec());
            assert_eq!(found, there.map(|known| known.shape.handle.clone()));
        }
        for oids in [vec![], vec![3], vec![0, 5], (0..OIDS).collect()] {
            let reads = |shape: &Shape| shape.oids.iter().any(|oid| oids.contains(oid));
            let of_them = shapes.values().map(|known| &known.shape).filter(|shape| reads(shape));
            let expected: Vec<_> = of_them.map(|shape| shape.handle.clone()).collect();
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
    options.clock = HostClock { now: NOW, per_second: 1 };
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

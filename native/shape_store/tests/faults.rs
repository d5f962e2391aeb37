//! Each operation of a workload on the disk fails in turn, in every way, once and
//! for a while; afterwards all that was acknowledged is there, in order, and
//! nothing is there twice.
//!
//! `cargo test` runs as many of the cases as fit into some seconds, `FAULTS=full`
//! all of them. Ends with `faults: points=… runs=… acknowledged=… lost=…`.

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
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use common::{
    Running, Shape, file_in, is_full, named, open, report, rng::Rng, shape, sql, unsynced,
};
use fault_vfs::{Count, Fault, FaultVfs, Kinds, Plan, Roles};
use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};
use shape_store::{Event, Operation, Options, Request, Snapshot, Synchronous};

/// What fits into a short run, for each of the two modes, which run together.
const SHORT: Duration = Duration::from_secs(15);

/// How many failures a fault that lasts may cause before it is healed.
const PATIENT_FOR: u32 = 3;

type Named = (Operation, Vec<u8>);

/// One workload on one file, and what it was acknowledged.
struct Work {
    vfs: Arc<FaultVfs>,
    options: Options,
    failures: Arc<AtomicU32>,
    /// Keeps the log's index alive, so that no reopening recovers the log, until
    /// the second failure: a commit that failed may turn up only then.
    beside: Arc<Mutex<Option<Connection>>>,
    shapes: BTreeMap<Vec<u8>, (Shape, Snapshot)>,
    issued: Vec<Named>,
    committed: Vec<Named>,
}

impl Work {
    fn new(vfs: &Arc<FaultVfs>, folder: &Path, exclusive: bool) -> Self {
        let options = Options {
            exclusive,
            synchronous: Synchronous::Full,
            manual_flush: true,
            cache_bytes: 0,
            vfs: Some(vfs.name().into()),
            ..file_in(folder)
        };
        Self {
            vfs: Arc::clone(vfs),
            options,
            failures: Arc::default(),
            beside: Arc::default(),
            shapes: BTreeMap::new(),
            issued: Vec::new(),
            committed: Vec::new(),
        }
    }

    fn run(&mut self) {
        let store = self.open();
        (0..8).for_each(|n| self.add(&store, shape(n)));
        store.flush();
        (0..4).for_each(|n| self.mark(&store, n));
        (2..6).for_each(|n| self.remove(&store, n));
        // Added and removed in one batch, and taken again as another shape.
        self.add(&store, shape(20));
        self.remove(&store, 20);
        self.add(&store, Shape { handle: shape(3).handle, ..shape(30) });
        store.flush();
        self.close(store);

        let store = self.open();
        // Larger than a page, so that some pages are the body's alone.
        self.add(&store, Shape { body: vec![7; 50_000], ..shape(40) });
        (50..53).for_each(|n| self.add(&store, shape(n)));
        store.flush();
        store.reset().unwrap();
        self.shapes.clear();
        (0..4).for_each(|n| self.add(&store, named(&shape(n).handle, 60 + n)));
        self.mark(&store, 1);
        self.close(store);
    }

    /// Opens, again if need be: a fault during opening is an error, nothing more.
    fn open(&self) -> Running {
        for _ in 0..=PATIENT_FOR {
            let (vfs, failures) = (Arc::clone(&self.vfs), Arc::clone(&self.failures));
            let beside = Arc::clone(&self.beside);
            let opened = common::try_open_hearing(self.options.clone(), move |event| {
                let failed = matches!(event, Event::CommitFailed { .. } | Event::OpenFailed { .. });
                match u32::from(failed) + failures.fetch_add(failed.into(), Relaxed) {
                    count if failed && count >= PATIENT_FOR => vfs.heal(),
                    count if failed && count == 2 => drop(beside.lock().take()),
                    _ => {}
                }
            });
            if let Ok(store) = opened {
                assert_eq!(store.opening.quarantined, None, "a fault is not corruption");
                assert_eq!(store.opening.shapes, self.shapes.len());
                // It may meet the fault itself; then the run goes without it.
                *self.beside.lock() = self.look_beside().ok();
                return store;
            }
        }
        panic!("it does not open though the disk is healed");
    }

    fn look_beside(&self) -> rusqlite::Result<Connection> {
        let vfs = self.vfs.name();
        let path = common::path_of(&self.options);
        let conn = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), vfs)?;
        conn.query_row("SELECT count(*) FROM shapes", [], |row| row.get::<_, i64>(0))?;
        Ok(conn)
    }

    fn close(&mut self, store: Running) {
        drop(self.beside.lock().take());
        store.store.close();
        let committed = &mut self.committed;
        store.event(|event| match event {
            Event::Committed { log, .. } => {
                committed.extend(log.into_iter().map(|(what, handle)| (what, handle.to_vec())));
                None
            }
            Event::Rebuilt { .. } | Event::SetAside { .. } => panic!("{event:?} of a fault"),
            Event::Closed { .. } => Some(()),
            _ => None,
        });
    }

    fn add(&mut self, store: &Running, shape: Shape) {
        store.store.add(shape.to_add(), LOGGED).unwrap();
        self.issued.push((Operation::Add, shape.handle.clone()));
        self.shapes.insert(shape.handle.clone(), (shape, Snapshot::None));
    }

    fn remove(&mut self, store: &Running, n: u32) {
        let handle = shape(n).handle;
        store.store.remove(&handle, LOGGED).unwrap();
        self.shapes.remove(&handle);
        self.issued.push((Operation::Remove, handle));
    }

    fn mark(&mut self, store: &Running, n: u32) {
        let handle = shape(n).handle;
        store.store.mark(&handle, Snapshot::Complete, LOGGED).unwrap();
        self.shapes.get_mut(&handle).unwrap().1 = Snapshot::Complete;
        self.issued.push((Operation::SnapshotComplete, handle));
    }

    /// How many of the acknowledged changes are not as they should be.
    fn lost(&self) -> usize {
        let store = open(unsynced(self.options.clone()));
        assert_eq!(store.opening.quarantined, None);
        let right = self.shapes.values().filter(|(shape, snapshot)| {
            let entry = store.entry(&shape.handle);
            entry.is_some_and(|entry| shape.is(&entry) && entry.snapshot == *snapshot)
                && store.whole_body(&shape.handle).as_ref() == Some(&shape.body)
        });
        let missing = self.shapes.len() - right.count();
        let extra = store.count().abs_diff(self.shapes.len());
        store.close();
        missing + extra
    }

    /// The log of commits is the log of calls, less what cancelled itself out.
    fn assert_in_order(&self, context: &str) {
        let told =
            || self.committed.iter().map(|(what, h)| format!("{what:?} {}", h.escape_ascii()));
        let mut issued = self.issued.iter();
        for one in &self.committed {
            assert!(
                issued.any(|other| other == one),
                "{context}: {one:?} is late or twice in {:?}",
                told().collect::<Vec<_>>()
            );
        }
        assert!(self.committed.len() + 10 >= self.issued.len(), "{context}: commits not told");
    }
}

const LOGGED: Request<'_> = Request { ticket: None, log: true };

/// How many operations of these kinds the workload has without a fault.
fn points(vfs: &Arc<FaultVfs>, exclusive: bool, kinds: Kinds) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    let before = vfs.operations().of(kinds);
    let mut work = Work::new(vfs, folder.path(), exclusive);
    work.run();
    work.assert_in_order("no fault");
    assert_eq!(work.lost(), 0);
    vfs.operations().of(kinds) - before
}

/// Every plan for every operation, mixed so that any part of them is a sample.
fn plans(vfs: &Arc<FaultVfs>, exclusive: bool) -> (u64, Vec<Plan>) {
    let changing = points(vfs, exclusive, Kinds::CHANGING);
    let locks = points(vfs, exclusive, Kinds::LOCK);
    let mut plans = Vec::new();
    for fault in Fault::ALL {
        let last = if fault == Fault::Busy { locks } else { changing };
        for from in 1..=last {
            let once = Plan::nth(from, fault);
            // SQLite itself waits 10 s for locks of `-shm` that stay busy.
            let long = if fault == Fault::Busy { once.roles(Roles::MAIN) } else { once };
            plans.extend([once, once.times(3), long.forever()]);
        }
    }
    let mut chance = Rng(4);
    for i in (1..plans.len()).rev() {
        plans.swap(i, chance.below(i + 1));
    }
    (changing + locks, plans)
}

/// What came of the runs.
#[derive(Default)]
struct Sum {
    points: u64,
    runs: usize,
    acknowledged: usize,
    lost: usize,
}

fn matrix(exclusive: bool) -> Sum {
    let vfs = FaultVfs::unique();
    vfs.skip_syncs(true);
    let (points, plans) = plans(&vfs, exclusive);
    let mut sum = Sum { points, ..Sum::default() };
    let started = Instant::now();
    for plan in &plans {
        if !is_full("FAULTS") && started.elapsed() > SHORT {
            break;
        }
        let folder = tempfile::tempdir().unwrap();
        let context = format!("exclusive={exclusive} {plan:?}");
        let mut work = Work::new(&vfs, folder.path(), exclusive);
        vfs.fail(*plan);
        work.run();
        vfs.heal();
        assert!(plan.count != Count::Once || work.failures.load(Relaxed) <= 2, "{context}");
        let lost = work.lost();
        if lost > 0 {
            println!("{lost} lost: {context}");
        }
        work.assert_in_order(&context);
        sql::assert_sound(common::path_of(&work.options), &context);
        sum.lost += lost;
        sum.runs += 1;
        sum.acknowledged += work.issued.len();
    }
    sum
}

#[test]
fn each_operation_fails_in_every_way_and_nothing_is_lost() {
    let [log, exclusive] = thread::scope(|scope| {
        let modes = [false, true].map(|exclusive| scope.spawn(move || matrix(exclusive)));
        modes.map(|mode| mode.join().unwrap())
    });
    let lost = log.lost + exclusive.lost;
    report(&format!(
        "faults: points={} runs={} acknowledged={} lost={lost}",
        log.points + exclusive.points,
        log.runs + exclusive.runs,
        log.acknowledged + exclusive.acknowledged,
    ));
    assert_eq!(lost, 0);
}

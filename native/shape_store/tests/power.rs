//! Power is lost at every turn of a workload, and the store is opened on what the
//! disk then holds: all that was synced, and of the rest nothing, everything or a
//! torn part.
//!
//! With `synchronous=FULL` no change is missing whose wait had ended as durable.
//! At every level what opens is the workload up to some moment, and what cannot
//! be opened is moved aside. `POWER=full` takes every point and more seeds. Ends
//! with `power: images=… lost_full=… unopenable=…`.

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
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    thread,
};

use common::{PATIENCE, Running, Shape, file_in, is_full, open, report, shape, try_open, unsynced};
use crossbeam_channel::unbounded;
use fault_vfs::{Count, Fault, FaultVfs, Images, Kinds, Plan, Point, Roles, Unsynced};
use shape_store::{Options, Outcome, Request, Snapshot, Synchronous, Waiting};

type Shapes = BTreeMap<Vec<u8>, (Shape, Snapshot)>;

/// A recording: the truth after each change, and how many changes were durable
/// from which point on.
struct Recorded {
    options: Options,
    images: Images,
    truths: Vec<Shapes>,
    durable: Vec<(Point, usize)>,
}

struct Recorder {
    vfs: Arc<FaultVfs>,
    truths: Vec<Shapes>,
    durable: Vec<(Point, usize)>,
}

impl Recorder {
    fn change(&mut self, apply: impl FnOnce(&mut Shapes)) {
        let mut truth = self.truths.last().unwrap().clone();
        apply(&mut truth);
        self.truths.push(truth);
    }

    fn add(&mut self, store: &Running, shape: Shape) {
        store.add(&shape).unwrap();
        self.change(|truth| drop(truth.insert(shape.handle.clone(), (shape, Snapshot::None))));
    }

    fn remove(&mut self, store: &Running, n: u32) {
        store.remove(&shape(n).handle).unwrap();
        self.change(|truth| drop(truth.remove(&shape(n).handle)));
    }

    fn mark(&mut self, store: &Running, n: u32) {
        store.mark(&shape(n).handle, Snapshot::Complete, Request::default()).unwrap();
        self.change(|truth| truth.get_mut(&shape(n).handle).unwrap().1 = Snapshot::Complete);
    }

    /// Flushes, and notes the point at which the writer said that it was done.
    fn flush(&mut self, store: &Running) {
        let (sender, told) = unbounded();
        let vfs = Arc::clone(&self.vfs);
        let last = store.last();
        let notify = Box::new(move |outcome| sender.send((outcome, vfs.point())).unwrap());
        let waiting = store.wait(last, notify);
        assert!(matches!(waiting, Waiting::Until(_)), "flushes are manual here");
        store.flush_to(last);
        let (outcome, point) = told.recv_timeout(PATIENCE).unwrap();
        assert_eq!(outcome, Outcome::Durable);
        self.durable.push((point, self.truths.len() - 1));
    }
}

fn record(exclusive: bool, synchronous: Synchronous) -> Recorded {
    let vfs = FaultVfs::unique();
    vfs.skip_syncs(true);
    vfs.record();
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        exclusive,
        synchronous,
        manual_flush: true,
        vfs: Some(vfs.name().into()),
        ..file_in(&folder)
    };
    let mut recorder =
        Recorder { vfs: Arc::clone(&vfs), truths: vec![Shapes::new()], durable: Vec::new() };
    for life in 0..3 {
        let store = open(options.clone());
        assert_eq!(store.count(), recorder.truths.last().unwrap().len());
        for batch in 0..4 {
            let first = life * 100 + batch * 20;
            (first..first + 8).for_each(|n| recorder.add(&store, shape(n)));
            recorder.mark(&store, first);
            recorder.flush(&store);
            (first + 1..first + 4).for_each(|n| recorder.remove(&store, n));
            recorder.mark(&store, first + 5);
            recorder.add(&store, Shape { body: vec![9; 40_000], ..shape(first + 9) });
            recorder.flush(&store);
        }
        store.close();
        recorder.durable.push((vfs.point(), recorder.truths.len() - 1));
    }
    Recorded {
        options: Options { vfs: None, ..options },
        images: vfs.images(),
        truths: recorder.truths,
        durable: recorder.durable,
    }
}

/// What came of the images of one recording.
#[derive(Default, Debug)]
struct Sum {
    images: usize,
    quarantined: usize,
    lost: usize,
    unopenable: usize,
    /// Opened with something that was never true.
    wrong: usize,
}

impl Recorded {
    fn lose_power(&self) -> Sum {
        let (full, seeds) = (is_full("POWER"), if is_full("POWER") { 8 } else { 2 });
        let points = if full { self.images.points().collect() } else { self.images.edge_points() };
        // Without syncs there are few edges: writes then.
        let points: Vec<_> = match points.len() < 60 {
            true => self.images.points().step_by(7).collect(),
            false => points,
        };
        let torn = (0..seeds).map(Unsynced::Torn);
        let mut sum = Sum::default();
        let folder = tempfile::tempdir().unwrap();
        let exclusive = self.options.exclusive;
        let options = unsynced(Options { exclusive, ..file_in(&folder) });
        for unsynced in [Unsynced::Dropped, Unsynced::Kept].into_iter().chain(torn) {
            for point in &points {
                self.images.write_image(&folder, *point, unsynced).unwrap();
                let problem = self.judge(&options, *point, &mut sum);
                if let Some(problem) = problem {
                    let after = self.images.describe(*point);
                    println!("{problem}: {unsynced:?} {point:?}, after {after}");
                }
            }
        }
        sum
    }

    fn judge(&self, options: &Options, point: Point, sum: &mut Sum) -> Option<String> {
        sum.images += 1;
        let store = match try_open(options.clone()) {
            Ok(store) => store,
            Err(reason) => {
                sum.unopenable += 1;
                return Some(reason);
            }
        };
        if store.opening.quarantined.is_some() {
            sum.quarantined += 1;
            store.close();
            return None;
        }
        let durable = self.durable.iter().rev().find(|(from, _)| *from <= point);
        let durable = durable.map_or(0, |(_, changes)| *changes);
        // Without syncs a body may be damaged, which SQLite's check sees nothing of: that
        // shape is not served.
        let off = self.options.synchronous == Synchronous::Off;
        let found = contents(&store, off);
        store.close();
        let found = match found {
            Ok(found) => found,
            Err(problem) => {
                sum.wrong += 1;
                return Some(problem);
            }
        };
        if self.options.synchronous == Synchronous::Off {
            // No promise but this: each shape is as it once was.
            let once = |(handle, (shape, snapshot)): (&Vec<u8>, &(Shape, Snapshot))| {
                let then = self.truths.iter().filter_map(|truth| truth.get(handle));
                { then }.any(|(other, at)| shape == other && snapshot == at)
            };
            sum.wrong += usize::from(!found.iter().all(once));
            return None;
        }
        // Batches are whole: what is there is the truth after some change.
        match self.truths.iter().rposition(|truth| *truth == found) {
            None => {
                sum.wrong += 1;
                Some("never true".into())
            }
            Some(changes) if changes < durable => {
                sum.lost += 1;
                None
            }
            Some(_) => None,
        }
    }
}

/// All a store holds, or which of it is not to be had.
fn contents(store: &Running, may_be_lost: bool) -> Result<Shapes, String> {
    let handles: BTreeSet<_> =
        store.places().into_iter().map(|place| place.handle.to_vec()).collect();
    assert_eq!(handles.len(), store.count());
    let shapes = handles.into_iter().filter_map(|handle| {
        let entry = store.entry(&handle).unwrap();
        let body = match store.try_body(&handle) {
            Ok(body) => body,
            Err(_) if may_be_lost && store.entry(&handle).is_none() => return None,
            Err(problem) => return Some(Err(problem)),
        };
        let (oids, digest) = (entry.oids.to_vec(), entry.digest);
        let shape = Shape { handle: handle.clone(), digest, hash: entry.hash, oids, body };
        Some(Ok((handle, (shape, entry.snapshot))))
    });
    shapes.collect()
}

fn level(synchronous: Synchronous) -> [Sum; 2] {
    thread::scope(|scope| {
        let modes = [false, true].map(|exclusive| {
            scope.spawn(move || {
                let sum = record(exclusive, synchronous).lose_power();
                println!("{synchronous:?} exclusive={exclusive}: {sum:?}");
                sum
            })
        });
        modes.map(|mode| mode.join().unwrap())
    })
}

#[test]
fn what_was_durable_survives_a_loss_of_power() {
    let full = level(Synchronous::Full);
    let others = [level(Synchronous::Normal), level(Synchronous::Off)];
    let all = || full.iter().chain(others.iter().flatten());
    let lost: usize = full.iter().map(|sum| sum.lost + sum.quarantined).sum();
    let unopenable: usize = all().map(|sum| sum.unopenable).sum();
    report(&format!(
        "power: images={} lost_full={lost} unopenable={unopenable}",
        all().map(|sum| sum.images).sum::<usize>()
    ));
    assert_eq!((lost, unopenable), (0, 0));
    let [normal, off] = others;
    // NORMAL loses the latest and breaks nothing; without a log SQLite itself leaves
    // a small chance that it does, and then the file is moved aside.
    assert!(normal.iter().all(|sum| sum.wrong == 0), "{normal:?}");
    assert_eq!(normal[0].quarantined, 0, "{normal:?}");
    assert!(full.iter().all(|sum| sum.wrong == 0), "{full:?}");
    // OFF may lose anything, but makes nothing up.
    assert!(off.iter().all(|sum| sum.wrong == 0), "{off:?}");
}

/// A commit whose sync fails is found in the log by the next try.
#[test]
fn a_batch_whose_sync_failed_is_on_the_disk_once_it_is_durable() {
    for exclusive in [false, true] {
        let vfs = FaultVfs::unique();
        vfs.skip_syncs(true);
        vfs.record();
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            exclusive,
            synchronous: Synchronous::Full,
            vfs: Some(vfs.name().into()),
            ..file_in(&folder)
        };
        let store = open(options);
        store.add(&shape(1)).unwrap();
        store.flush();
        let kinds = Kinds::SYNC;
        let (roles, fault) = (Roles::ALL, Fault::IoErr);
        vfs.fail(Plan { from: 1, count: Count::Once, kinds, roles, fault });
        let seq = store.add(&shape(2)).unwrap();
        store.flush_to(seq);
        assert_eq!(store.outcome(seq), Outcome::Durable);
        assert_eq!(vfs.injected(), 1);
        let images = vfs.images();
        let after = tempfile::tempdir().unwrap();
        images.write_image(&after, images.end(), Unsynced::Dropped).unwrap();
        let found = open(unsynced(Options { exclusive, ..file_in(&after) }));
        let contents = contents(&found, false).unwrap();
        let there: Vec<_> = contents.into_values().map(|(shape, _)| shape).collect();
        assert_eq!(there, [shape(1), shape(2)], "exclusive: {exclusive}");
    }
}

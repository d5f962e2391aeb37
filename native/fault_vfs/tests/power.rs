//! Power is lost at every point of a workload.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod common;

use common::{Mode, check, commit, open};
use fault_vfs::{FaultVfs, Images, Kinds, Point, Unsynced};
use std::{collections::BTreeSet, fs, sync::Arc};

const BATCHES: i64 = 12;
const SEEDS: u64 = 6;

/// A recording, and the point from which each batch is acknowledged.
struct Workload {
    images: Images,
    acknowledged: Vec<Point>,
}

fn workload(mode: Mode) -> Workload {
    let vfs: Arc<FaultVfs> = FaultVfs::unique();
    vfs.skip_syncs(true);
    vfs.record();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut acknowledged = Vec::new();
    let mut db = open(&vfs, &path, mode).unwrap();
    acknowledged.push(vfs.point());
    for batch in 1..=BATCHES {
        if batch % 5 == 0 {
            drop(db);
            db = open(&vfs, &path, mode).unwrap();
        }
        commit(&mut db, batch).unwrap();
        acknowledged.push(vfs.point());
    }
    drop(db);
    let images = vfs.images();
    let kept = images.image(images.end(), Unsynced::Kept);
    assert_eq!(kept.len(), 1, "the log or the journal is gone at the end");
    assert_eq!(kept[&path], fs::read(&path).unwrap(), "the live image is the file itself");
    Workload { images, acknowledged }
}

/// What came of all images.
#[derive(Debug, Default)]
struct Outcome {
    images: usize,
    /// Not opened, or found corrupt or mixed up.
    broken: usize,
    /// Fewer batches than acknowledged; the most that one image lacked.
    lost: usize,
    most: i64,
    first: Option<String>,
}

fn lose_power(mode: Mode) -> Outcome {
    let Workload { images, acknowledged } = workload(mode);
    let mut outcome = Outcome::default();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let torn = (0..SEEDS).map(Unsynced::Torn);
    for unsynced in [Unsynced::Dropped, Unsynced::Kept].into_iter().chain(torn) {
        for point in images.points() {
            let safe = acknowledged.partition_point(|&from| from <= point) as i64;
            images.write_image(&dir, point, unsynced).unwrap();
            outcome.images += 1;
            // `None`, no tables yet, comes before batch 0, which makes them.
            let found = check(&path).map(|last| last.map_or(0, |last| last + 1));
            let failed = match found {
                Ok(found) if found >= safe => continue,
                Ok(found) => {
                    outcome.lost += 1;
                    outcome.most = outcome.most.max(safe - found);
                    format!("{found} of {safe} batches")
                }
                Err(error) => {
                    outcome.broken += 1;
                    error
                }
            };
            let after = images.describe(point);
            outcome.first.get_or_insert(format!("{failed}: {unsynced:?} {point:?} after {after}"));
        }
    }
    println!("power: {mode:?} {outcome:?}");
    outcome
}

#[test]
fn wal_full_loses_nothing() {
    let outcome = lose_power(Mode { journal: "wal", synchronous: "full" });
    assert_eq!((outcome.broken, outcome.lost), (0, 0), "{outcome:?}");
}

#[test]
fn wal_normal_loses_the_latest_but_breaks_nothing() {
    let outcome = lose_power(Mode { journal: "wal", synchronous: "normal" });
    assert_eq!(outcome.broken, 0, "{outcome:?}");
    assert!(outcome.lost > 0, "the model drops unsynced writes: {outcome:?}");
}

#[test]
fn delete_extra_loses_nothing() {
    let outcome = lose_power(Mode { journal: "delete", synchronous: "extra" });
    assert_eq!((outcome.broken, outcome.lost), (0, 0), "{outcome:?}");
}

/// The journal's deletion is the commit, and only `extra` syncs the directory after it.
#[test]
fn delete_full_can_lose_the_last_commit_but_breaks_nothing() {
    let outcome = lose_power(Mode { journal: "delete", synchronous: "full" });
    assert_eq!(outcome.broken, 0, "{outcome:?}");
    assert_eq!(outcome.most, 1, "{outcome:?}");
}

/// Without syncs anything can be lost; what is left opens or is found broken.
#[test]
fn off_loses_and_can_break() {
    for journal in ["wal", "delete"] {
        let outcome = lose_power(Mode { journal, synchronous: "off" });
        assert!(outcome.lost > 0 && outcome.broken > 0, "{outcome:?}");
    }
}

#[test]
fn images_are_the_same_for_the_same_seed_and_differ_between_seeds() {
    let Workload { images, .. } = workload(Mode { journal: "wal", synchronous: "normal" });
    let point = *images.sync_points().last().unwrap();
    let before = images.points().nth(point.events() - 1).unwrap();
    let image = |unsynced| images.image(before, unsynced);
    assert_eq!(image(Unsynced::Torn(3)), image(Unsynced::Torn(3)));
    let different: BTreeSet<_> =
        (0..20).map(|seed| image(Unsynced::Torn(seed)).into_values().collect::<Vec<_>>()).collect();
    assert!(different.len() > 5, "{}", different.len());
    assert_ne!(image(Unsynced::Dropped), image(Unsynced::Kept));
}

#[test]
fn a_file_from_before_the_recording_is_durable() {
    let vfs = FaultVfs::unique();
    let mode = Mode { journal: "wal", synchronous: "off" };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let mut db = open(&vfs, &path, mode).unwrap();
    commit(&mut db, 1).unwrap();
    let early = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| vfs.record()));
    assert!(early.is_err(), "a file is open");
    drop(db);
    vfs.record();
    let mut db = open(&vfs, &path, mode).unwrap();
    commit(&mut db, 2).unwrap();
    let images = vfs.images();

    let out = tempfile::tempdir().unwrap();
    let copy = out.path().join("a.db");
    for (unsynced, batches) in [(Unsynced::Dropped, 1), (Unsynced::Kept, 2)] {
        images.write_image(&out, images.end(), unsynced).unwrap();
        assert_eq!(check(&copy), Ok(Some(batches)));
    }
    images.write_image(&out, images.points().next().unwrap(), Unsynced::Kept).unwrap();
    assert_eq!(check(&copy), Ok(Some(1)));
}

#[test]
fn a_file_replaced_behind_the_recording_is_noticed() {
    let vfs = FaultVfs::unique();
    vfs.record();
    let mode = Mode { journal: "delete", synchronous: "off" };
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    let other = dir.path().join("other.db");
    commit(&mut open(&vfs, &other, mode).unwrap(), 1).unwrap();
    commit(&mut open(&vfs, &path, mode).unwrap(), 1).unwrap();
    fs::rename(&path, dir.path().join("aside.db")).unwrap();
    fs::rename(&other, &path).unwrap();
    let before = vfs.point();
    commit(&mut open(&vfs, &path, mode).unwrap(), 2).unwrap();
    let images = vfs.images();
    assert!(!images.image(before, Unsynced::Dropped).contains_key(&path));
    let kept = images.image(images.end(), Unsynced::Kept);
    assert_eq!(kept[&path], fs::read(&path).unwrap());
}

#[test]
fn a_failed_sync_makes_nothing_durable() {
    use fault_vfs::{Fault, Plan};
    let vfs = FaultVfs::unique();
    vfs.record();
    let mode = Mode { journal: "wal", synchronous: "full" };
    let dir = tempfile::tempdir().unwrap();
    let mut db = open(&vfs, &dir.path().join("a.db"), mode).unwrap();
    let durable = |vfs: &FaultVfs| vfs.images().image(vfs.point(), Unsynced::Dropped);
    let before = durable(&vfs);
    vfs.fail(Plan::nth(1, Fault::IoErr).kinds(Kinds::SYNC));
    assert!(commit(&mut db, 1).is_err());
    assert!(durable(&vfs) == before);
    commit(&mut db, 1).unwrap();
    assert!(durable(&vfs) != before);
}

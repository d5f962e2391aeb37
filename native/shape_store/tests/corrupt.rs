//! A file that was damaged is opened or moved aside: no crash, no hang, and no
//! answer that differs from the truth where SQLite's own check would have told.
//!
//! The check is run on files that were not closed. What it would have told of one
//! that was is counted apart, as `unchecked`.
//!
//! `CORRUPT=full` damages 1,000 files. Ends with
//! `corrupt: files=… opened=… quarantined=… crashed=… wrong=… unchecked=…`.

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
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use common::{Running, Shape, file_in, is_full, open, report, rng::Rng, shape, try_open, unsynced};
use crossbeam_channel::unbounded;
use rusqlite::Connection;
use shape_store::Options;

const SHAPES: u32 = 400;
const FLIPS: usize = 8;

/// Long enough for a debug build on a busy machine.
const HANG: Duration = Duration::from_secs(60);

/// The files of a database by the ends of their names.
type Files = BTreeMap<&'static str, Vec<u8>>;

fn files(path: &Path) -> Files {
    let ends = ["", "-wal", "-journal"].into_iter();
    let read = |end: &'static str| Some((end, fs::read(with_end(path, end)).ok()?));
    ends.filter_map(read).collect()
}

fn with_end(path: &Path, end: &str) -> std::path::PathBuf {
    format!("{}{end}", path.display()).into()
}

/// A file that was closed, and what a killed process leaves of one that was not.
fn originals(exclusive: bool) -> [Files; 2] {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(Options { exclusive, ..file_in(&folder) });
    let store = open(options.clone());
    (0..SHAPES / 2).for_each(|n| assert!(store.add(&truth(n)).is_ok()));
    store.flush();
    let path = common::path_of(&options);
    store.close();
    let store = open(options.clone());
    (SHAPES / 2..SHAPES).for_each(|n| assert!(store.add(&truth(n)).is_ok()));
    store.flush();
    let unclean = files(path);
    store.close();
    [files(path), unclean]
}

fn truth(n: u32) -> Shape {
    Shape { body: common::body(n).repeat(if n.is_multiple_of(50) { 90 } else { 3 }), ..shape(n) }
}

/// Flips bytes of one of the files, or cuts it off.
fn damage(files: &Files, chance: &mut Rng) -> (Files, String) {
    let mut damaged = files.clone();
    let which = *files.keys().nth(chance.below(files.len())).unwrap();
    let content = damaged.get_mut(which).unwrap();
    let before = content.len();
    let what = if before == 0 || chance.below(4) == 0 {
        content.truncate(chance.below(before + 1));
        format!("cut to {} of {before}", content.len())
    } else {
        // Half of the time where it hurts most: in the first page.
        let reach = if chance.below(2) == 0 { before.min(16_384) } else { before };
        let places: Vec<_> = (0..1 + chance.below(FLIPS)).map(|_| chance.below(reach)).collect();
        for place in &places {
            content[*place] ^= 1 << chance.below(8);
        }
        format!("flipped {places:?}")
    };
    (damaged, format!("{which:?} {what}"))
}

#[derive(PartialEq, Debug)]
enum Opened {
    Yes,
    Quarantined,
    /// It did not open, for this reason, or it panicked or hung.
    Crashed(String),
    /// It answered what is not true of a file that SQLite's check finds bad.
    Wrong(String),
    /// The same of a file that was closed, so that no check was due.
    Unchecked(String),
}

/// Opens what is in the folder, and asks for everything.
fn look(options: &Options, suspicious: bool, closed: bool) -> Opened {
    let store = match try_open(options.clone()) {
        Ok(store) => store,
        Err(reason) => return Opened::Crashed(reason),
    };
    usable(&store);
    let places = store.places();
    let problems: Vec<_> =
        places.iter().filter_map(|place| problem(&store, &place.handle)).collect();
    let quarantined = store.opening.quarantined.is_some();
    store.close();
    match problems.first() {
        _ if quarantined => Opened::Quarantined,
        Some(problem) if suspicious && closed => Opened::Unchecked(problem.clone()),
        Some(problem) if suspicious => Opened::Wrong(problem.clone()),
        _ => Opened::Yes,
    }
}

/// What is wrong with the answers about a handle. A flipped byte inside of a value
/// is not: no check of SQLite sees it.
fn problem(store: &Running, handle: &[u8]) -> Option<String> {
    let entry = store.entry(handle)?;
    let exact = TRUTHS.iter().find(|truth| truth.handle == handle);
    let Some(truth) = exact else {
        let flipped = TRUTHS.iter().any(|truth| near(&truth.handle, handle));
        return (!flipped).then(|| format!("it has {:?}", handle.escape_ascii().to_string()));
    };
    // An error is not an answer; what is gone with a rebuild is told.
    let body = store.try_body(handle).map_or(true, |body| near(&body, &truth.body));
    let same = near(&entry.digest.0, &truth.digest.0) && entry.oids.len() == truth.oids.len();
    (!same || !body).then(|| format!("{} is another: entry {same} body {body}", truth.hash))
}

/// Equal but for as many bytes as are flipped in a file.
fn near(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).filter(|(a, b)| a != b).count() <= FLIPS
}

/// What may be there: the shapes of the file, and one that is added to it.
static TRUTHS: LazyLock<Vec<Shape>> =
    LazyLock::new(|| (0..SHAPES).map(truth).chain([added()]).collect());

fn added() -> Shape {
    shape(1_000_000)
}

/// A store takes changes and commits them, whatever it was opened on.
fn usable(store: &Running) {
    let new = added();
    let seq = store.add(&new).unwrap();
    let outcome = store.outcome(seq);
    assert_eq!(store.whole_body(&new.handle), Some(new.body), "{outcome:?}");
}

/// Whether SQLite finds something wrong with a copy of the files.
fn is_suspicious(files: &Files) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.sqlite");
    files.iter().for_each(|(end, content)| fs::write(with_end(&path, end), content).unwrap());
    let check = Connection::open(&path)
        .and_then(|db| db.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0)));
    !matches!(check.as_deref(), Ok("ok"))
}

#[test]
fn a_damaged_file_is_opened_or_moved_aside() {
    let count = if is_full("CORRUPT") { 1_000 } else { 160 };
    let (sender, results) = unbounded();
    let stop = AtomicBool::new(false);
    let originals: Vec<_> = [false, true]
        .into_iter()
        .flat_map(|exclusive| originals(exclusive).map(|files| (exclusive, files)))
        .collect();
    let mut sum = [0; 5];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut chance = Rng(1);
            for n in 0..count {
                let (exclusive, files) = &originals[n % originals.len()];
                let (damaged, what) = damage(files, &mut chance);
                let folder = tempfile::tempdir().unwrap();
                let options = unsynced(Options { exclusive: *exclusive, ..file_in(&folder) });
                let path = common::path_of(&options);
                for (end, content) in &damaged {
                    fs::write(with_end(path, end), content).unwrap();
                }
                let what = format!("file {n}, exclusive={exclusive}: {what}");
                let suspicious = is_suspicious(&damaged);
                let looked =
                    catch_unwind(AssertUnwindSafe(|| look(&options, suspicious, n % 2 == 0)));
                let opened = looked.unwrap_or_else(|_| Opened::Crashed("a panic".into()));
                sender.send((what, opened)).unwrap();
                if stop.load(Relaxed) {
                    break;
                }
            }
        });
        for _ in 0..count {
            let (what, opened) = results.recv_timeout(HANG).expect("opening ends");
            let kind = match &opened {
                Opened::Yes => 0,
                Opened::Quarantined => 1,
                Opened::Crashed(_) => 2,
                Opened::Wrong(_) => 3,
                Opened::Unchecked(_) => 4,
            };
            sum[kind] += 1;
            if kind > 1 {
                println!("{opened:?}: {what}");
            }
        }
        stop.store(true, Relaxed);
    });
    let [yes, aside, crashed, wrong, unchecked] = sum;
    report(&format!(
        "corrupt: files={count} opened={yes} quarantined={aside} crashed={crashed} wrong={wrong} unchecked={unchecked}"
    ));
    assert_eq!((crashed, wrong), (0, 0));
}

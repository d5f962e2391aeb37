//! Another instance on the same file: a standby that follows and takes over, and
//! a writer that is fenced.
//!
//! The other instance is played here by a copy of this test's own program, or by a second
//! store that is not kept off the file by the first.

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
    io::{BufRead as _, BufReader, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Running, file_in, instance::elsewhere, named, open, path_of, shape, sql, tell,
    unsynced,
};
use crossbeam_channel::unbounded;
use shape_store::{ChangeError, Event, HostClock, NotWritable, Options, Outcome, Snapshot, State};

/// How soon a standby must show what the writer committed; ten times what is
/// promised, for busy machines.
const FOLLOWS: Duration = Duration::from_secs(1);

const FOLDER: &str = "SHAPE_STORE_STANDBY_FOLDER";

/// The other process: a store that does what it is told on its input.
#[test]
fn the_other_process() {
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = open(file_in(folder));
    common::report("ready");
    for line in std::io::stdin().lines() {
        let line = line.unwrap();
        let (what, n) = line.split_once(' ').unwrap();
        let n: u32 = n.parse().unwrap();
        let done = match what {
            "add" => store.add(&shape(n)),
            "remove" => store.remove(&shape(n).handle),
            "complete" => store.complete(&shape(n).handle),
            "reset" => store.reset(),
            other => panic!("{other}"),
        };
        match done.map(|seq| store.outcome(seq)) {
            Ok(outcome) => common::report(&format!("done {outcome:?}")),
            Err(error) => common::report(&format!("done {error:?}")),
        }
    }
    store.close();
    common::report("closed");
}

struct Other {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Other {
    fn start(folder: &std::path::Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["the_other_process", "--exact", "--nocapture"])
            .env(FOLDER, folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut other = Self { input: child.stdin.take(), child, output };
        other.hear("ready");
        other
    }

    /// Reads up to a line with this in it; the harness prints others.
    fn hear(&mut self, wanted: &str) -> String {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the other process ended");
        }
        line
    }

    fn tell(&mut self, what: &str) -> String {
        writeln!(self.input.as_mut().unwrap(), "{what}").unwrap();
        self.hear("done")
    }

    fn close(&mut self) {
        drop(self.input.take());
        self.hear("closed");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        // Of a test that failed; otherwise it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn follows(what: &str, seen: impl Fn() -> bool) {
    let end = Instant::now() + FOLLOWS;
    while !seen() {
        assert!(Instant::now() < end, "the standby does not see {what}");
        std::thread::yield_now();
    }
}

fn promote(store: &Running) -> Result<(), String> {
    let (sender, told) = unbounded();
    store.promote(tell(sender));
    told.recv_timeout(PATIENCE).unwrap()
}

#[test]
fn a_standby_follows_and_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start(folder.path());
    (0..5).for_each(|n| drop(other.tell(&format!("add {n}"))));
    let store = open(Options { cache_bytes: 0, ..file_in(&folder) });
    assert!(store.opening.standby && store.state() == State::Standby);
    assert_eq!(store.count(), 5);
    let refused = store.add(&shape(9));
    assert!(matches!(refused, Err(ChangeError::NotWritable(NotWritable::Standby))));

    other.tell("add 7");
    follows("an add", || store.entry(&shape(7).handle).is_some());
    assert_eq!(store.whole_body(&shape(7).handle), Some(shape(7).body));
    other.tell("remove 2");
    follows("a removal", || store.handle_for(&shape(2).digest).is_none());
    other.tell("complete 3");
    let complete = |n| store.entry(&shape(n).handle).unwrap().snapshot as u8 == 2;
    follows("a snapshot", || complete(3));
    other.tell("reset 0");
    follows("a reset", || store.count() == 0);
    other.tell("add 20");
    other.tell("add 21");
    other.tell("complete 21");

    promote(&store).unwrap();
    assert_eq!((store.count(), store.state()), (2, State::Active));
    assert!(complete(21));
    let said = other.tell("add 22");
    assert!(said.contains("Fenced"), "{said}");
    let (removed, seq) = store.remove_incomplete().unwrap();
    assert_eq!(removed.iter().map(|h| h.to_vec()).collect::<Vec<_>>(), [shape(20).handle]);
    assert_eq!(store.outcome(seq), Outcome::Durable);
    store.add(&shape(30)).unwrap();
    other.close();
    store.close();
    let store = open(file_in(&folder));
    assert_eq!((store.count(), store.opening.standby), (2, false));
}

#[test]
fn a_standby_whose_writer_was_killed_has_all_it_committed() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start(folder.path());
    let store = open(file_in(&folder));
    (0..50).for_each(|n| drop(other.tell(&format!("add {n}"))));
    drop(other);
    promote(&store).unwrap();
    assert_eq!(store.count(), 50);
    store.close();
    assert_eq!(open(file_in(&folder)).count(), 50);
}

/// The other writer must not give its shape the row that ours had in mind for another.
#[test]
fn a_fenced_writer_follows_the_other_and_is_promoted_again_with_the_truth_of_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { manual_flush: true, cache_bytes: 0, ..unsynced(file_in(&folder)) };
    let store = open(options.clone());
    store.add(&shape(1)).unwrap();
    store.flush();
    store.add(&shape(2)).unwrap();
    let given_up = store.add(&shape(3)).unwrap();

    let other = open(elsewhere(options.clone()));
    assert_eq!((other.opening.standby, other.count()), (true, 1));
    promote(&other).unwrap();
    other.add(&shape(50)).unwrap();
    let taken = other.add(&named(&shape(3).handle, 60)).unwrap();
    other.flush_to(taken);
    assert_eq!(other.outcome(taken), Outcome::Durable);

    store.flush_to(given_up);
    assert_eq!(store.outcome(given_up), Outcome::Fenced);
    let (ops, list) = store.event(|event| match event {
        Event::Fenced { ops, list, .. } => Some((ops, list)),
        _ => None,
    });
    assert_eq!((ops, store.pending_ops(), store.state()), (2, 0, State::Fenced));
    let list = std::fs::read_to_string(list.expect("they are listed")).unwrap();
    let handles = [2, 3].map(|n| format!("add {n}-1736944891394221\n")).concat();
    assert_eq!(list, handles);
    let refused = store.add(&shape(4));
    assert!(matches!(refused, Err(ChangeError::NotWritable(NotWritable::Fenced))));

    // It follows the other one, with the other's definitions.
    follows("what the other one added", || store.entry(&shape(50).handle).is_some());
    let theirs = named(&shape(3).handle, 60);
    assert!(theirs.is(&store.entry(&theirs.handle).unwrap()));
    assert_eq!(store.whole_body(&theirs.handle), Some(theirs.body));
    assert_eq!(store.whole_body(&shape(50).handle), Some(shape(50).body));
    assert_eq!(store.entry(&shape(2).handle), None);

    promote(&store).unwrap();
    assert_eq!((store.count(), store.pending_entries().len()), (3, 0));
    store.add(&shape(2)).unwrap();
    store.flush();
    // For ever, whatever number is durable by now.
    assert_eq!(store.outcome(given_up), Outcome::Fenced);
    let rows: Vec<_> =
        [1, 2, 50].iter().map(|n| store.entry(&shape(*n).handle).unwrap().row).collect();
    assert!(rows.iter().collect::<std::collections::HashSet<_>>().len() == 3, "{rows:?}");
    other.add(&shape(70)).unwrap();
    other.flush_to(other.last());
    assert_eq!(other.outcome(other.last()), Outcome::Fenced);
    other.close();
    store.close();
    sql::assert_sound(path_of(&options), "after a promotion");
    assert_eq!(open(options).count(), 4);
}

#[test]
fn a_writer_that_is_promoted_stays_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(file_in(&folder));
    let epoch = store.statistics().epoch;
    promote(&store).unwrap();
    assert_eq!((store.statistics().epoch, store.state()), (epoch, State::Active));
    let path = path_of(&file_in(&folder)).to_path_buf();
    store.close();
    assert!(sql::stored(&path).is_empty());
}

/// Taking over makes no entry vanish for who looks for it, and forgets no time of reading.
/// What came with it counts as read when it came.
#[test]
fn a_standby_keeps_what_it_knows_when_it_takes_over() {
    let folder = tempfile::tempdir().unwrap();
    let mut other = Other::start(folder.path());
    (0..200).for_each(|n| drop(other.tell(&format!("add {n}"))));
    let clock = HostClock { now: 5_000, per_second: 1_000 };
    let store = open(Options { clock, ..file_in(&folder) });
    let read = |n| store.meta(&shape(n).handle).unwrap().read;
    // Loaded: read at that moment, though the other one never read it.
    assert!((5_000..65_000).contains(&read(0).unwrap()));
    (0..100).for_each(|n| assert!(store.set_last_read(&shape(n).handle, i64::from(n))));
    store.mark_in_memory(&shape(5).handle, Snapshot::Started).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for seed in 0..2 {
            let (store, done) = (&store.store, &done);
            scope.spawn(move || {
                let mut chance = common::rng::Rng(seed);
                while !done.load(Acquire) {
                    let n = chance.below(200) as u32;
                    let there = shape(n);
                    assert!(there.is(&store.meta(&there.handle).expect("it is there").entry));
                    assert!(store.lookup(&there.digest, None).is_some());
                    if n >= 100 {
                        assert!(store.touch(&there.handle, 70_000 + i64::from(n)));
                    }
                }
            });
        }
        (200..210).for_each(|n| drop(other.tell(&format!("add {n}"))));
        follows("the last add", || store.entry(&shape(209).handle).is_some());
        other.tell("complete 7");
        promote(&store).unwrap();
        (210..215).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
        done.store(true, Release);
    });
    assert!((0..100).all(|n| read(n) == Some(i64::from(n))));
    assert!((200..210).all(|n| (5_000..65_000).contains(&read(n).unwrap())));
    assert!((210..215).all(|n| read(n).is_none()));
    assert_eq!(store.entry(&shape(5).handle).unwrap().snapshot, Snapshot::Started);
    assert_eq!(store.entry(&shape(7).handle).unwrap().snapshot, Snapshot::Complete);
    other.close();
    store.close();
}

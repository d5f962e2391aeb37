//! Two instances on one file, at the moments at which one of them changes its role or the
//! file is replaced.

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
    os::unix::fs::FileExt as _,
    path::Path,
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Running, file_in, instance::elsewhere, open, path_of, shape, sql, tell, try_open,
    unsynced,
};
use crossbeam_channel::unbounded;
use shape_store::{ChangeError, Event, NotWritable, Options, Outcome, Request, Snapshot, State};

const SHAPES: u32 = 200;

fn until(what: &str, reached: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < end, "{what} does not come");
        std::thread::yield_now();
    }
}

fn promote(store: &Running) -> Result<(), String> {
    let (sender, told) = unbounded();
    store.promote(tell(sender));
    told.recv_timeout(PATIENCE).unwrap()
}

fn add(store: &Running, n: u32) -> Outcome {
    let seq = store.add(&shape(n)).unwrap();
    store.flush_to(seq);
    store.outcome(seq)
}

fn has(store: &Running, n: u32) -> bool {
    store.whole_body(&shape(n).handle) == Some(shape(n).body)
}

/// A writer with shapes, all durable, and a standby that follows it.
fn two(options: &Options) -> (Running, Running) {
    let writer = open(options.clone());
    (0..SHAPES).for_each(|n| assert!(writer.add(&shape(n)).is_ok()));
    writer.flush();
    let standby = open(elsewhere(options.clone()));
    assert!(standby.opening.standby);
    assert_eq!(standby.count(), SHAPES as usize);
    (writer, standby)
}

/// Overwrites pages of the file, but for its first two.
fn spoil(path: &Path) {
    let file = fs::File::options().write(true).open(path).unwrap();
    let pages = file.metadata().unwrap().len() / 16_384;
    for page in 2..pages {
        file.write_all_at(&[0xa5; 200], page * 16_384).unwrap();
    }
}

fn rebuilt(store: &Running) {
    store.event(|event| matches!(event, Event::Rebuilt { .. }).then_some(()));
}

#[test]
fn a_standby_that_is_promoted_just_after_the_file_was_replaced_writes_the_new_one() {
    for looked in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        // A standby that looks late finds out when it is promoted.
        let follow_interval = Duration::from_millis(if looked { 5 } else { 60_000 });
        let options = unsynced(Options { follow_interval, ..file_in(&folder) });
        let (writer, standby) = two(&options);
        fs::remove_file(path_of(&options)).unwrap();
        assert_eq!(add(&writer, 300), Outcome::Durable);
        rebuilt(&writer);
        if looked {
            until("the new file", || standby.entry(&shape(300).handle).is_some());
        }
        promote(&standby).unwrap();
        assert_eq!(add(&standby, 301), Outcome::Durable);
        assert_eq!(add(&writer, 302), Outcome::Fenced);
        assert_eq!((writer.state(), standby.state()), (State::Fenced, State::Active));
        assert!(has(&standby, 300));
        until("following", || writer.entry(&shape(301).handle).is_some());
        writer.close();
        standby.close();
        let store = open(options);
        assert_eq!(store.count(), SHAPES as usize + 2);
        assert!(has(&store, 300) && has(&store, 301));
    }
}

/// The one that was replaced may meet a bad page before anything tells it.
#[test]
fn who_was_replaced_does_not_lay_hands_on_the_new_writers_file() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(Options { cache_bytes: 0, ..file_in(&folder) });
    let (writer, standby) = two(&options);
    promote(&standby).unwrap();
    assert_eq!(add(&standby, 300), Outcome::Durable);
    let path = path_of(&options);
    sql::execute(path, "PRAGMA wal_checkpoint(TRUNCATE)");
    spoil(path);
    // It reads, doubts the file, and finds that it is another's.
    until("a doubt", || {
        (0..SHAPES).for_each(|n| drop(writer.try_body(&shape(n).handle)));
        writer.state() == State::Fenced
            || standby.statistics().rebuilds > 0 && add(&writer, 400) == Outcome::Fenced
    });
    assert_eq!(writer.statistics().rebuilds, 0);
    until("the new writer's replacement", || {
        (0..SHAPES).for_each(|n| drop(standby.try_body(&shape(n).handle)));
        standby.statistics().rebuilds == 1
    });
    assert_eq!(add(&standby, 301), Outcome::Durable);
    let there = standby.count();
    standby.close();
    writer.close();
    let store = open(options);
    assert_eq!(store.count(), there);
    assert!(has(&store, 301));
}

#[test]
fn a_standby_that_looks_makes_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(Options {
        follow_interval: Duration::from_millis(1),
        manual_flush: true,
        ..file_in(&folder)
    });
    let writer = open(options.clone());
    writer.add(&shape(1)).unwrap();
    writer.flush();
    let standby = open(elsewhere(options.clone()));
    let path = path_of(&options);
    fs::rename(path, folder.path().join("away")).unwrap();
    let before = standby.statistics().faults;
    until("a look that finds nothing", || standby.statistics().faults > before);
    assert!(!path.exists());
    assert!(standby.entry(&shape(1).handle).is_some(), "what was read is served");
    fs::rename(folder.path().join("away"), path).unwrap();
    writer.add(&shape(2)).unwrap();
    writer.flush();
    until("the file again", || standby.entry(&shape(2).handle).is_some());
}

#[test]
fn a_standbys_readers_go_over_to_the_new_file_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(Options {
        cache_bytes: 0,
        follow_interval: Duration::from_millis(1),
        ..file_in(&folder)
    });
    let (writer, standby) = two(&options);
    assert!(has(&standby, 0), "a reader of the file before is open");
    fs::remove_file(path_of(&options)).unwrap();
    for n in 300..320 {
        assert_eq!(add(&writer, n), Outcome::Durable);
        until("an add", || standby.entry(&shape(n).handle).is_some());
        assert!(has(&standby, n));
    }
    assert!((0..SHAPES).all(|n| has(&standby, n)));
}

/// What the disk has of the main file alone after a loss of power, with nothing synced but
/// what the store had synced.
#[test]
fn a_file_is_noted_as_in_use_in_every_role_that_writes_it() {
    let folder = tempfile::tempdir().unwrap();
    // Who follows looks once and then no more: a reader keeps a checkpoint from its end.
    let follow_interval = Duration::from_secs(3600);
    let options = Options { follow_interval, ..file_in(&folder) };
    let path = path_of(&options);
    let clean = || {
        let copy = tempfile::tempdir().unwrap();
        let to = copy.path().join("main.sqlite");
        fs::copy(path, &to).unwrap();
        let db = rusqlite::Connection::open(to).unwrap();
        let sql = "SELECT value FROM meta WHERE key = 'clean'";
        db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap()
    };
    let one = open(options.clone());
    assert_eq!(add(&one, 1), Outcome::Durable);
    let other = open(elsewhere(options.clone()));
    promote(&other).unwrap();
    assert_eq!(add(&other, 2), Outcome::Durable);
    assert_eq!(add(&one, 3), Outcome::Fenced);
    until("its look", || one.entry(&shape(2).handle).is_some());
    // Closed in order by the one, and taken over again by the other.
    other.close();
    assert_eq!(clean(), 1);
    promote(&one).unwrap();
    assert_eq!(add(&one, 4), Outcome::Durable);
    assert_eq!(clean(), 0);
}

#[test]
fn instances_of_two_modes_find_it_out_at_the_start() {
    for exclusive in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let stack = "first".to_string();
        let options = unsynced(Options { exclusive, stack, ..file_in(&folder) });
        let first = open(options.clone());
        assert_eq!(add(&first, 1), Outcome::Durable);
        let other = Options { exclusive: !exclusive, ..options.clone() };
        let reason = try_open(elsewhere(other)).err().expect("it does not open");
        let named = reason.contains("in exclusive mode") && reason.contains("write-ahead log");
        assert!(named && reason.contains("first"), "{reason}");
        // The first does not notice.
        assert_eq!(add(&first, 2), Outcome::Durable);
        assert_eq!(first.statistics().faults, 0);
        first.close();
        assert_eq!(open(options).count(), 2);
    }
}

#[test]
fn a_second_stack_of_the_process_is_told_at_once_who_has_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let _first = open(Options { stack: "first".into(), ..options.clone() });
    let lease_timeout = Duration::from_secs(3600);
    let second = Options { stack: "second".into(), lease_timeout, ..options };
    let reason = try_open(second).err().expect("it does not open");
    assert!(reason.contains("stack \"first\"") && reason.contains("shapes.sqlite"), "{reason}");
}

/// The writer's file is gone, and the standby is asked to take over before the writer
/// notices: it has all that it read.
#[test]
fn a_standby_takes_over_a_file_that_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(Options { cache_bytes: 0, ..file_in(&folder) });
    let (writer, standby) = two(&options);
    fs::remove_file(path_of(&options)).unwrap();
    promote(&standby).unwrap();
    rebuilt(&standby);
    assert_eq!(add(&standby, 300), Outcome::Durable);
    assert_eq!(add(&writer, 301), Outcome::Fenced);
    assert!((0..SHAPES).all(|n| has(&standby, n)));
    standby.close();
    writer.close();
    let store = open(options);
    assert_eq!(store.count(), SHAPES as usize + 1);
    assert!((0..SHAPES).all(|n| has(&store, n)));
}

#[test]
fn a_writer_that_is_idle_notices_that_it_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let (writer, standby) = two(&options);
    promote(&standby).unwrap();
    assert_eq!(add(&standby, 300), Outcome::Durable);
    until("its notice", || writer.state() == State::Fenced);
    until("following", || writer.entry(&shape(300).handle).is_some());
    assert!(has(&writer, 300));
    // And back.
    promote(&writer).unwrap();
    assert_eq!(add(&writer, 301), Outcome::Durable);
    // Who looks just now refuses the add; who does not gives it up.
    match standby.add(&shape(302)) {
        Ok(seq) => {
            standby.flush_to(seq);
            assert_eq!(standby.outcome(seq), Outcome::Fenced);
        }
        Err(ChangeError::NotWritable(NotWritable::Fenced)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// A change that is given up does not stay visible, and what an instance knows in memory
/// alone is its own.
#[test]
fn a_mark_that_was_given_up_is_undone_and_one_in_memory_alone_stays() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let (writer, standby) = two(&options);
    let handle = |n| shape(n).handle;
    writer.mark_in_memory(&handle(0), Snapshot::Started).unwrap();
    writer.pause(true);
    writer.mark(&handle(1), Snapshot::Started, Request::default()).unwrap();
    writer.mark_in_memory(&handle(2), Snapshot::Started).unwrap();
    let last = writer.mark(&handle(2), Snapshot::Complete, Request::default()).unwrap();
    promote(&standby).unwrap();
    assert_eq!(add(&standby, 300), Outcome::Durable);
    writer.pause(false);
    assert_eq!(writer.outcome(last), Outcome::Fenced);
    until("following", || writer.entry(&handle(300)).is_some());
    let snapshot = |n| writer.entry(&handle(n)).unwrap().snapshot;
    assert_eq!([0, 1, 2].map(snapshot), [Snapshot::Started, Snapshot::None, Snapshot::Started]);
    assert_eq!(writer.saved_snapshot(&handle(2)), Some(Snapshot::None));
}

/// Instances become the writer in turn, with changes of each in between, many of them given
/// up: no row is given twice, and all that was durable is there.
#[test]
fn two_instances_that_take_over_from_each_other_lose_nothing_durable() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(Options {
        follow_interval: Duration::from_millis(1),
        cache_bytes: 0,
        ..file_in(&folder)
    });
    let stores = [open(options.clone()), open(elsewhere(options.clone()))];
    let (mut durable, mut given_up) = (Vec::new(), Vec::new());
    for turn in 0..20 {
        let (writer, other) = (&stores[turn % 2], &stores[(turn + 1) % 2]);
        promote(writer).unwrap();
        for n in 0..10 {
            let n = turn as u32 * 100 + n;
            let seq = writer.add(&shape(n)).unwrap();
            assert_eq!(writer.outcome(seq), Outcome::Durable);
            durable.push(n);
        }
        // What the other one adds now, believing itself the writer, is given up.
        if let Ok(seq) = other.add(&shape(turn as u32 * 100 + 50)) {
            assert_eq!(other.outcome(seq), Outcome::Fenced);
            given_up.push((turn, seq));
        }
        assert!(durable.iter().all(|n| has(writer, *n)), "turn {turn}");
    }
    for (turn, seq) in given_up {
        assert_eq!(stores[(turn + 1) % 2].outcome(seq), Outcome::Fenced);
    }
    for store in stores {
        store.close();
    }
    sql::assert_sound(path_of(&options), "taken over twenty times");
    let store = open(options);
    assert_eq!(store.count(), durable.len());
    assert!(durable.iter().all(|n| has(&store, *n)));
}

#[test]
fn a_file_with_a_log_that_others_follow_can_be_taken_over_in_exclusive_mode() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let logged = unsynced(file_in(&other));
    let store = open(logged.clone());
    (0..SHAPES / 2).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.close();
    let options = unsynced(Options { exclusive: true, ..file_in(&folder) });
    let (writer, first) = two(&options);
    let second = open(elsewhere(options.clone()));
    writer.close();
    fs::remove_file(path_of(&options)).unwrap();
    fs::copy(path_of(&logged), path_of(&options)).unwrap();
    let followed = |store: &Running| store.count() == SHAPES as usize / 2;
    until("the file with a log", || followed(&first) && followed(&second));
    assert_eq!(promote(&first), Ok(()));
    assert_eq!(add(&first, SHAPES), Outcome::Durable);
    until("the writer is followed", || second.count() == SHAPES as usize / 2 + 1);
}

/// A store that gave a change up to another one and is the writer again, with the number of
/// that change.
fn writer_again(folder: &tempfile::TempDir) -> (Running, u64) {
    let (one, other) = two(&unsynced(file_in(folder)));
    promote(&other).unwrap();
    let given_up = one.add(&shape(300)).unwrap();
    assert_eq!(one.outcome(given_up), Outcome::Fenced);
    other.close();
    promote(&one).unwrap();
    (one, given_up)
}

/// What waits for all changes so far waits for those of this time as the writer.
#[test]
fn a_writer_again_has_nothing_to_wait_for_of_what_it_gave_up() {
    let folder = tempfile::tempdir().unwrap();
    let (one, given_up) = writer_again(&folder);
    let (removed, last) = one.remove_incomplete().unwrap();
    assert_eq!(removed.len(), SHAPES as usize);
    assert_eq!(one.outcome(last), Outcome::Durable);
    let (removed, last) = one.remove_incomplete().unwrap();
    assert_eq!((removed.len(), one.outcome(last)), (0, Outcome::Durable));
    assert_eq!(one.outcome(given_up), Outcome::Fenced);
    assert_eq!(add(&one, 301), Outcome::Durable);
}

#[test]
fn a_writer_again_that_finds_all_as_it_was_waits_for_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (one, given_up) = writer_again(&folder);
    one.flush();
    assert_eq!(one.outcome(given_up), Outcome::Fenced);
    assert_eq!(add(&one, 301), Outcome::Durable);
    assert_eq!(one.close(), given_up + 2);
}

/// The row ids of what was given up are the next writer's to give as far as the file tells.
#[test]
fn who_gave_adds_up_answers_with_what_the_next_writer_added() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(Options { manual_flush: true, ..file_in(&folder) });
    let one = open(options.clone());
    assert_eq!(add(&one, 1), Outcome::Durable);
    let other = open(elsewhere(options.clone()));
    promote(&other).unwrap();
    // Nobody has told the one yet.
    let given_up: Vec<_> = (10..15).map(|n| one.add(&shape(n)).unwrap()).collect();
    let rows = |store: &Running, shapes: std::ops::Range<u32>| -> Vec<u64> {
        shapes.map(|n| store.entry(&shape(n).handle).unwrap().row).collect()
    };
    let theirs = rows(&one, 10..15);
    (20..25).for_each(|n| assert_eq!(add(&other, n), Outcome::Durable));
    let given = rows(&other, 20..25);
    one.flush_to(given_up[4]);
    given_up.iter().for_each(|seq| assert_eq!(one.outcome(*seq), Outcome::Fenced));
    other.close();
    promote(&one).unwrap();
    assert_eq!(one.count(), 6);
    for n in 20..25 {
        assert!(shape(n).is(&one.entry(&shape(n).handle).unwrap()), "{n}");
        assert!(has(&one, n), "{n}");
    }
    assert!((10..15).all(|n| one.entry(&shape(n).handle).is_none()));
    assert!(given.iter().all(|row| !theirs.contains(row)), "{given:?} of {theirs:?}");
}

#[test]
fn shared_memory_that_is_another_before_the_first_batch_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let options = file_in(&folder);
    let store = open(options.clone());
    let memory = path_of(&options).with_file_name("shapes.sqlite-shm");
    let bytes = fs::read(&memory).unwrap();
    fs::remove_file(&memory).unwrap();
    fs::write(&memory, bytes).unwrap();
    assert_eq!(add(&store, 1), Outcome::Durable);
    rebuilt(&store);
    store.close();
    assert!(has(&open(options), 1));
}

#[test]
fn a_standby_leaves_shared_memory_that_was_removed() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        follow_interval: Duration::from_millis(1),
        connection_idle: Duration::from_millis(1),
        ..file_in(&folder)
    };
    let (writer, standby) = two(&options);
    until("the end of the writer's connection", || writer.statistics().connections == 0);
    let memory = path_of(&options).with_file_name("shapes.sqlite-shm");
    fs::remove_file(&memory).unwrap();
    until("other shared memory", || memory.exists());
    assert_eq!(add(&writer, SHAPES), Outcome::Durable);
    until("what the writer adds", || has(&standby, SHAPES));
    promote(&standby).unwrap();
    assert!((0..=SHAPES).all(|n| has(&standby, n)));
}

/// The shapes that the new writer removed, and those that have their rows now, are not lost.
#[test]
fn who_was_replaced_and_does_not_know_it_loses_no_shape_of_the_new_writer() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { cache_bytes: 0, ..file_in(&folder) };
    let (writer, standby) = two(&options);
    promote(&standby).unwrap();
    for n in 0..SHAPES {
        standby.remove(&shape(n).handle).unwrap();
    }
    standby.flush();
    for n in 0..SHAPES {
        assert_eq!(writer.try_body(&shape(n).handle).ok(), None, "shape {n}");
    }
    writer.event(|event| matches!(event, Event::Fenced { .. }).then_some(()));
    assert_eq!(writer.statistics().lost, 0);
    assert_eq!(add(&standby, SHAPES), Outcome::Durable);
    until("its look", || has(&writer, SHAPES));
    assert_eq!(writer.statistics().lost, 0);
}

//! A file that is not what the store wrote: removed, cut, emptied, put back or exchanged,
//! under a store that is open, idle, or closing. Whatever is there is moved aside, and
//! nothing is lost that is in memory or can still be read.

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
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use common::{
    PATIENCE, Running, file_in,
    instance::{Between, Breaking, elsewhere},
    open, path_of, shape, sql, tell, try_open, unsynced,
};
use crossbeam_channel::unbounded;
use fault_vfs::{Fault, FaultVfs, Kinds, Plan};
use shape_store::{Event, Lease, Options, Outcome, State};

const SHAPES: u32 = 200;

/// What somebody does to a file of this path.
type Hands<'a> = &'a dyn Fn(&Path);

/// What a store is doing when somebody lays hands on its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum When {
    /// Its connection is open.
    Open,
    /// Its connection is closed, having had no use.
    Idle,
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn until(what: &str, reached: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < end, "{what} does not come");
        std::thread::yield_now();
    }
}

fn filled(when: When, options: &Options) -> Running {
    let idle = if when == When::Idle { Duration::from_millis(10) } else { PATIENCE };
    let store = open(Options { connection_idle: idle, ..options.clone() });
    (0..SHAPES).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.flush();
    if when == When::Idle {
        until("an idle store", || {
            store.statistics().connections == 0 && !beside(path_of(options), "-wal").exists()
        });
    }
    store
}

fn lease(store: &Running, writer: bool) -> Lease {
    let (sender, granted) = unbounded();
    match writer {
        true => store.ask_writer(tell(sender)),
        false => store.ask_reader(tell(sender)),
    };
    granted.recv_timeout(PATIENCE).unwrap().unwrap()
}

/// Adds a shape that is durable, closes, and finds everything at the next start.
fn nothing_is_lost(store: Running, options: &Options, context: &str) {
    let seq = store.add(&shape(SHAPES)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable, "{context}");
    (0..=SHAPES).for_each(|n| assert!(has(&store, n), "{context}: {n}"));
    store.close();
    everything_is_there(options, context);
}

fn everything_is_there(options: &Options, context: &str) {
    sql::assert_sound(path_of(options), context);
    let store = open(options.clone());
    assert_eq!(store.opening.quarantined, None, "{context}");
    assert_eq!(store.count(), SHAPES as usize + 1, "{context}");
    (0..=SHAPES).for_each(|n| assert!(has(&store, n), "{context}: {n}"));
}

fn has(store: &Running, n: u32) -> bool {
    store.whole_body(&shape(n).handle) == Some(shape(n).body)
}

/// Files that were moved aside.
fn aside(path: &Path) -> BTreeSet<PathBuf> {
    let prefix = format!("{}.corrupt-", path.display());
    let all = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &PathBuf| path.display().to_string();
    all.filter(|path| name(path).starts_with(&prefix) && !name(path).ends_with("-wal")).collect()
}

/// Each in a folder of its own, for both moments and both modes.
fn lay_hands(name: &str, hands: impl Fn(&Path)) {
    for when in [When::Open, When::Idle] {
        for exclusive in [false, true] {
            // The one connection of exclusive mode stays open.
            if exclusive && when == When::Idle {
                continue;
            }
            let context = format!("{name}, {when:?}, exclusive={exclusive}");
            let folder = tempfile::tempdir().unwrap();
            let options = unsynced(Options { exclusive, ..file_in(&folder) });
            let store = filled(when, &options);
            hands(path_of(&options));
            nothing_is_lost(store, &options, &context);
        }
    }
}

/// The path of a closed file with other shapes, of another database.
fn another(folder: &Path, shapes: u32) -> PathBuf {
    let options = unsynced(file_in(folder));
    let store = open(options.clone());
    (1000..1000 + shapes).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.close();
    path_of(&options).to_path_buf()
}

#[test]
fn a_file_that_is_removed_is_written_anew() {
    lay_hands("removed", |path| fs::remove_file(path).unwrap());
}

#[test]
fn a_file_that_is_removed_with_its_log_is_written_anew() {
    lay_hands("removed with its log", |path| {
        for suffix in ["", "-wal", "-shm"] {
            let _ = fs::remove_file(beside(path, suffix));
        }
    });
}

#[test]
fn a_folder_that_is_removed_is_made_anew() {
    lay_hands("folder removed", |path| fs::remove_dir_all(path.parent().unwrap()).unwrap());
}

#[test]
fn an_empty_file_in_its_place_is_moved_aside() {
    lay_hands("emptied", |path| {
        fs::remove_file(path).unwrap();
        fs::write(path, "").unwrap();
    });
}

#[test]
fn another_database_in_its_place_is_moved_aside_and_kept() {
    for shapes in [0, 5, 300] {
        let elsewhere = tempfile::tempdir().unwrap();
        let theirs = another(elsewhere.path(), shapes);
        let content = fs::read(&theirs).unwrap();
        lay_hands(&format!("another of {shapes}"), |path| {
            let copy = beside(path, ".new");
            fs::write(&copy, &content).unwrap();
            fs::rename(copy, path).unwrap();
        });
    }
}

#[test]
fn what_is_moved_aside_is_as_it_was() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let content = fs::read(another(other.path(), 5)).unwrap();
    let options = unsynced(file_in(&folder));
    let path = path_of(&options);
    let store = filled(When::Idle, &options);
    fs::remove_file(path).unwrap();
    fs::write(path, &content).unwrap();
    let seq = store.complete(&shape(0).handle).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    let aside: Vec<_> = aside(path).into_iter().collect();
    assert_eq!(aside.len(), 1);
    assert_eq!(fs::read(&aside[0]).unwrap(), content);
    let (reason, quarantined, lost) = store.event(|event| match event {
        Event::Rebuilt { reason, quarantined, lost, .. } => Some((reason, quarantined, lost)),
        _ => None,
    });
    assert_eq!((quarantined.as_ref(), lost.len()), (aside.first(), 0), "{reason}");
    let statistics = store.statistics();
    assert_eq!((statistics.rebuilds, statistics.quarantined, statistics.lost), (1, 1, 0));
    nothing_is_lost(store, &options, "kept");
}

/// A copy has the identity of the file, and is behind it.
#[test]
fn an_older_copy_in_its_place_is_moved_aside() {
    for (when, in_place) in
        [(When::Open, false), (When::Open, true), (When::Idle, false), (When::Idle, true)]
    {
        let context = format!("older copy, {when:?}, same inode: {in_place}");
        let folder = tempfile::tempdir().unwrap();
        let options = unsynced(file_in(&folder));
        let path = path_of(&options);
        let store = open(options.clone());
        (0..SHAPES / 2).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
        store.close();
        let copy = fs::read(path).unwrap();
        let idle = if when == When::Idle { Duration::from_millis(10) } else { PATIENCE };
        let store = open(Options { connection_idle: idle, ..options.clone() });
        (SHAPES / 2..SHAPES).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
        store.flush();
        if when == When::Idle {
            until("an idle store", || store.statistics().connections == 0);
        }
        if !in_place {
            fs::remove_file(path).unwrap();
        }
        fs::write(path, &copy).unwrap();
        nothing_is_lost(store, &options, &context);
    }
}

#[test]
fn a_file_that_is_cut_is_written_anew() {
    lay_hands("cut", |path| {
        let file = fs::File::options().write(true).open(path).unwrap();
        let len = file.metadata().unwrap().len();
        file.set_len(len / 2).unwrap();
    });
}

/// A writer that has written nothing yet has to know how long the file is that it begins with.
#[test]
fn a_file_that_is_cut_before_the_first_batch_is_written_anew() {
    for exclusive in [false, true] {
        let context = format!("exclusive={exclusive}");
        let folder = tempfile::tempdir().unwrap();
        let options = unsynced(Options { exclusive, ..file_in(&folder) });
        // A new one may be in its log alone.
        open(options.clone()).close();
        let store = open(options.clone());
        let file = fs::File::options().write(true).open(path_of(&options)).unwrap();
        file.set_len(file.metadata().unwrap().len() / 2).unwrap();
        let seq = store.add(&shape(0)).unwrap();
        let reason = store.event(|event| match event {
            Event::Rebuilt { reason, .. } => Some(reason.clone()),
            Event::Committed { .. } => panic!("{context}: committed to a file that was cut"),
            _ => None,
        });
        assert_eq!(reason, "it was cut", "{context}");
        assert_eq!(store.outcome(seq), Outcome::Durable, "{context}");
        store.close();
        sql::assert_sound(path_of(&options), &context);
        let store = open(options.clone());
        assert_eq!(store.opening.quarantined, None, "{context}");
        assert!(has(&store, 0), "{context}");
    }
}

/// With a rollback journal a batch makes the file itself longer.
#[test]
fn a_file_that_is_cut_to_where_the_last_batch_began_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(Options { exclusive: true, ..file_in(&folder) });
    let store = open(options.clone());
    let file = fs::File::options().write(true).open(path_of(&options)).unwrap();
    let before = file.metadata().unwrap().len();
    (0..SHAPES).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.flush();
    assert!(file.metadata().unwrap().len() > before);
    file.set_len(before).unwrap();
    nothing_is_lost(store, &options, "cut to where the last batch began");
}

#[test]
fn a_log_that_is_cut_removed_or_exchanged_is_noticed() {
    let hands: [(&str, Hands<'_>); 5] = [
        ("cut to nothing", &|log| {
            fs::File::options().write(true).open(log).unwrap().set_len(0).unwrap();
        }),
        ("cut in the middle", &|log| {
            let file = fs::File::options().write(true).open(log).unwrap();
            let len = file.metadata().unwrap().len();
            file.set_len(len / 2).unwrap();
        }),
        ("removed", &|log| fs::remove_file(log).unwrap()),
        ("exchanged", &|log| {
            fs::remove_file(log).unwrap();
            fs::write(log, "no log").unwrap();
        }),
        ("without its shared memory", &|log| {
            let path = log.display().to_string();
            fs::remove_file(path.replace("-wal", "-shm")).unwrap();
        }),
    ];
    for (name, hands) in hands {
        let folder = tempfile::tempdir().unwrap();
        let options = unsynced(file_in(&folder));
        let store = filled(When::Open, &options);
        hands(&beside(path_of(&options), "-wal"));
        nothing_is_lost(store, &options, name);
    }
}

/// What a borrower commits is written beyond the hole, and fills it with nothing.
#[test]
fn a_log_that_is_cut_while_a_borrower_commits_is_noticed() {
    for cut in [8_000, 20_000] {
        let folder = tempfile::tempdir().unwrap();
        let options = unsynced(file_in(&folder));
        let store = filled(When::Open, &options);
        let lease = lease(&store, true);
        let log = fs::File::options().write(true).open(beside(path_of(&options), "-wal")).unwrap();
        log.set_len(log.metadata().unwrap().len() - cut).unwrap();
        let sql = "CREATE TABLE other (number); INSERT INTO other VALUES (1)";
        lease.with(|conn| conn.execute_batch(sql)).unwrap().unwrap();
        drop(lease);
        until("another file", || store.statistics().rebuilds == 1);
        nothing_is_lost(store, &options, "cut by a little");
    }
}

/// SQLite opens shared memory once a process: a writer that came to that of its readers would
/// commit what nobody else sees.
#[test]
fn a_writer_that_opens_its_file_again_does_not_join_readers_whose_memory_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let connection_idle = Duration::from_millis(10);
    let options = unsynced(Options { connection_idle, ..file_in(&folder) });
    let store = open(options.clone());
    let reader = lease(&store, false);
    (0..SHAPES).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.flush();
    until("an idle writer", || store.statistics().connections == 1);
    fs::remove_file(beside(path_of(&options), "-shm")).unwrap();
    // Another process has come since.
    fs::write(beside(path_of(&options), "-shm"), "").unwrap();
    let seq = store.add(&shape(SHAPES)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    assert_eq!(store.statistics().rebuilds, 1, "written anew, for others to see");
    drop(reader);
    store.close();
    everything_is_there(&options, "without its memory");
}

/// The end of the store is the last chance: what is in memory is gone after it.
#[test]
fn what_was_done_to_the_file_is_noticed_when_the_store_closes() {
    let other = tempfile::tempdir().unwrap();
    let content = fs::read(another(other.path(), 5)).unwrap();
    let hands: [(&str, Hands<'_>); 3] = [
        ("removed", &|path| fs::remove_file(path).unwrap()),
        ("exchanged", &|path| {
            fs::remove_file(path).unwrap();
            fs::write(path, &content).unwrap();
        }),
        ("log cut", &|path| {
            if let Ok(log) = fs::File::options().write(true).open(beside(path, "-wal")) {
                log.set_len(0).unwrap();
            }
        }),
    ];
    for (name, hands) in hands {
        for when in [When::Open, When::Idle] {
            let folder = tempfile::tempdir().unwrap();
            let options = unsynced(file_in(&folder));
            let store = filled(when, &options);
            let seq = store.add(&shape(SHAPES)).unwrap();
            assert_eq!(store.outcome(seq), Outcome::Durable);
            hands(path_of(&options));
            store.close();
            everything_is_there(&options, &format!("{name}, {when:?}"));
        }
    }
}

/// Who has the turn meanwhile may have nothing of what was in the file, and take it over or not.
#[test]
fn a_file_that_is_gone_is_noticed_at_the_end_also_in_anothers_turn() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let store = filled(When::Open, &options);
    let seq = store.add(&shape(SHAPES)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    let turn = fs::File::open(beside(path_of(&options), ".turn")).unwrap();
    turn.lock().unwrap();
    fs::remove_file(path_of(&options)).unwrap();
    store.store.close();
    store.event(|event| match event {
        Event::RebuildFailed { .. } => Some(()),
        Event::Closed { .. } => panic!("what is in memory alone was given up"),
        _ => None,
    });
    turn.unlock().unwrap();
    store.closed();
    everything_is_there(&options, "in another's turn");
}

/// Bodies that are not in memory come from the file that has no name any more.
#[test]
fn a_file_that_was_removed_is_read_as_long_as_somebody_has_it() {
    for when in [When::Open, When::Idle] {
        let folder = tempfile::tempdir().unwrap();
        let options = unsynced(Options { cache_bytes: 0, ..file_in(&folder) });
        let store = filled(when, &options);
        fs::remove_file(path_of(&options)).unwrap();
        let seq = store.add(&shape(SHAPES)).unwrap();
        assert_eq!(store.outcome(seq), Outcome::Durable, "{when:?}");
        let lost = store.event(|event| match event {
            Event::Rebuilt { lost, .. } => Some(lost.len()),
            _ => None,
        });
        assert_eq!(lost, 0, "{when:?}");
        nothing_is_lost_but_once(store, &options);
    }
}

fn nothing_is_lost_but_once(store: Running, options: &Options) {
    (0..=SHAPES).for_each(|n| assert!(has(&store, n), "{n}"));
    store.close();
    everything_is_there(options, "read by whoever has it");
}

/// The file has to be replaced, and there is no room for another: it is made at the latest
/// when the store closes.
#[test]
fn a_file_that_cannot_be_written_anew_yet_is_tried_again_also_at_the_end() {
    let vfs = FaultVfs::unique();
    vfs.skip_syncs(true);
    let folder = tempfile::tempdir().unwrap();
    let options = Options { vfs: Some(vfs.name().into()), ..file_in(&folder) };
    let store = filled(When::Open, &options);
    let seq = store.add(&shape(SHAPES)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    vfs.fail(Plan::nth(1, Fault::Full).kinds(Kinds::WRITE).forever());
    fs::remove_file(path_of(&options)).unwrap();
    store.remove(&shape(SHAPES + 7).handle).unwrap_err();
    store.complete(&shape(3).handle).unwrap();
    let reason = store.event(|event| match event {
        Event::RebuildFailed { problem, reason, .. } => Some(format!("{problem}: {reason}")),
        _ => None,
    });
    assert!(reason.contains("gone") && reason.contains("full"), "{reason}");
    assert_eq!(store.statistics().rebuilding, 1);
    assert!(store.statistics().faults > 0);
    store.store.close();
    vfs.heal();
    store.closed();
    everything_is_there(&options, "tried again");
}

/// At each operation of a replacement the process may end: the next start finds everything.
#[test]
fn a_replacement_that_is_broken_off_anywhere_is_finished_by_the_next_start() {
    let mut broken = 0;
    for nth in 0.. {
        let folder = tempfile::tempdir().unwrap();
        let system = std::sync::Arc::new(Breaking::new(nth, folder.path()));
        let options = unsynced(Options { system: system.clone(), ..file_in(&folder) });
        let store = filled(When::Open, &options);
        let seq = store.add(&shape(SHAPES)).unwrap();
        assert_eq!(store.outcome(seq), Outcome::Durable);
        fs::write(path_of(&options), "not a database").unwrap();
        system.begin();
        store.complete(&shape(1).handle).unwrap();
        store.event(|event| match event {
            Event::Rebuilt { .. } | Event::RebuildFailed { .. } => Some(()),
            _ => None,
        });
        let left = system.left();
        if let Some((left, decided)) = &left {
            let found = open(unsynced(file_in(left)));
            if *decided {
                assert_eq!(found.count(), SHAPES as usize + 1, "broken off at {nth}");
                (0..=SHAPES).for_each(|n| assert!(has(&found, n), "{n}, broken off at {nth}"));
            } else {
                // What was put there is moved aside; the store that goes on has the rest.
                assert!(found.opening.quarantined.is_some(), "broken off at {nth}");
            }
            found.close();
            broken += 1;
        }
        store.close();
        everything_is_there(&options, &format!("went on after {nth}"));
        if left.is_none() {
            break;
        }
    }
    assert!(broken >= 6, "{broken} points");
}

/// Who follows from another process may open the file while it is renamed, and so make shared
/// memory under the name that the new file's has next.
#[test]
fn shared_memory_that_is_made_during_a_replacement_is_not_that_of_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let (made, memory) = (folder.path().join("made"), beside(path_of(&options), "-shm"));
    fs::write(&made, "").unwrap();
    let during = Arc::new(AtomicBool::new(false));
    let act = {
        let (during, made, memory) = (Arc::clone(&during), made.clone(), memory.clone());
        move || {
            if during.load(Relaxed) {
                // Where there is none.
                let _ = fs::hard_link(&made, &memory);
            }
        }
    };
    let store = filled(When::Open, &Options { system: Arc::new(Between::new(act)), ..options });
    during.store(true, Relaxed);
    fs::remove_file(&memory).unwrap();
    store.complete(&shape(1).handle).unwrap();
    store.event(|event| matches!(event, Event::Rebuilt { .. }).then_some(()));
    let inode = |path: &Path| fs::metadata(path).unwrap().ino();
    assert_ne!(inode(&memory), inode(&made));
}

/// The folder is removed, and another instance begins a database of its own there before
/// the first one notices: that one has the file, and the first one's shapes are kept beside
/// it.
#[test]
fn who_comes_to_an_empty_folder_first_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(folder.path().join("below")));
    let store = filled(When::Open, &options);
    fs::remove_dir_all(folder.path().join("below")).unwrap();
    let other = open(elsewhere(options.clone()));
    assert_eq!((other.opening.standby, other.count()), (false, 0));
    let seq = other.add(&shape(900)).unwrap();
    assert_eq!(other.outcome(seq), Outcome::Durable);

    let seq = store.add(&shape(901)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Fenced);
    until("following", || store.entry(&shape(900).handle).is_some());
    assert_eq!((store.state(), store.count()), (State::Fenced, 1));
    let seq = other.add(&shape(902)).unwrap();
    assert_eq!(other.outcome(seq), Outcome::Durable);
    store.close();
    other.close();
    let prefix = format!("{}.orphan-", path_of(&options).display());
    let mut all = fs::read_dir(folder.path().join("below")).unwrap().map(|e| e.unwrap().path());
    let orphan = all.find(|path| path.display().to_string().starts_with(&prefix)).unwrap();
    assert_eq!(sql::stored(&orphan).len(), SHAPES as usize);
}

/// The path is taken once, before the process goes elsewhere; here a link stands for that.
#[test]
fn a_link_in_place_of_the_file_leads_to_it() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = unsynced(file_in(&folder));
    let there = disk.path().join("elsewhere.sqlite");
    std::os::unix::fs::symlink(&there, path_of(&options)).unwrap();
    let store = filled(When::Open, &options);
    assert!(beside(&there, "-wal").exists() && beside(&there, ".lock").exists());
    fs::remove_file(&there).unwrap();
    let seq = store.add(&shape(SHAPES)).unwrap();
    assert_eq!(store.outcome(seq), Outcome::Durable);
    store.close();
    everything_is_there(&unsynced(file_in(&folder)), "through a link");
    let found = try_open(unsynced(Options::new(shape_store::Location::File(there)))).ok().unwrap();
    assert_eq!(found.count(), SHAPES as usize + 1);
}

/// A file of ours with shapes that was closed and opened once more, so that its log has
/// nothing but what says whose it is; its writer has closed it, and this follows it.
fn left_with_its_log(options: &Options) -> Running {
    let store = open(options.clone());
    (0..SHAPES).for_each(|n| assert!(store.add(&shape(n)).is_ok()));
    store.close();
    let writer = open(options.clone());
    let standby = open(elsewhere(options.clone()));
    assert_eq!(standby.state(), State::Standby);
    writer.close();
    assert!(beside(path_of(options), "-wal").exists());
    standby
}

#[test]
fn a_follower_that_meets_an_empty_file_leaves_the_log_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = unsynced(file_in(&folder));
    let standby = left_with_its_log(&options);
    let faults = standby.statistics().faults;
    fs::remove_file(path_of(&options)).unwrap();
    fs::write(path_of(&options), "").unwrap();
    until("a look at the empty file", || standby.statistics().faults > faults + 1);
    assert!(beside(path_of(&options), "-wal").exists());
}

#[test]
fn a_warm_body_is_not_that_of_a_shape_of_a_file_with_the_log_of_the_one_before() {
    let (folder, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let options = unsynced(file_in(&folder));
    let standby = left_with_its_log(&options);
    (0..SHAPES).for_each(|n| assert!(has(&standby, n)));
    let foreign = another(other.path(), SHAPES);
    for suffix in ["", "-shm"] {
        let _ = fs::remove_file(beside(path_of(&options), suffix));
    }
    fs::copy(foreign, path_of(&options)).unwrap();
    until("the other's shapes", || standby.handle_for(&shape(1000).digest).is_some());
    for n in 1000..1000 + SHAPES {
        let found = standby.try_body(&shape(n).handle);
        assert!(found.as_ref().map_or(true, |body| *body == shape(n).body), "{n}: {found:?}");
    }
}

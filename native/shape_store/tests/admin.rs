//! What an operator does with files: nothing is lost, nothing that is in use is touched, and
//! what cannot be done says why and changes nothing.

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
    collections::{BTreeMap, HashSet},
    fs,
    path::{Path, PathBuf},
};

use common::{Running, Shape, file_in, open, path_of, rng::Rng, shape, sql, try_open};
use shape_store::{
    Native, Options, Source, SourceSchema,
    admin::{self, Access, AdminError, Condition, Reader},
};

const SHAPES: u32 = 300;

fn quiet() -> impl FnMut(u64, u64) {
    |_, _| {}
}

/// A store with some shapes, of which every third has a complete snapshot.
fn filled(options: Options) -> Running {
    let store = open(options);
    for n in 0..SHAPES {
        store.add(&shape(n)).unwrap();
        if n % 3 == 0 {
            store.complete(&shape(n).handle).unwrap();
        }
    }
    store.flush();
    store
}

fn closed(folder: &Path) -> PathBuf {
    let options = file_in(folder);
    filled(options.clone()).close();
    path_of(&options).to_path_buf()
}

fn assert_holds(store: &Running, shapes: impl Iterator<Item = u32>) {
    let mut count = 0;
    for n in shapes {
        let expected = shape(n);
        let entry = store.entry(&expected.handle).expect("it is there");
        assert!(expected.is(&entry));
        assert_eq!(store.whole_body(&expected.handle).unwrap(), expected.body);
        count += 1;
    }
    assert_eq!(store.count(), count);
}

/// Every file of a folder with its content, but for what locks leave.
fn content(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let kept = files.filter(|path| {
        path.is_file() && !matches!(path.extension(), Some(end) if end == "lock" || end == "turn")
    });
    kept.map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn rows(mut reader: Reader) -> Vec<admin::Row> {
    let mut all = Vec::new();
    loop {
        let piece = reader.next(64).unwrap();
        if piece.is_empty() {
            return all;
        }
        all.extend(piece);
    }
}

#[test]
fn a_file_is_read_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let before = content(folder.path());
    let reader = Reader::open(&Native, &path, Access::Alone).unwrap();
    let summary = reader.summary().unwrap();
    assert_eq!((summary.version, summary.shapes), (5, u64::from(SHAPES)));
    assert_eq!(summary.complete, u64::from(SHAPES / 3));
    assert!(summary.label.unwrap().clean);
    let rows = rows(reader);
    assert_eq!(rows.len(), SHAPES as usize);
    assert!(rows.iter().all(|row| row.condition == Condition::Sound));
    let checked = admin::check(&Native, &path, Access::Alone, &mut quiet()).unwrap();
    assert!(checked.is_sound(), "{checked:?}");
    assert_eq!(content(folder.path()), before);
}

#[test]
fn a_file_of_a_killed_store_is_read_with_its_log_and_left_as_it_is() {
    let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for exclusive in [false, true] {
        let options = Options { exclusive, ..file_in(&folder) };
        let store = filled(options.clone());
        for entry in fs::read_dir(folder.path()).unwrap() {
            let from = entry.unwrap().path();
            fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
        }
        store.close();
        let path = copy.path().join("shapes.sqlite");
        let before = content(copy.path());
        let reader = Reader::open(&Native, &path, Access::Alone).unwrap();
        assert_eq!(reader.summary().unwrap().shapes, u64::from(SHAPES));
        assert_eq!(rows(reader).len(), SHAPES as usize);
        assert_eq!(content(copy.path()), before);
        for file in before.keys() {
            fs::remove_file(file).unwrap();
        }
        fs::remove_file(path_of(&options)).unwrap();
    }
}

#[test]
fn who_has_a_file_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { stack: "here".into(), ..file_in(&folder) };
    let store = filled(options.clone());
    let path = path_of(&options);
    let holder = admin::holder(&Native, path).unwrap().unwrap();
    assert!(holder.contains("here"), "{holder}");
    let other = folder.path().join("other.sqlite");
    let mut quiet = quiet();
    let refused: Vec<AdminError> = [
        Reader::open(&Native, path, Access::Alone).map(drop),
        admin::check(&Native, path, Access::Alone, &mut quiet).map(drop),
        admin::repair(&Native, path, &HashSet::new(), &mut quiet).map(drop),
        admin::salvage(&Native, path, &other, &HashSet::new(), &mut quiet).map(drop),
        admin::relocate(&Native, path, &other, &mut quiet).map(drop),
    ]
    .into_iter()
    .map(|tried| tried.expect_err("somebody has it"))
    .collect();
    for error in refused {
        assert!(matches!(&error, AdminError::InUse { holder, .. } if holder.contains("here")));
    }
    // Nor is another file put in its place.
    let copy = folder.path().join("copy.sqlite");
    admin::backup(&Native, path, &copy, Access::Live, &mut quiet).unwrap();
    let error = admin::restore(&Native, &copy, path, &mut quiet).unwrap_err();
    assert!(matches!(error, AdminError::InUse { .. }), "{error}");
    assert!(!other.exists());
    assert_holds(&store, 0..SHAPES);
    store.close();
    assert_eq!(admin::holder(&Native, path).unwrap(), None);
}

#[test]
fn a_backup_is_one_moment_of_a_store_that_goes_on_writing() {
    let folder = tempfile::tempdir().unwrap();
    for exclusive in [false, true] {
        let name = if exclusive { "exclusive" } else { "shared" };
        let options = Options { exclusive, ..file_in(folder.path().join(name)) };
        fs::create_dir(folder.path().join(name)).unwrap();
        let store = filled(options.clone());
        let to = folder.path().join(format!("{name}.sqlite"));
        let mut n = SHAPES;
        let mut told = 0;
        let mut progress = |done, total| {
            assert!(done <= total);
            told += 1;
            store.add(&shape(n)).unwrap();
            n += 1;
            if !exclusive {
                store.flush();
            }
        };
        let copied =
            admin::backup(&Native, path_of(&options), &to, Access::Live, &mut progress).unwrap();
        assert_eq!(copied.shapes, u64::from(SHAPES));
        assert!(told > 0);
        store.flush();
        assert_eq!(store.count(), n as usize);
        store.close();
        // It opens without a check or a log, and has what there was.
        let summary = Reader::open(&Native, &to, Access::Alone).unwrap().summary().unwrap();
        assert!(summary.label.unwrap().clean);
        let copy = Options::new(shape_store::Location::File(to));
        let copy = open(Options { exclusive, ..copy });
        assert_eq!(copy.opening.quarantined, None);
        assert_holds(&copy, 0..SHAPES);
        copy.close();
    }
}

#[test]
fn a_backup_takes_no_place_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let to = folder.path().join("there");
    fs::write(&to, "mine").unwrap();
    let before = content(folder.path());
    let error = admin::backup(&Native, &path, &to, Access::Alone, &mut quiet()).unwrap_err();
    assert!(matches!(error, AdminError::Exists { .. }), "{error}");
    let error = admin::backup(&Native, &path, &path, Access::Alone, &mut quiet()).unwrap_err();
    assert!(matches!(error, AdminError::Exists { .. }), "{error}");
    assert_eq!(content(folder.path()), before);
}

#[test]
fn a_restored_copy_takes_the_place_of_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let options = file_in(&folder);
    let path = closed(folder.path());
    let copy = folder.path().join("copy");
    admin::backup(&Native, &path, &copy, Access::Alone, &mut quiet()).unwrap();
    let store = open(options.clone());
    (0..SHAPES).for_each(|n| drop(store.remove(&shape(n).handle)));
    store.close();
    let restored = admin::restore(&Native, &copy, &path, &mut quiet()).unwrap();
    assert_eq!(restored.copied.shapes, u64::from(SHAPES));
    let kept = Reader::open(&Native, &restored.kept.unwrap(), Access::Alone).unwrap();
    assert_eq!(kept.summary().unwrap().shapes, 0);
    let store = open(options.clone());
    assert_holds(&store, 0..SHAPES);
    // A place where nothing was is as good.
    store.close();
    fs::remove_file(&path).unwrap();
    let restored = admin::restore(&Native, &copy, &path, &mut quiet()).unwrap();
    assert_eq!(restored.kept, None);
    assert_holds(&open(options), 0..SHAPES);
}

/// After each step of a restoration something opens that has everything of one of the two.
#[test]
fn a_restoration_that_a_crash_ends_is_finished_by_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let options = file_in(&folder);
    let path = closed(folder.path());
    let copy = folder.path().join("copy");
    admin::backup(&Native, &path, &copy, Access::Alone, &mut quiet()).unwrap();
    fs::copy(&copy, folder.path().join("shapes.sqlite.replacement")).unwrap();
    let error = Reader::open(&Native, &path, Access::Alone).err().unwrap();
    assert!(error.to_string().contains("replacement"), "{error}");
    fs::remove_file(&path).unwrap();
    assert_holds(&open(options), 0..SHAPES);
}

#[test]
fn a_moved_file_is_whole_and_the_one_before_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let to = folder.path().join("elsewhere.sqlite");
    let moved = admin::relocate(&Native, &path, &to, &mut quiet()).unwrap();
    assert!(!path.exists() && moved.kept.unwrap().exists());
    assert_holds(&open(Options::new(shape_store::Location::File(to))), 0..SHAPES);
}

#[test]
fn an_exported_file_is_taken_over_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = file_in(&folder);
    let store = filled(options.clone());
    let old = folder.path().join("old.sqlite");
    let none = admin::Exceptions::default();
    let exported =
        admin::export(&Native, path_of(&options), &old, Access::Live, &none, &mut quiet());
    let all = admin::Exported { shapes: SHAPES.into(), ..admin::Exported::default() };
    assert_eq!(exported.unwrap(), all);
    store.close();
    let checked = admin::check(&Native, &old, Access::Alone, &mut quiet()).unwrap();
    assert!(checked.is_sound() && checked.version == 4, "{checked:?}");
    fs::remove_file(path_of(&options)).unwrap();
    let source = Source { path: old, schema: SourceSchema::Four, verify: false };
    let store = open(Options { sources: vec![source], ..options });
    assert_holds(&store, 0..SHAPES);
    let complete = |n: &u32| {
        let entry = store.entry(&shape(*n).handle).unwrap();
        entry.snapshot == shape_store::Snapshot::Complete
    };
    assert_eq!((0..SHAPES).filter(complete).count() as u32, SHAPES / 3);
}

/// Whichever page is gone, in either schema: shapes are counted only where each can be read.
#[test]
fn a_summary_counts_no_shapes_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let ours = closed(folder.path());
    let old = folder.path().join("old");
    let none = admin::Exceptions::default();
    admin::export(&Native, &ours, &old, Access::Alone, &none, &mut quiet()).unwrap();
    for path in [ours, old] {
        let whole = fs::read(&path).unwrap();
        let size = usize::from(u16::from_be_bytes([whole[16], whole[17]]));
        let mut refused = 0;
        for page in 1..whole.len() / size {
            let mut bytes = whole.clone();
            bytes[page * size..(page + 1) * size].fill(0xA5);
            fs::write(&path, bytes).unwrap();
            let mut reader = Reader::open(&Native, &path, Access::Alone).unwrap();
            let Ok(summary) = reader.summary() else {
                refused += 1;
                continue;
            };
            let mut read = 0;
            loop {
                match reader.next(512).unwrap().len() {
                    0 => break,
                    rows => read += rows as u64,
                }
            }
            assert_eq!((read, reader.unreadable_ids()), (summary.shapes, 0), "page {page}");
        }
        assert!(refused > 0, "{}", path.display());
    }
}

/// Whichever page is gone, or all but the first ones: each shape is in the new file, or counted,
/// or the file is refused.
#[test]
fn an_export_of_a_damaged_file_accounts_for_every_shape() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let whole = fs::read(&path).unwrap();
    let size = 16_384;
    let pages = whole.len() / size;
    let single = (1..pages).map(|page| page..page + 1);
    let (mut refused, mut counted) = (0, 0);
    for gone in single.chain([6..pages - 2, 6..pages]) {
        let mut bytes = whole.clone();
        bytes[gone.start * size..gone.end * size].fill(0xA5);
        fs::write(&path, bytes).unwrap();
        let to = folder.path().join(format!("{}-{}", gone.start, gone.end));
        let none = admin::Exceptions::default();
        match admin::export(&Native, &path, &to, Access::Alone, &none, &mut quiet()) {
            Ok(done) => {
                let told = done.shapes + done.left_out + done.unreadable_ids;
                assert!(told >= u64::from(SHAPES) && done.shapes > 0, "{gone:?}: {done:?}");
                counted += u32::from(done.shapes < u64::from(SHAPES));
                let checked = admin::check(&Native, &to, Access::Alone, &mut quiet()).unwrap();
                assert!(checked.is_sound() && checked.shapes == done.shapes, "{gone:?}");
            }
            Err(AdminError::Damaged { .. }) => {
                refused += 1;
                assert!(!to.exists());
            }
            Err(error) => panic!("{gone:?}: {error}"),
        }
    }
    assert!(refused > 0 && counted > 0, "{refused} refused, {counted} counted");
}

#[test]
fn what_is_wrong_is_named() {
    let damages: [(&str, &str); 8] = [
        ("UPDATE bodies SET shape = x'00' WHERE id = 5", "not what was written"),
        ("UPDATE shapes SET hash = hash + 1 WHERE id = 5", "not what was written"),
        ("DELETE FROM bodies WHERE id = 5", "no definition"),
        ("DELETE FROM shapes WHERE id = 5", "definition without a row"),
        (
            "UPDATE shapes SET handle = (SELECT handle FROM shapes WHERE id = 6) WHERE id = 5",
            "handle twice",
        ),
        (
            "UPDATE shapes SET comparable = (SELECT comparable FROM shapes WHERE id = 6) WHERE id = 5",
            "shape twice",
        ),
        (
            "UPDATE changes SET next_row = 3 WHERE batch = (SELECT max(batch) FROM changes)",
            "row id that may be given again",
        ),
        ("DELETE FROM meta WHERE key = 'epoch'", "no label"),
    ];
    for (damage, kind) in damages {
        let folder = tempfile::tempdir().unwrap();
        let path = closed(folder.path());
        sql::execute(&path, damage);
        let checked = admin::check(&Native, &path, Access::Alone, &mut quiet()).unwrap();
        assert!(!checked.is_sound());
        let found = checked.problems.iter().any(|problem| problem.kind == kind);
        assert!(found, "{damage}: {checked:?}");
    }
}

#[test]
fn a_repaired_file_has_what_is_whole_and_the_one_before_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    sql::execute(
        &path,
        "UPDATE bodies SET shape = x'00' WHERE id = 5; DELETE FROM bodies WHERE id = 6",
    );
    let before = fs::read(&path).unwrap();
    let repaired = admin::repair(&Native, &path, &HashSet::from([7]), &mut quiet()).unwrap();
    assert_eq!(
        (repaired.shapes, repaired.damaged, repaired.bodiless, repaired.left_out),
        (u64::from(SHAPES) - 3, 1, 1, 1)
    );
    assert_eq!(fs::read(repaired.kept.unwrap()).unwrap(), before);
    let checked = admin::check(&Native, &path, Access::Alone, &mut quiet()).unwrap();
    assert!(checked.is_sound(), "{checked:?}");
    assert_holds(&open(file_in(&folder)), (0..SHAPES).filter(|n| !(4..7).contains(n)));
}

/// Whatever is damaged: what is salvaged is true, and of a file with one bad page all is that
/// is not on it.
#[test]
fn what_is_salvaged_is_what_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let whole = fs::read(&path).unwrap();
    let pages = whole.len() / 16_384;
    let mut chance = Rng(7);
    for round in 0..pages.min(24) + 12 {
        let mut damaged = whole.clone();
        // First each page once, then some at once.
        let bad = match round < pages.min(24) {
            true => vec![round],
            false => (0..3).map(|_| chance.below(pages)).collect(),
        };
        for page in &bad {
            damaged[page * 16_384..(page + 1) * 16_384].fill(0xA5);
        }
        fs::write(&path, &damaged).unwrap();
        let to = folder.path().join(format!("salvaged-{round}"));
        let none = HashSet::new();
        let salvaged = match admin::salvage(&Native, &path, &to, &none, &mut quiet()) {
            Ok(salvaged) => salvaged,
            Err(error) => panic!("{bad:?}: {error}"),
        };
        assert_eq!(fs::read(&path).unwrap(), damaged);
        let store = open(Options::new(shape_store::Location::File(to)));
        assert_eq!(store.opening.quarantined, None);
        assert_eq!(store.count() as u64, salvaged.shapes);
        let found: Vec<Shape> =
            (0..SHAPES).map(shape).filter(|s| store.entry(&s.handle).is_some()).collect();
        assert_eq!(found.len() as u64, salvaged.shapes);
        assert!(found.iter().all(|s| store.whole_body(&s.handle).unwrap() == s.body));
        let known = salvaged.shapes + salvaged.damaged + salvaged.unreadable + salvaged.bodiless;
        assert!(known + salvaged.unreadable_ids >= u64::from(SHAPES), "{bad:?} {salvaged:?}");
        // The first page can be made again, and without the roots of the trees there are the
        // leaves: those of two trees with more than one page, here.
        if bad.iter().all(|page| *page < 3) {
            assert_eq!(salvaged.shapes, u64::from(SHAPES));
        }
    }
}

#[test]
fn what_is_no_shape_database_is_refused_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("text"), "certainly not a database ".repeat(2_000)).unwrap();
    fs::write(at("empty"), "").unwrap();
    fs::create_dir(at("folder")).unwrap();
    sql::execute(&at("theirs"), "CREATE TABLE theirs(id)");
    sql::execute(&at("later"), "CREATE TABLE later(id); PRAGMA user_version = 6");
    let before = content(folder.path());
    let words = [
        ("text", "not a database"),
        ("empty", "empty"),
        ("folder", "folder"),
        ("theirs", "no shape database"),
        ("later", "schema 6"),
        ("absent", "is not there"),
        ("absent", "is not there"),
    ];
    for (name, word) in words {
        let path = at(name);
        let error = Reader::open(&Native, &path, Access::Alone).err().unwrap().to_string();
        assert!(error.contains(word) && error.contains(name), "{name}: {error}");
        let to = at("to");
        let error = admin::backup(&Native, &path, &to, Access::Alone, &mut quiet());
        assert!(error.unwrap_err().to_string().contains(word));
        let error = admin::restore(&Native, &path, &to, &mut quiet());
        assert!(error.unwrap_err().to_string().contains(word));
    }
    assert_eq!(content(folder.path()), before);
}

/// While an operator works on a file a store waits for it, and then has it.
#[test]
fn a_store_does_not_get_a_file_that_is_worked_on() {
    let folder = tempfile::tempdir().unwrap();
    let options = file_in(&folder);
    let path = closed(folder.path());
    let reader = Reader::open(&Native, &path, Access::Alone).unwrap();
    let waiting = Options { lease_timeout: std::time::Duration::ZERO, ..options.clone() };
    let error = try_open(waiting).err().unwrap();
    assert!(error.contains("operator"), "{error}");
    drop(reader);
    assert_holds(&open(options), 0..SHAPES);
}

#[test]
fn there_is_room_to_ask_for() {
    let room = admin::room(Path::new("/")).unwrap();
    assert!(room.total > 0 && room.available <= room.total);
    assert!(admin::room(Path::new("/not/there")).is_err());
}

/// Whoever looks is told since when commits fail, and why, until they do not.
#[test]
fn what_fails_is_told_until_it_is_over() {
    let vfs = fault_vfs::FaultVfs::unique();
    let folder = tempfile::tempdir().unwrap();
    let store = filled(Options { vfs: Some(vfs.name().into()), ..file_in(&folder) });
    assert_eq!((store.trouble(), store.statistics().failures), (None, 0));
    vfs.set_capacity(Some(vfs.used()));
    store.add(&shape(SHAPES)).unwrap();
    store.event(|event| match event {
        shape_store::Event::CommitFailed { .. } => Some(()),
        _ => None,
    });
    let trouble = store.trouble().expect("it fails");
    assert!(trouble.reason.contains("full") && trouble.failures > 0, "{trouble:?}");
    let statistics = store.statistics();
    assert_eq!((statistics.failing_since_ms, statistics.role), (trouble.since_ms, 2));
    vfs.set_capacity(None);
    store.flush();
    assert_eq!((store.trouble(), store.statistics().failing_since_ms), (None, 0));
    assert!(store.statistics().commit_ops > u64::from(SHAPES));
}

/// A disk that stalls fails nothing: what takes long is to be seen as it does.
#[test]
fn a_commit_under_way_is_told() {
    let vfs = fault_vfs::FaultVfs::unique();
    let folder = tempfile::tempdir().unwrap();
    let store = filled(Options { vfs: Some(vfs.name().into()), ..file_in(&folder) });
    assert_eq!(store.statistics().committing_since_ms, 0);
    let hold = vfs.hold(fault_vfs::Kinds::WRITE);
    store.add(&shape(SHAPES)).unwrap();
    assert!(vfs.wait_until_held(common::PATIENCE));
    assert!(store.statistics().committing_since_ms > 0);
    hold.release();
    store.flush();
    assert_eq!(store.statistics().committing_since_ms, 0);
}

/// What was removed is in pages that the file has no use for, and stays there.
#[test]
fn what_was_removed_is_not_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let store = open(file_in(&folder));
    let removed = |n: &u32| (50..130).contains(n);
    for n in (0..SHAPES).filter(removed) {
        store.remove(&shape(n).handle).unwrap();
    }
    store.close();
    let mut damaged = fs::read(&path).unwrap();
    // The roots of both trees.
    damaged[16_384..3 * 16_384].fill(0xA5);
    fs::write(&path, &damaged).unwrap();
    let to = folder.path().join("salvaged");
    admin::salvage(&Native, &path, &to, &HashSet::new(), &mut quiet()).unwrap();
    let store = open(Options::new(shape_store::Location::File(to)));
    assert!((0..SHAPES).filter(removed).all(|n| store.entry(&shape(n).handle).is_none()));
    let there = (0..SHAPES).filter(|n| !removed(n));
    let found = there.filter(|n| store.entry(&shape(*n).handle).is_some()).count();
    assert_eq!(found, store.count());
    assert!(found > 0, "some of it is in leaves");
}

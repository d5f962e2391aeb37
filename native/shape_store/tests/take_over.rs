//! Rows of an older file that are not what they have to be: left out and counted, and the
//! rest is taken over.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt as _, path::Path};

use common::{file_in, path_of, unsynced};
use crossbeam_channel::unbounded;
use rusqlite::Connection;
use shape_store::{Event, Imported, Options, Source, SourceSchema, Store};

const SCHEMA: &str = "
    CREATE TABLE shapes (handle BLOB, shape BLOB, comparable BLOB, hash INTEGER,
                         snapshot_complete INTEGER);
    CREATE TABLE relations (handle BLOB, oid INTEGER);
    CREATE TABLE shape_count (id INTEGER, count INTEGER);
    INSERT INTO shape_count VALUES (1, 0);
    PRAGMA user_version = 4;";

/// A sound row, of this number.
fn sound(n: u8) -> String {
    format!(
        "INSERT INTO shapes VALUES (CAST('handle-{n}' AS BLOB), x'83{n:02x}', \
         x'{}', {n}, {});
         INSERT INTO relations VALUES (CAST('handle-{n}' AS BLOB), {n});",
        format!("{n:02x}").repeat(32),
        n % 2
    )
}

fn write_four(path: &Path, rows: &str) {
    let conn = Connection::open(path).unwrap();
    conn.execute_batch(SCHEMA).unwrap();
    conn.execute_batch(rows).unwrap();
}

fn options_beside(old: &Path, schema: SourceSchema, verify: bool) -> Options {
    let mut options = unsynced(file_in(old.parent().unwrap()));
    options.sources = vec![Source { path: old.into(), schema, verify }];
    options
}

fn open(options: Options) -> (Store, Result<Imported, String>) {
    let (sender, events) = unbounded();
    let verify = Box::new(|rows: Vec<_>| Ok(rows.iter().map(|_| None).collect()));
    let tell = Box::new(move |event| sender.send(event).unwrap_or_default());
    let store = Store::open(options, tell, verify).unwrap();
    loop {
        match events.recv().unwrap() {
            Event::Opened { imported, .. } => return (store, Ok(imported.unwrap().1)),
            Event::OpenFailed { reason } => return (store, Err(reason)),
            _ => {}
        }
    }
}

#[test]
fn an_odd_row_is_left_out_and_counted_and_the_rest_is_taken_over() {
    let odd = [
        "UPDATE shapes SET hash = -1",
        "UPDATE shapes SET hash = 4294967296",
        "UPDATE shapes SET hash = NULL",
        "UPDATE shapes SET hash = 'seven'",
        "UPDATE shapes SET hash = 1.5",
        "UPDATE shapes SET handle = NULL",
        "UPDATE shapes SET handle = x''",
        "UPDATE shapes SET handle = 12",
        "UPDATE shapes SET handle = zeroblob(1025)",
        "UPDATE shapes SET shape = NULL",
        "UPDATE shapes SET shape = 'text'",
        "UPDATE shapes SET comparable = NULL",
        "UPDATE shapes SET comparable = 'text of the length of a digest, 32'",
        "UPDATE shapes SET comparable = x'00'",
        "UPDATE shapes SET snapshot_complete = NULL",
        "UPDATE shapes SET snapshot_complete = 'yes'",
        "UPDATE relations SET oid = NULL",
        "UPDATE relations SET oid = -1",
        "UPDATE relations SET oid = 'text'",
        "UPDATE relations SET oid = 4294967296",
    ];
    for change in odd {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old.sqlite");
        let handle = "handle = CAST('handle-5' AS BLOB)";
        let rows = (1..=9).map(sound).collect::<String>();
        write_four(&old, &format!("{rows} {change} WHERE {handle};"));
        let (store, imported) = open(options_beside(&old, SourceSchema::Four, false));
        assert_eq!(imported, Ok(Imported { shapes: 8, left_out: 1 }), "{change}");
        assert_eq!(store.count(), 8, "{change}");
        assert!(store.entry(b"handle-5").is_none(), "{change}");
        assert!(store.entry(b"handle-6").is_some(), "{change}");
        assert!(!old.exists(), "{change}");
    }
}

#[test]
fn a_relation_of_nobody_is_no_matter() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old.sqlite");
    let of_nobody = "INSERT INTO relations VALUES (NULL, 1), (x'00', -1), (x'01', NULL);";
    write_four(&old, &format!("{}{of_nobody}", sound(1)));
    let (store, imported) = open(options_beside(&old, SourceSchema::Four, false));
    assert_eq!(imported, Ok(Imported { shapes: 1, left_out: 0 }));
    assert_eq!(store.entry(b"handle-1").unwrap().oids.as_slice(), [1]);
}

#[test]
fn a_file_to_which_nothing_was_written_has_no_shapes() {
    for schema in [SourceSchema::Four, SourceSchema::Five] {
        let dir = tempfile::tempdir().unwrap();
        let old = dir.path().join("old.sqlite");
        fs::write(&old, "").unwrap();
        let (store, imported) = open(options_beside(&old, schema, false));
        assert_eq!(imported, Ok(Imported::default()));
        assert_eq!(store.count(), 0);
        assert!(!old.exists());
    }
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old.sqlite");
    write_four(&old, "");
    let (store, imported) = open(options_beside(&old, SourceSchema::Four, false));
    assert_eq!(imported, Ok(Imported::default()));
    assert_eq!(store.count(), 0);
}

#[test]
fn one_with_something_in_it_goes_before_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let [empty, old] = ["empty.sqlite", "old.sqlite"].map(|name| dir.path().join(name));
    fs::write(&empty, "").unwrap();
    write_four(&old, &sound(1));
    let mut options = options_beside(&empty, SourceSchema::Four, false);
    options.sources.extend(options_beside(&old, SourceSchema::Four, false).sources);
    let (_store, imported) = open(options);
    assert_eq!(imported, Ok(Imported { shapes: 1, left_out: 0 }));
    assert!(empty.exists() && !old.exists());
}

#[test]
fn a_file_of_something_else_is_not_taken_for_an_empty_one() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old.sqlite");
    Connection::open(&old).unwrap().execute_batch("CREATE TABLE notes (n)").unwrap();
    let (_store, imported) = open(options_beside(&old, SourceSchema::Four, false));
    let reason = imported.unwrap_err();
    assert!(reason.contains("old.sqlite") && reason.contains("version is 0"), "{reason}");
    assert!(old.exists());
}

#[test]
fn what_is_all_odd_is_left_out_as_a_whole() {
    let dir = tempfile::tempdir().unwrap();
    let old = dir.path().join("old.sqlite");
    let rows = (1..=200).map(sound).collect::<String>();
    write_four(&old, &format!("{rows}{rows} UPDATE shapes SET hash = NULL;"));
    let (store, imported) = open(options_beside(&old, SourceSchema::Four, true));
    assert_eq!(imported, Ok(Imported { shapes: 0, left_out: 400 }));
    assert_eq!(store.count(), 0);
}

#[test]
fn a_path_that_is_not_text_is_renamed_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join(OsStr::from_bytes(b"not-utf8-\xFF"));
    fs::create_dir(&folder).unwrap();
    let old = folder.join("old.sqlite");
    write_four(&old, &sound(1));
    let options = options_beside(&old, SourceSchema::Four, false);
    let ours = path_of(&options).to_path_buf();
    let (store, imported) = open(options);
    assert_eq!(imported, Ok(Imported { shapes: 1, left_out: 0 }));
    assert_eq!(store.count(), 1);
    assert!(ours.exists());
    assert!(!old.exists());
    assert!(folder.join("old.sqlite.imported").exists());
}

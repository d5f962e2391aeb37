//! What a closed file holds, read with plain SQL and nothing of the store.

use std::path::Path;

use rusqlite::Connection;

/// A row of `shapes`, with its body when there is one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Stored {
    pub id: i64,
    pub handle: Vec<u8>,
    pub digest: Vec<u8>,
    pub snapshot: i64,
    pub body: Option<Vec<u8>>,
}

/// Every shape of the file by id.
pub fn stored(path: &Path) -> Vec<Stored> {
    let db = Connection::open(path).unwrap();
    let sql = "SELECT s.id, handle, comparable, snapshot, shape FROM shapes s \
               LEFT JOIN bodies b ON b.id = s.id ORDER BY s.id";
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        Ok(Stored {
            id: row.get(0)?,
            handle: row.get(1)?,
            digest: row.get(2)?,
            snapshot: row.get(3)?,
            body: row.get(4)?,
        })
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// Panics unless the file is sound, each handle and digest is there once, and
/// there is one body a shape and none without.
pub fn assert_sound(path: &Path, context: &str) {
    let db = Connection::open(path).unwrap();
    let number = |sql: &str| db.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let check: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok", "{context}");
    for column in ["handle", "comparable"] {
        let twice = number(&format!("SELECT count(*) - count(DISTINCT {column}) FROM shapes"));
        assert_eq!(twice, 0, "{context}: a {column} is there twice");
    }
    let bodies = number("SELECT count(*) FROM bodies WHERE id NOT IN (SELECT id FROM shapes)");
    assert_eq!(bodies, 0, "{context}: bodies without a shape");
    let shapes = number("SELECT count(*) FROM shapes WHERE id NOT IN (SELECT id FROM bodies)");
    assert_eq!(shapes, 0, "{context}: shapes without a body");
}

/// Runs SQL on a file of a store that is closed, or beside one that is open.
pub fn execute(path: &Path, sql: &str) {
    let db = Connection::open(path).unwrap();
    db.busy_timeout(std::time::Duration::from_secs(10)).unwrap();
    db.execute_batch(sql).unwrap();
}

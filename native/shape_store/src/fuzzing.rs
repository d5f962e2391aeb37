//! What parses bytes of a file, for the fuzz targets of `native/fuzz`. Built for them only.

use rusqlite::{Connection, types::Value};

pub use crate::admin::carve_pages as carve;
use crate::{
    file::{
        Label,
        load::Loader,
        row::{self, Stored},
    },
    options::{Location, Options},
    shared::Shared,
};

/// The tables of a file as somebody may have written it: anything in any column.
const TABLES: &str = "
    CREATE TABLE main.shapes (id INTEGER PRIMARY KEY, handle, comparable, hash, snapshot, relations, flags);
    CREATE TABLE main.bodies (id INTEGER PRIMARY KEY, checksum, shape);
    CREATE TABLE main.changes (batch INTEGER PRIMARY KEY, next_row, rows);
    CREATE TABLE main.ages (piece INTEGER PRIMARY KEY, items);
    CREATE TABLE main.meta (key PRIMARY KEY, value);
";

const INSERTS: [&str; 5] = [
    "INSERT OR REPLACE INTO main.shapes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    "INSERT OR REPLACE INTO main.bodies VALUES (?1, ?2, ?3)",
    "INSERT OR REPLACE INTO main.changes VALUES (?1, ?2, ?3)",
    "INSERT OR REPLACE INTO main.ages VALUES (?1, ?2)",
    "INSERT OR REPLACE INTO main.meta VALUES (?1, ?2)",
];

thread_local! {
    static DATABASE: Option<Connection> = Connection::open_in_memory()
        .and_then(|conn| conn.execute_batch(TABLES).map(|()| conn))
        .ok();
}

/// Loads an index from rows of any values, follows as more of them come, and reads the body
/// of each shape that was found.
pub fn rows(bytes: &[u8]) {
    DATABASE.with(|conn| {
        if let Some(conn) = conn {
            // What cannot be read is an error, and no more.
            let _ = load(conn, &mut Input(bytes));
            let emptied = ["shapes", "bodies", "changes", "ages", "meta"]
                .map(|table| conn.execute(&format!("DELETE FROM main.{table}"), []));
            assert!(emptied.iter().all(Result::is_ok), "{emptied:?}");
        }
    });
}

fn load(conn: &Connection, input: &mut Input<'_>) -> rusqlite::Result<()> {
    insert(conn, input)?;
    let options = Options { cache_bytes: 0, ..Options::new(Location::Memory) };
    let shared = Shared::new(options, Box::new(|_| ()), Box::new(|work| work()));
    let loader = Loader::of(&shared);
    let _ = Label::read(conn);
    let mut followed = loader.load_to_follow(conn)?;
    check(conn, &shared)?;
    insert(conn, input)?;
    loader.follow(conn, &mut followed)?;
    check(conn, &shared)
}

/// Each shape is found by what it has, and its body is what was written or is refused.
fn check(conn: &Connection, shared: &Shared) -> rusqlite::Result<()> {
    let ids: Vec<_> = shared.queue.lock().mutator.used().collect();
    let entries: Vec<_> = ids.into_iter().filter_map(|id| shared.index.get(id)).collect();
    assert_eq!(entries.len(), shared.index.count());
    for entry in entries {
        let by_digest = shared.index.by_digest(&entry.digest).map(|(_, there)| there);
        assert_eq!(by_digest.as_ref(), Some(&entry));
        let by_handle = shared.index.by_handle(&entry.handle).map(|(_, there)| there);
        assert_eq!(by_handle.as_ref(), Some(&entry));
        for oid in &entry.oids {
            let handles = shared.index.for_relations(&[*oid], usize::MAX).unwrap_or_default();
            assert!(handles.contains(&entry.handle), "{entry:?} by {oid}");
        }
        if let Stored::Whole(body) = row::read_body(conn, &entry)? {
            let packed = shared.dictionary.pack(&body);
            let bytes = |body| shared.dictionary.unpack(body, &mut Vec::new()).to_vec();
            assert_eq!(bytes(&packed), bytes(&body));
        }
    }
    Ok(())
}

fn insert(conn: &Connection, input: &mut Input<'_>) -> rusqlite::Result<()> {
    while let Some(sql) = input.byte().and_then(|table| INSERTS.get(usize::from(table))) {
        let mut statement = conn.prepare_cached(sql)?;
        for place in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(place, input.value())?;
        }
        // One that cannot be written is none of a file's.
        let _ = statement.raw_execute();
    }
    Ok(())
}

/// What is left of the input.
struct Input<'b>(&'b [u8]);

impl Input<'_> {
    fn byte(&mut self) -> Option<u8> {
        let (byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*byte)
    }

    fn number<const SIZE: usize>(&mut self) -> i64 {
        let (number, rest) = self.0.split_first_chunk::<SIZE>().unwrap_or((&[0; SIZE], &[]));
        self.0 = rest;
        number.iter().fold(0, |number, byte| number << 8 | i64::from(*byte))
    }

    fn bytes<const SIZE: usize>(&mut self) -> Vec<u8> {
        let len = usize::try_from(self.number::<SIZE>()).unwrap_or(0).min(self.0.len());
        let (bytes, rest) = self.0.split_at(len);
        self.0 = rest;
        bytes.to_vec()
    }

    fn value(&mut self) -> Value {
        match self.byte() {
            Some(b'1') => Value::Integer(self.number::<1>()),
            Some(b'8') => Value::Integer(self.number::<8>()),
            Some(b'.') => Value::Real(f64::from_bits(self.number::<8>().unsigned_abs())),
            Some(b't') => Value::Text(String::from_utf8_lossy(&self.bytes::<1>()).into_owned()),
            Some(b'b') => Value::Blob(self.bytes::<1>()),
            Some(b'B') => Value::Blob(self.bytes::<2>()),
            // Many times the same, for what is as long as a file may have it.
            Some(b'*') => Value::Blob(self.bytes::<1>().repeat(self.number::<2>() as usize)),
            _ => Value::Null,
        }
    }
}

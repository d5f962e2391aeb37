//! Taking over an older file, once, into an empty one of ours.

use std::{
    collections::HashMap,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Row, Transaction, params};
use tracing::{info, warn};

use crate::{
    body::checksum,
    entry::{Digest, Entry, Handle, MAX_HANDLE, MAX_OIDS, Oid, Oids, RowId, Snapshot},
    error::OpenError,
    options::{Options, Source, SourceSchema},
    schema::{self, Insert},
};

/// How many rows are verified at a time.
const CHUNK: usize = 256;

/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(1);

/// A row whose digest has to be computed anew from its body.
pub struct Unverified {
    /// The serialised shape.
    pub body: Vec<u8>,
    /// Its digest, as it was stored.
    pub comparable: Vec<u8>,
    /// The host's hash, as it was stored.
    pub hash: u32,
}

/// Computes digests from bodies, for rows of another OTP release: one answer a
/// row, none for a row that does not verify. The error says why it cannot.
pub type Verify = Box<dyn FnMut(Vec<Unverified>) -> Result<Vec<Option<Digest>>, String> + Send>;

/// What a take-over brought.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Imported {
    /// Shapes that are ours now.
    pub shapes: u64,
    /// Shapes that did not verify and were left out.
    pub left_out: u64,
}

/// Copies every shape of `source` into the tables that `tx` has just made. The
/// source is opened for reading only and stays as it is, log and all.
pub(crate) fn import(
    tx: &Transaction<'_>,
    source: &Source,
    verify: &mut Verify,
) -> Result<Imported, OpenError> {
    copy(tx, source, verify)
        .map_err(|failure| OpenError::Import { path: source.path.clone(), reason: failure.0 })
}

fn copy(tx: &Transaction<'_>, source: &Source, verify: &mut Verify) -> Result<Imported, Failure> {
    let old = Connection::open_with_flags(
        &source.path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    old.busy_timeout(Duration::from_secs(5))?;
    check_version(&old, source.schema)?;
    let snapshot = old.unchecked_transaction()?;
    let mut importer = Importer {
        tx,
        insert: Insert::new(tx)?,
        source,
        verify,
        total: count(&snapshot)?,
        next_row: 1,
        done: Imported::default(),
        told: Instant::now(),
    };
    match source.schema {
        SourceSchema::Four => importer.run_four(&snapshot)?,
        SourceSchema::Five => importer.run_five(&snapshot)?,
    }
    importer.finish()
}

struct Failure(String);

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self(error.to_string())
    }
}

fn check_version(old: &Connection, schema: SourceSchema) -> Result<(), Failure> {
    let expected = match schema {
        SourceSchema::Four => 4,
        SourceSchema::Five => schema::SCHEMA_VERSION,
    };
    let version = schema::read_version(old)?;
    match version == expected {
        true => Ok(()),
        false => Err(Failure(format!("its schema version is {version}, not {expected}"))),
    }
}

struct Importer<'a> {
    tx: &'a Transaction<'a>,
    insert: Insert<'a>,
    source: &'a Source,
    verify: &'a mut Verify,
    total: i64,
    next_row: RowId,
    done: Imported,
    told: Instant,
}

/// A row of an older file.
struct Old {
    handle: Handle,
    body: Vec<u8>,
    comparable: Vec<u8>,
    hash: u32,
    snapshot: Snapshot,
    flags: u8,
    oids: Oids,
    /// Whether the row and its body are what was written.
    sound: bool,
}

impl Old {
    fn entry(&self, row: RowId, digest: Digest) -> Entry {
        Entry {
            row,
            handle: self.handle.clone(),
            digest,
            hash: self.hash,
            snapshot: self.snapshot,
            flags: self.flags,
            oids: self.oids.clone(),
        }
    }
}

impl Importer<'_> {
    fn run_four(&mut self, old: &Connection) -> Result<(), Failure> {
        let mut relations = relations_four(old)?;
        let sql = "SELECT handle, shape, comparable, hash, snapshot_complete FROM shapes \
                   ORDER BY rowid";
        self.run(old, sql, |row| {
            let handle = Handle::from_slice(row.get_ref(0)?.as_bytes()?);
            // Schema 4 counts 1 as complete; it did not keep "started" apart.
            let complete: i64 = row.get(4)?;
            Ok(Old {
                oids: relations.remove(&handle).unwrap_or_default(),
                handle,
                body: row.get_ref(1)?.as_bytes()?.to_vec(),
                comparable: row.get_ref(2)?.as_bytes()?.to_vec(),
                hash: row.get(3)?,
                snapshot: if complete == 0 { Snapshot::None } else { Snapshot::Complete },
                flags: 0,
                // Schema 4 does not tell.
                sound: true,
            })
        })
    }

    fn run_five(&mut self, old: &Connection) -> Result<(), Failure> {
        if let Some(version) = schema::read_flags_version(old)? {
            schema::write_meta(self.tx, schema::FLAGS_VERSION, version)?;
        }
        let sql = "SELECT s.handle, b.shape, s.comparable, s.hash, s.snapshot, s.relations, \
                   s.id, b.checksum, s.flags FROM shapes s JOIN bodies b ON b.id = s.id ORDER BY s.id";
        self.run(old, sql, |row| {
            let (snapshot, id, stored): (i64, i64, i64) = (row.get(4)?, row.get(6)?, row.get(7)?);
            let mut old = Old {
                handle: Handle::from_slice(row.get_ref(0)?.as_blob()?),
                body: row.get_ref(1)?.as_blob()?.to_vec(),
                comparable: row.get_ref(2)?.as_blob()?.to_vec(),
                hash: row.get(3)?,
                snapshot: Snapshot::from_number(snapshot.unsigned_abs()),
                flags: row.get::<_, i64>(8)? as u8,
                oids: schema::unpack_oids(row.get_ref(5)?.as_blob()?),
                sound: false,
            };
            let digest = <[u8; 32]>::try_from(old.comparable.as_slice()).ok().map(Digest);
            old.sound = digest.is_some_and(|digest| {
                checksum(&old.entry(id.unsigned_abs(), digest), &old.body) == stored as u64
            });
            Ok(old)
        })
    }

    fn run(
        &mut self,
        old: &Connection,
        sql: &str,
        mut read: impl FnMut(&Row<'_>) -> rusqlite::Result<Old>,
    ) -> Result<(), Failure> {
        let mut statement = old.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            let row = rows.next()?;
            let last = row.is_none();
            if let Some(row) = row {
                chunk.push(read(row)?);
            }
            if last || chunk.len() == CHUNK {
                self.take(std::mem::take(&mut chunk))?;
            }
            if last {
                return Ok(());
            }
        }
    }

    fn take(&mut self, chunk: Vec<Old>) -> Result<(), Failure> {
        let digests = self.digests(&chunk)?;
        for (old, digest) in chunk.into_iter().zip(digests) {
            match digest {
                Some(digest) if usable(&old) => {
                    self.write(old, digest)?;
                    self.done.shapes += 1;
                }
                _ => {
                    let handle = String::from_utf8_lossy(&old.handle);
                    warn!(%handle, "left out a shape of the older file that does not verify");
                    self.done.left_out += 1;
                }
            }
        }
        if self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            let done = self.done.shapes + self.done.left_out;
            info!(done, total = self.total, from = %self.source.path.display(), "taking over shapes");
        }
        Ok(())
    }

    fn digests(&mut self, chunk: &[Old]) -> Result<Vec<Option<Digest>>, Failure> {
        if self.source.verify && !chunk.is_empty() {
            let rows = chunk.iter().map(|old| Unverified {
                body: old.body.clone(),
                comparable: old.comparable.clone(),
                hash: old.hash,
            });
            let digests = (self.verify)(rows.collect()).map_err(Failure)?;
            return match digests.len() == chunk.len() {
                true => Ok(digests),
                false => Err(Failure("verification answered for another number of rows".into())),
            };
        }
        let stored = chunk.iter().map(|o| <[u8; 32]>::try_from(o.comparable.as_slice()).ok());
        Ok(stored.map(|digest| digest.map(Digest)).collect())
    }

    fn write(&mut self, old: Old, digest: Digest) -> rusqlite::Result<()> {
        let row = self.next_row;
        self.next_row += 1;
        let entry = old.entry(row, digest);
        self.insert.shape(&entry, entry.snapshot)?;
        self.insert.body(&entry, &old.body)
    }

    fn finish(self) -> Result<Imported, Failure> {
        self.tx
            .prepare_cached("UPDATE main.changes SET next_row = ?1")?
            .execute(params![self.next_row as i64])?;
        Ok(self.done)
    }
}

fn count(old: &Connection) -> rusqlite::Result<i64> {
    old.query_row("SELECT count(*) FROM shapes", [], |row| row.get(0))
}

fn usable(old: &Old) -> bool {
    old.sound
        && !old.handle.is_empty()
        && old.handle.len() <= MAX_HANDLE
        && old.oids.len() <= MAX_OIDS
}

fn relations_four(old: &Connection) -> Result<HashMap<Handle, Oids>, Failure> {
    let mut relations: HashMap<Handle, Oids> = HashMap::new();
    let mut statement = old.prepare("SELECT handle, oid FROM relations ORDER BY handle, oid")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let oid: Oid = row.get(1)?;
        let handle = row.get_ref(0)?.as_bytes().map_err(rusqlite::Error::from)?;
        relations.entry(Handle::from_slice(handle)).or_default().push(oid);
    }
    Ok(relations)
}

/// The source to take over: the first that is there.
pub(crate) fn first_present(sources: &[Source]) -> Option<&Source> {
    sources.iter().find(|source| source.path.is_file())
}

/// The key under which an import that is committed but not renamed yet names its
/// source.
pub(crate) const IMPORTED_FROM: &str = "imported_from";

/// Renames the source of a committed import, so that the version that wrote it
/// starts clean after a rollback, and notes that it is done. A source that is
/// gone was renamed before a crash.
pub(crate) fn finish_import(options: &Options, conn: &Connection) -> Result<(), OpenError> {
    let Ok(Some(path)) = schema::read_meta_bytes(conn, IMPORTED_FROM) else { return Ok(()) };
    let path = Path::new(OsStr::from_bytes(&path));
    if path.is_file() {
        crate::file::rename_database(
            &*options.system,
            path,
            &crate::file::beside(path, ".imported"),
        )?;
    }
    let forget = conn.execute("DELETE FROM main.meta WHERE key = ?1", params![IMPORTED_FROM]);
    forget.map(drop).map_err(|source| OpenError::Sqlite { path: path.to_path_buf(), source })
}

//! Taking over an older file, once, into an empty one of ours.

mod old;

use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt as _,
    path::Path,
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, Row, Transaction, params, types::Value};
use tracing::{info, warn};

use self::old::{Old, count, is_empty};
use crate::{
    entry::{Digest, Handle, MAX_HANDLE, RowId},
    error::OpenError,
    error_text::worded,
    file::{insert::Insert, schema},
    options::{Options, Source, SourceSchema},
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
    let snapshot = old.unchecked_transaction()?;
    if is_empty(&snapshot)? {
        return Ok(Imported::default());
    }
    check_version(&snapshot, source.schema)?;
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
        Self(worded(&error).to_string())
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

/// What is there of a row: all that we need of it, or its handle, if it has one.
type OldRow = Result<Old, Handle>;

impl Importer<'_> {
    fn run_four(&mut self, old: &Connection) -> Result<(), Failure> {
        let mut relations = old::relations_four(old)?;
        self.run(old, old::SHAPES_FOUR, |row, handle| old::read_four(row, handle, &mut relations))
    }

    fn run_five(&mut self, old: &Connection) -> Result<(), Failure> {
        if let Some(version) = schema::read_flags_version(old)? {
            schema::write_meta(self.tx, schema::FLAGS_VERSION, version)?;
        }
        self.run(old, old::SHAPES_FIVE, old::read_five)
    }

    /// Takes every row over. `read` makes what we need of a row with a handle, if it is
    /// all there and of the right kind.
    fn run(
        &mut self,
        old: &Connection,
        sql: &str,
        mut read: impl FnMut(&Row<'_>, Handle) -> Option<Old>,
    ) -> Result<(), Failure> {
        let mut read = |row: &Row<'_>| -> OldRow {
            let handle = row.get_ref(0).ok().and_then(|handle| handle.as_bytes().ok());
            let handle = Handle::from_slice(handle.unwrap_or_default());
            read(row, handle.clone()).filter(Old::is_usable).ok_or(handle)
        };
        let mut statement = old.prepare(sql)?;
        let mut rows = statement.query([])?;
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            let row = rows.next()?;
            let last = row.is_none();
            match row.map(&mut read) {
                Some(Ok(old)) => chunk.push(old),
                Some(Err(handle)) => self.leave_out(&handle),
                None => {}
            }
            if last || chunk.len() == CHUNK {
                self.take(std::mem::take(&mut chunk))?;
            }
            if last {
                return Ok(());
            }
        }
    }

    fn leave_out(&mut self, handle: &Handle) {
        let name = String::from_utf8_lossy(handle.get(..MAX_HANDLE).unwrap_or(handle));
        warn!(handle = %name, "left out a shape of the older file that does not verify");
        self.done.left_out += 1;
    }

    fn take(&mut self, chunk: Vec<Old>) -> Result<(), Failure> {
        let digests = self.digests(&chunk)?;
        for (old, digest) in chunk.into_iter().zip(digests) {
            match digest {
                Some(digest) => {
                    self.write(old, digest)?;
                    self.done.shapes += 1;
                }
                None => self.leave_out(&old.handle),
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

/// The source to take over: the first that is there and not empty, or the first that is
/// there.
pub(crate) fn first_present(sources: &[Source]) -> Option<&Source> {
    let has_bytes = |source: &&Source| fs::metadata(&source.path).is_ok_and(|file| file.len() > 0);
    let is_file = |source: &&Source| source.path.is_file();
    let mut files = sources.iter().filter(is_file);
    files.clone().find(has_bytes).or_else(|| files.next())
}

/// The key under which an import that is committed but not renamed yet names its
/// source.
pub(crate) const IMPORTED_FROM: &str = "imported_from";

/// A path as it is noted there, which need not be text.
pub(crate) fn noted(path: &Path) -> Value {
    match path.to_str() {
        Some(text) => Value::Text(text.into()),
        None => Value::Blob(path.as_os_str().as_bytes().into()),
    }
}

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

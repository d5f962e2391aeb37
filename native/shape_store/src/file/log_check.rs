//! Whether the write-ahead log is the one that was written.
//!
//! SQLite trusts the log beside a database that it has open: it writes on after what it
//! believes to be there, and reads the log from its beginning only after a crash. What
//! was cut off, or written to a log without a name, is missed then.

use std::{io, path::Path};

use rusqlite::Connection;

use super::{Opened, log_of, shared_memory_of};
use crate::{
    file::{
        fault::{Fault, Passing},
        schema,
    },
    system::{FileId, System},
};

/// A frame's own header, and the log's.
const FRAME_HEADER: u64 = 24;
const LOG_HEADER: u64 = 32;
/// A frame.
const FRAME: u64 = FRAME_HEADER + schema::PAGE_SIZE as u64;

/// What the log was when this connection had committed last.
#[derive(Debug)]
pub(crate) struct Log {
    id: FileId,
    shared_memory: FileId,
    /// How far it was filled.
    len: u64,
    /// Its first bytes, with the numbers drawn for it.
    header: [u8; LOG_HEADER as usize],
}

impl Log {
    /// A look at the log of a connection that is in no transaction; none while there is no
    /// log.
    pub(crate) fn look(
        system: &dyn System,
        path: &Path,
        conn: &Connection,
    ) -> Result<Option<Self>, LogError> {
        let mut doubts = 0;
        loop {
            let len = filled(conn)?;
            match Self::read(system, path, len) {
                // Between the two looks it was emptied by another's checkpoint.
                Err(_) if filled(conn)? < len => {}
                // Or it was emptied, and filled again as far since: what is amiss stays so.
                Err(LogError::Lost(_)) if doubts < 2 => doubts += 1,
                looked => return looked,
            }
        }
    }

    /// Opens a connection, and takes note of the log that it has. Shared memory that was
    /// there before and is there after is the one it uses; one that came meanwhile may be of
    /// somebody who came after its own was removed, and only opening it again tells.
    pub(crate) fn opened(
        system: &dyn System,
        path: &Path,
        open: impl Fn() -> Result<Opened, Fault>,
    ) -> Result<(Opened, Option<Self>), Fault> {
        for _ in 0..3 {
            let memory = system.stat(&shared_memory_of(path))?.map(|there| there.id);
            let opened = open()?;
            let log = Self::look(system, path, &opened.conn)?;
            if log.as_ref().is_none_or(|log| Some(log.shared_memory) == memory) {
                return Ok((opened, log));
            }
        }
        Err(Passing::Turn.into())
    }

    /// What there is of a log that is filled so far.
    fn read(system: &dyn System, path: &Path, len: u64) -> Result<Option<Self>, LogError> {
        let Some(log) = system.stat(&log_of(path))? else {
            return if len == 0 { Ok(None) } else { Err(LogError::Lost("it is gone")) };
        };
        let Some(memory) = system.stat(&shared_memory_of(path))? else {
            return Err(LogError::Lost("its shared memory is gone"));
        };
        if log.len < len {
            return Err(LogError::Lost("it was cut"));
        }
        let mut header = [0; LOG_HEADER as usize];
        if len > 0 {
            system.read_at(&log_of(path), 0, &mut header)?;
            if header == [0; LOG_HEADER as usize] {
                return Err(LogError::Lost("its beginning is gone"));
            }
        }
        Ok(Some(Self { id: log.id, shared_memory: memory.id, len, header }))
    }

    /// Whether what is beside the file is still the log, and its shared memory, of then.
    pub(crate) fn is_there(&self, system: &dyn System, path: &Path) -> io::Result<bool> {
        let there = system.stat(&log_of(path))?;
        Ok(there.map(|there| there.id) == Some(self.id) && self.has_memory(system, path)?)
    }

    /// Whether the shared memory of then is still there.
    pub(crate) fn has_memory(&self, system: &dyn System, path: &Path) -> io::Result<bool> {
        let there = system.stat(&shared_memory_of(path))?;
        Ok(there.map(|there| there.id) == Some(self.shared_memory))
    }

    /// Whether the log is still there as it was. Another's checkpoint may have emptied it,
    /// which SQLite itself knows of.
    pub(crate) fn check(
        &self,
        system: &dyn System,
        path: &Path,
        conn: &Connection,
    ) -> Result<(), LogError> {
        let there = system.stat(&log_of(path))?;
        if there.map(|there| there.id) != Some(self.id) {
            return Err(LogError::Lost("it is gone, or another is in its place"));
        }
        if !self.has_memory(system, path)? {
            return Err(LogError::Lost("its shared memory is gone, or another is in its place"));
        }
        if there.is_some_and(|there| there.len < self.len) && filled(conn)? >= self.len {
            // Unless it was emptied, and filled again as far since.
            Self::look(system, path, conn)?;
        }
        Ok(())
    }

    /// Whether the last frame of then is whole, by SQLite's own checksum of it, unless the log
    /// was begun again: <https://sqlite.org/fileformat2.html#the_write_ahead_log>.
    pub(crate) fn check_last_frame(
        &self,
        system: &dyn System,
        path: &Path,
    ) -> Result<(), LogError> {
        let Some(start) = self.len.checked_sub(FRAME).filter(|start| *start >= LOG_HEADER) else {
            return Ok(());
        };
        let read = |at, buffer: &mut [u8]| system.read_at(&log_of(path), at, buffer);
        let mut header = [0; LOG_HEADER as usize];
        read(0, &mut header)?;
        if header != self.header {
            return Ok(());
        }
        // It continues that of the frame before, or of the log's header.
        let before = if start == LOG_HEADER { LOG_HEADER - 8 } else { start - FRAME + 16 };
        let mut sum = [0; 8];
        read(before, &mut sum)?;
        let mut frame = vec![0; FRAME as usize];
        read(start, &mut frame)?;
        let Some((head, page)) = frame.split_at_checked(FRAME_HEADER as usize) else {
            return Ok(());
        };
        let (summed, sums) = head.split_at(8);
        let big_endian = header[3] & 1 == 1;
        let sum = checksum(checksum(words(&sum, true), summed, big_endian), page, big_endian);
        match sums.ends_with(&sum.map(u32::to_be_bytes).concat()) {
            true => Ok(()),
            false => Err(LogError::Lost("it was cut")),
        }
    }

    /// Whether what was there before a commit is there after it: what is cut in between is
    /// filled with nothing up to where the commit wrote.
    pub(crate) fn check_before(
        &self,
        now: &Self,
        system: &dyn System,
        path: &Path,
        conn: &Connection,
    ) -> Result<(), LogError> {
        if now.id != self.id || now.shared_memory != self.shared_memory {
            return Err(LogError::Lost("another is in its place"));
        }
        // Otherwise it was begun again from its start.
        if self.len > 0 && now.header == self.header && now.len > self.len {
            let last = self.len - FRAME;
            let mut frame = [0; FRAME_HEADER as usize];
            system.read_at(&log_of(path), last, &mut frame)?;
            // Unless another's checkpoint has emptied it since.
            if frame == [0; FRAME_HEADER as usize] && filled(conn)? >= now.len {
                return Err(LogError::Lost("it was cut"));
            }
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error("the write-ahead log is not what was written: {0}")]
    Lost(&'static str),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Two words of four bytes.
fn words(bytes: &[u8; 8], big_endian: bool) -> [u32; 2] {
    let [a, b, c, d, e, f, g, h] = *bytes;
    let word = if big_endian { u32::from_be_bytes } else { u32::from_le_bytes };
    [word([a, b, c, d]), word([e, f, g, h])]
}

/// SQLite's checksum, continued over whole pairs of words.
fn checksum(sum: [u32; 2], bytes: &[u8], big_endian: bool) -> [u32; 2] {
    bytes.as_chunks().0.iter().fold(sum, |[first, second], pair| {
        let [even, odd] = words(pair, big_endian);
        let first = first.wrapping_add(even).wrapping_add(second);
        [first, second.wrapping_add(odd).wrapping_add(first)]
    })
}

/// How much of the log is in use, as SQLite knows it.
fn filled(conn: &Connection) -> rusqlite::Result<u64> {
    // The second of its answers is the number of frames; -1 without a log.
    let frames: i64 =
        conn.prepare_cached("PRAGMA main.wal_checkpoint(NOOP)")?.query_row([], |row| row.get(1))?;
    Ok(match u64::try_from(frames) {
        Ok(frames) if frames > 0 => LOG_HEADER + frames * FRAME,
        _ => 0,
    })
}

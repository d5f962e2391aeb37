//! When shapes were last read, in the file: as ages, since clocks start anew with the VM.
//!
//! They are written all at once, by the writer between two batches, now and then and at
//! the end. So they are a little behind after a crash, and the time that a store was not
//! open does not count: nobody could have read anything.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tracing::warn;

use crate::{
    clock::Clock,
    entry::RowId,
    error_text::worded,
    file::{Label, fault::Fault, schema},
    index::touch::Stamp,
    shared::Shared,
};

/// How many rows share a row of the table: as many as the upper 16 bits of an item tell
/// apart.
const PIECE_BITS: u32 = 16;
const AGE_BITS: u32 = 48;

/// How long ago each shape was read, of those that ever were.
pub(crate) struct Ages {
    /// By the upper bits of the row; each in the order of rows. An item is the lower bits of
    /// a row over its age in microseconds, up to nine years.
    pieces: Vec<(RowId, Vec<u64>)>,
    /// Where the next one is that is likely to be asked for: after the last that was.
    next: AtomicUsize,
}

impl Ages {
    /// The ages of an index, now.
    pub(crate) fn of(shared: &Shared) -> Self {
        let Shared { index, clock, queue, .. } = shared;
        let ids = queue.lock().mutator.used();
        let now = clock.now();
        let age = |stamp: Stamp| {
            let read = stamp.time().unwrap_or(now);
            clock.to_micros(now.saturating_sub(read)).min((1 << AGE_BITS) - 1)
        };
        let mut rows: Vec<_> = index.read_rows(ids).collect();
        rows.sort_unstable();
        let pieces = rows.chunk_by(|(one, _), (other, _)| piece_of(*one) == piece_of(*other));
        let pieces = pieces.filter_map(|rows| {
            let item = |(row, stamp): &(RowId, Stamp)| row << AGE_BITS | age(*stamp);
            Some((piece_of(rows.first()?.0), rows.iter().map(item).collect()))
        });
        Self { pieces: pieces.collect(), next: AtomicUsize::new(0) }
    }

    /// Puts these ages in place of those in the file.
    pub(crate) fn write(&self, tx: &Connection) -> rusqlite::Result<()> {
        tx.prepare_cached(schema::DELETE_AGES)?.execute([])?;
        let mut insert = tx.prepare_cached(schema::INSERT_AGES)?;
        for (piece, items) in &self.pieces {
            let bytes: Vec<u8> = items.iter().flat_map(|item| item.to_le_bytes()).collect();
            insert.execute(params![*piece as i64, bytes])?;
        }
        Ok(())
    }

    /// The ages in the file.
    pub(crate) fn read(tx: &Connection) -> rusqlite::Result<Self> {
        let mut read = tx.prepare_cached(schema::READ_AGES)?;
        let pieces = read.query_map([], |row| {
            let (items, _) = row.get_ref(1)?.as_blob()?.as_chunks::<8>();
            let items = items.iter().map(|item| u64::from_le_bytes(*item)).collect();
            Ok((row.get::<_, i64>(0)?.unsigned_abs(), items))
        })?;
        let pieces = pieces.collect::<rusqlite::Result<_>>()?;
        Ok(Self { pieces, next: AtomicUsize::new(0) })
    }

    fn of_row(&self, row: RowId) -> Option<u64> {
        let key = |(piece, _): &(RowId, Vec<u64>)| *piece;
        let piece = self.pieces.binary_search_by_key(&piece_of(row), key).ok()?;
        let (_, items) = self.pieces.get(piece)?;
        let lower = row << AGE_BITS >> AGE_BITS;
        // Rows come in their order, mostly, and so they are here.
        let next = self.next.load(Relaxed);
        let place = match items.get(next) {
            Some(item) if item >> AGE_BITS == lower => next,
            _ => items.binary_search_by_key(&lower, |item| item >> AGE_BITS).ok()?,
        };
        self.next.store(place + 1, Relaxed);
        Some(items.get(place)? & ((1 << AGE_BITS) - 1))
    }
}

/// When a shape was last read: what is written again only when something was read since.
pub(crate) fn latest_read(shared: &Shared) -> Stamp {
    let ids = shared.queue.lock().mutator.used();
    shared.index.latest_read(ids)
}

/// Writes them in a transaction of its own, unless another has become the writer.
pub(crate) fn save(conn: &Connection, shared: &Shared, epoch: i64) -> Result<(), Fault> {
    let ages = Ages::of(shared);
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    if Label::read(&tx)?.epoch != epoch {
        return Err(Fault::Fenced);
    }
    ages.write(&tx)?;
    Ok(tx.commit()?)
}

fn piece_of(row: RowId) -> RowId {
    row >> PIECE_BITS
}

/// What tells when a shape that is loaded was last read: at this moment, unless the file
/// says how long before.
pub(crate) struct LastRead<'a> {
    now: i64,
    ages: Option<(Ages, &'a Clock)>,
}

impl<'a> LastRead<'a> {
    /// Goes by what the file says, if it is to be asked. Ages that cannot be read cost a
    /// warning, not the file.
    pub(crate) fn kept(tx: &Transaction<'_>, clock: &'a Clock, keep: bool) -> Self {
        let read = || {
            let read = Ages::read(tx);
            let told = |error: &_| {
                warn!(reason = %worded(error), "cannot read when shapes were last read");
            };
            read.inspect_err(told).ok()
        };
        let ages = if keep { read() } else { None };
        Self { now: clock.now(), ages: ages.map(|ages| (ages, clock)) }
    }

    /// Says of all that they were read at this moment.
    pub(crate) fn now(clock: &Clock) -> Self {
        Self { now: clock.now(), ages: None }
    }

    pub(crate) fn of(&self, row: RowId) -> Stamp {
        let age =
            self.ages.as_ref().and_then(|(ages, clock)| Some(clock.of_micros(ages.of_row(row)?)));
        Stamp::at(self.now.saturating_sub(age.unwrap_or(0)))
    }
}

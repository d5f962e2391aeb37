//! The shapes of a file, some at a time, past what cannot be read.
//!
//! Rows are read by ranges of ids. A range in which SQLite meets a bad page is cut in two,
//! the larger ones first, so that what lies before, between and after bad pages is reached
//! before the number of tries runs out. Of a file that may be damaged, what no range leads to
//! is looked for in the pages themselves, at the end.

mod tables;

use std::{collections::VecDeque, path::PathBuf};

use rusqlite::Connection;

use self::tables::{End, first, last, read_new, read_old};
use super::{
    carve::{Carving, covers},
    row::{Condition, Row},
    source::Source,
};
use crate::file::fault::is_busy;

/// How often SQLite may meet a bad page before the rest is given up. Each costs some
/// microseconds, and a page has up to some hundred rows.
const MOST_FAILURES: u64 = 200_000;

/// Where the reading of a file is.
pub(crate) struct Rows {
    old: bool,
    ranges: VecDeque<(i64, i64)>,
    failures: u64,
    /// Ids at which no row could be read; whether there was one is not known.
    pub(crate) unreadable_ids: u64,
    /// Where the file is whose pages are to be looked through, if they are.
    pages: Option<PathBuf>,
    lost: Vec<(i64, i64)>,
    unread: Vec<Row>,
    carving: Option<Carving>,
}

impl Rows {
    /// From the first row on.
    pub(crate) fn of(source: &Source) -> Self {
        let range = (first(source), last(source));
        let mut ranges = VecDeque::new();
        if range.0 <= range.1 {
            ranges.push_back(range);
        }
        Self {
            old: source.is_old(),
            ranges,
            failures: 0,
            unreadable_ids: 0,
            pages: source.pages(),
            lost: Vec::new(),
            unread: Vec::new(),
            carving: None,
        }
    }

    /// Whether there are no more rows.
    pub(crate) fn is_done(&self) -> bool {
        self.ranges.is_empty() && self.pages.is_none() && self.carving.is_none()
    }

    /// The next rows, at most so many; none when there are no more. An error is one of
    /// somebody's lock.
    pub(crate) fn next(&mut self, conn: &Connection, limit: usize) -> rusqlite::Result<Vec<Row>> {
        let mut rows = Vec::new();
        while rows.len() < limit
            && let Some((from, to)) = self.ranges.pop_front()
        {
            let room = limit - rows.len();
            let (mut read, end) = self.read(conn, from, to, room);
            let next = read.last().map_or(Some(from), |row| row.id.checked_add(1));
            self.keep(&mut read, &mut rows);
            let Some(next) = next.filter(|next| *next <= to) else { continue };
            match end {
                End::Range => {}
                End::Limit => self.ranges.push_front((next, to)),
                End::Failed(error) if is_busy(&error) => {
                    self.ranges.push_front((next, to));
                    if rows.is_empty() {
                        return Err(error);
                    }
                    break;
                }
                End::Failed(_) => self.split(next, to),
            }
        }
        while rows.is_empty() && self.ranges.is_empty() && !self.is_done() {
            self.carve(limit, &mut rows);
        }
        Ok(rows)
    }

    /// Rows whose bodies are looked for once more come at the end.
    fn keep(&mut self, read: &mut Vec<Row>, into: &mut Vec<Row>) {
        for row in read.drain(..) {
            match row.condition {
                Condition::Unreadable if self.pages.is_some() => self.unread.push(row),
                _ => into.push(row),
            }
        }
    }

    fn carve(&mut self, limit: usize, into: &mut Vec<Row>) {
        if let Some(pages) = self.pages.take()
            && !(self.lost.is_empty() && self.unread.is_empty())
        {
            merge(&mut self.lost);
            let unread = std::mem::take(&mut self.unread);
            match Carving::begin(&pages, &self.lost, unread.clone()) {
                Ok(carving) => self.carving = Some(carving),
                Err(_) => into.extend(unread),
            }
            return;
        }
        let Some(mut carving) = self.carving.take() else { return };
        into.extend(carving.next(limit));
        match into.is_empty() {
            true => into.extend(carving.rest()),
            false => self.carving = Some(carving),
        }
        // What was found there is an id that something was read at after all.
        let lost = |row: &&Row| covers(&self.lost, row.id);
        self.unreadable_ids -= (into.iter().filter(lost).count() as u64).min(self.unreadable_ids);
    }

    /// A range in which something cannot be read.
    fn split(&mut self, from: i64, to: i64) {
        self.failures += 1;
        if from == to || self.failures > MOST_FAILURES {
            self.unreadable_ids += to.abs_diff(from).saturating_add(1);
            self.lost.push((from, to));
            return;
        }
        // Each of the two fits into an `i64`, and their sum may not.
        let middle = from + ((to.abs_diff(from) / 2) as i64);
        // At the end, so that what was split less often comes before.
        self.ranges.push_back((from, middle));
        self.ranges.push_back((middle + 1, to));
    }

    fn read(&self, conn: &Connection, from: i64, to: i64, limit: usize) -> (Vec<Row>, End) {
        let mut rows = Vec::new();
        let end = match self.old {
            true => read_old(conn, from, to, limit, &mut rows),
            false => read_new(conn, from, to, limit, &mut rows),
        };
        (rows, end.unwrap_or_else(End::Failed))
    }
}

/// Puts ranges in order, those that touch into one.
fn merge(ranges: &mut Vec<(i64, i64)>) {
    ranges.sort_unstable();
    ranges.dedup_by(|next, before| {
        let touch = next.0 <= before.1.saturating_add(1);
        if touch {
            before.1 = before.1.max(next.1);
        }
        touch
    });
}

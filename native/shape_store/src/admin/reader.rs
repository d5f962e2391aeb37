//! A file, open for somebody who takes its shapes some at a time.

use std::path::Path;

use super::{Access, AdminError, Row, Summary, inspect, rows::Rows, source::Source};
use crate::system::System;

/// An open file and how far it was read.
pub struct Reader {
    source: Source,
    rows: Rows,
}

impl Reader {
    /// Opens a file of schema 4 or 5.
    pub fn open(system: &dyn System, path: &Path, access: Access) -> Result<Self, AdminError> {
        Ok(Self::over(Source::open(system, path, access)?))
    }

    /// Opens a file of which some can be read.
    pub fn open_damaged(system: &dyn System, path: &Path) -> Result<Self, AdminError> {
        Ok(Self::over(Source::open_damaged(system, path)?))
    }

    fn over(source: Source) -> Self {
        let rows = Rows::of(&source);
        Self { source, rows }
    }

    /// The schema of the file.
    pub fn version(&self) -> i64 {
        self.source.version
    }

    /// What the file has, in numbers. Reads the narrow rows.
    pub fn summary(&self) -> Result<Summary, AdminError> {
        inspect::summary(&self.source)
    }

    /// The next shapes, at most so many. None when there are no more.
    pub fn next(&mut self, limit: usize) -> Result<Vec<Row>, AdminError> {
        self.rows.next(&self.source.conn, limit.max(1)).map_err(self.source.failed())
    }

    /// Ids at which nothing could be read so far. Whether there was a shape is not known.
    pub fn unreadable_ids(&self) -> u64 {
        self.rows.unreadable_ids
    }
}

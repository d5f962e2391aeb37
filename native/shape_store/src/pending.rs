//! What is acknowledged but not committed, by row: bodies that are nowhere else
//! yet, and the names of shapes whose removal is on its way.

use papaya::{HashMap, Operation};

use crate::{
    entry::{Handle, RowId},
    queue::Body,
    slab::EntryId,
};

#[derive(Default)]
pub(crate) struct Pending {
    rows: HashMap<RowId, Row>,
}

enum Row {
    Added { id: EntryId, body: Body },
    Removed { handle: Box<[u8]> },
}

impl Pending {
    /// The body of a row that is not committed.
    pub(crate) fn body(&self, row: RowId) -> Option<Body> {
        match self.rows.pin().get(&row)? {
            Row::Added { body, .. } => Some(Body::clone(body)),
            Row::Removed { .. } => None,
        }
    }

    pub(crate) fn holds(&self, row: RowId) -> bool {
        matches!(self.rows.pin().get(&row), Some(Row::Added { .. }))
    }

    pub(crate) fn added(&self, row: RowId, id: EntryId, body: Body) {
        self.rows.pin().insert(row, Row::Added { id, body });
    }

    pub(crate) fn removed(&self, row: RowId, handle: &Handle) {
        self.rows.pin().insert(row, Row::Removed { handle: handle.as_slice().into() });
    }

    /// The add of this row is committed. Its removal may be on its way already,
    /// and then goes on waiting for its own commit.
    pub(crate) fn add_committed(&self, row: RowId) -> bool {
        let rows = self.rows.pin();
        let outcome = rows.compute(row, |there| match there {
            Some((_, Row::Added { .. })) => Operation::Remove,
            _ => Operation::Abort(()),
        });
        matches!(outcome, papaya::Compute::Removed(..))
    }

    /// Whatever was known of this row is done with.
    pub(crate) fn forget(&self, row: RowId) {
        self.rows.pin().remove(&row);
    }

    /// Nothing of it will be committed.
    pub(crate) fn clear(&self) {
        self.rows.pin().clear();
    }

    /// The ids of the entries whose adds are not committed.
    pub(crate) fn added_ids(&self) -> Vec<(RowId, EntryId)> {
        let rows = self.rows.pin();
        let added = rows.iter().filter_map(|(row, what)| match what {
            Row::Added { id, .. } => Some((*row, *id)),
            Row::Removed { .. } => None,
        });
        added.collect()
    }

    /// The handles of removals that are not committed.
    pub(crate) fn removed_handles(&self) -> Vec<Handle> {
        let rows = self.rows.pin();
        let removed = rows.iter().filter_map(|(_, what)| match what {
            Row::Added { .. } => None,
            Row::Removed { handle } => Some(Handle::from_slice(handle)),
        });
        removed.collect()
    }
}

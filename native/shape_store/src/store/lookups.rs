//! Lookups, and what is pending. The bodies are in `bodies.rs`.

use std::path::PathBuf;

use super::Store;
use crate::{
    entry::{Digest, Entry, Handle, Oid},
    error::OpenError,
    file::handle_list::write_list,
};

impl Store {
    /// The handle of the shape with this digest.
    pub fn handle_for(&self, digest: &Digest) -> Option<Handle> {
        self.shared.index.by_digest(digest).map(|(_, entry)| entry.handle)
    }

    /// All the index knows of a shape.
    pub fn entry(&self, handle: &[u8]) -> Option<Entry> {
        self.shared.index.by_handle(handle).map(|(_, entry)| entry)
    }

    /// Whether there is one connection for everything.
    pub fn is_exclusive(&self) -> bool {
        self.shared.options.exclusive
    }

    /// How many shapes there are.
    pub fn count(&self) -> usize {
        self.shared.index.count()
    }

    /// The handles of all shapes that read one of these tables, sorted, without
    /// repetition. `None` when there are more than `limit`.
    pub fn handles_for_relations(&self, oids: &[Oid], limit: usize) -> Option<Vec<Handle>> {
        self.shared.index.for_relations(oids, limit)
    }

    /// Whether the shape's add is not committed.
    pub fn is_pending(&self, entry: &Entry) -> bool {
        self.shared.pending.holds(entry.row)
    }

    /// Whether the removal of a shape with this handle is not committed, and no shape
    /// has it again.
    pub fn is_removal_pending(&self, handle: &[u8]) -> bool {
        self.shared.pending.is_removed(handle) && self.entry(handle).is_none()
    }

    /// The shapes whose adds are not committed, in no order. Looks at each.
    pub fn pending_entries(&self) -> Vec<Entry> {
        let added = self.shared.pending.added_ids();
        let entries = added
            .into_iter()
            .filter_map(|(row, id)| self.shared.index.get(id).filter(|entry| entry.row == row));
        entries.collect()
    }

    /// The handles without a shape whose removal is not committed, in no order.
    /// Looks at each.
    pub fn pending_removals(&self) -> Vec<Handle> {
        let mut handles = self.shared.pending.removed_handles();
        handles.retain(|handle| self.shared.index.by_handle(handle).is_none());
        handles
    }

    /// Names the adds and removals that are not committed in a file beside the database, and
    /// says where and how many; none when there are none, or no file.
    ///
    /// Touches the disk, which may be why they are not committed.
    pub fn list_pending(&self) -> Result<Option<(PathBuf, usize)>, OpenError> {
        let adds = self.pending_entries().into_iter().map(|entry| ("add", entry.handle));
        let removals = self.pending_removals().into_iter().map(|handle| ("remove", handle));
        let lines: Vec<_> = adds.chain(removals).collect();
        if lines.is_empty() || !self.shared.has_file() {
            return Ok(None);
        }
        let count = lines.len();
        let system = &*self.shared.options.system;
        let path = write_list(system, self.shared.path(), "not-committed", lines.into_iter())?;
        Ok(Some((path, count)))
    }

    /// Operations queued and not committed.
    pub fn pending_ops(&self) -> usize {
        self.shared.queue.lock().size().ops
    }

    /// Queued adds less queued removes.
    pub fn pending_count_diff(&self) -> i64 {
        self.shared.queue.lock().count_diff()
    }
}

//! A shape as a file has it, sound or not.

use crate::entry::{Digest, Entry, Handle, MAX_HANDLE, MAX_OIDS, Oid, Snapshot};

/// What is known of a shape that was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    /// It is what was written.
    Sound,
    /// It was read, and the schema has nothing to verify it by: the host's module has.
    Unverified,
    /// Its row, or its body, is not what was written.
    Damaged,
    /// It has no body.
    Bodiless,
    /// Its body cannot be read.
    Unreadable,
}

/// A shape as a file has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Its row id.
    pub id: i64,
    /// Its handle.
    pub handle: Vec<u8>,
    /// Its digest: 32 bytes, in a sound row.
    pub digest: Vec<u8>,
    /// The host's hash of it.
    pub hash: i64,
    /// 0 none, 1 started, 2 complete.
    pub snapshot: i64,
    /// The host's flags of it.
    pub flags: u8,
    /// The tables it reads.
    pub oids: Vec<Oid>,
    /// Its definition, serialised; empty where there is none.
    pub body: Vec<u8>,
    /// What is known of it.
    pub condition: Condition,
}

impl Row {
    /// The row as a store has it, under this id; none for one that a store would not take.
    pub(crate) fn entry(&self, id: i64) -> Option<Entry> {
        let fits = !self.handle.is_empty()
            && self.handle.len() <= MAX_HANDLE
            && self.oids.len() <= MAX_OIDS;
        Some(Entry {
            row: id.unsigned_abs(),
            handle: Handle::from_slice(&self.handle),
            digest: Digest(<[u8; 32]>::try_from(self.digest.as_slice()).ok()?),
            hash: u32::try_from(self.hash).ok()?,
            snapshot: Snapshot::from_number(self.snapshot.unsigned_abs()),
            flags: self.flags,
            oids: self.oids.iter().copied().collect(),
        })
        .filter(|_| fits)
    }

    /// Whether it may be served, or handed on.
    pub(crate) fn is_usable(&self) -> bool {
        matches!(self.condition, Condition::Sound | Condition::Unverified)
            && self.entry(self.id).is_some()
    }
}

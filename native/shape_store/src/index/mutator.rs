//! What only who changes the index has.

use std::ops::Range;

use crate::index::{
    slab::{EntryId, FreeIds},
    table::Owned,
};

/// The right to change the index: every function that does takes it mutably, and the
/// mutation lock guards it. With it goes what no reader looks at.
#[derive(Default)]
pub(crate) struct Mutator {
    pub(super) free: FreeIds,
    pub(super) by_handle: Owned,
    pub(super) by_digest: Owned,
}

impl Mutator {
    /// All ids that were ever in use, vacant ones included.
    pub(crate) fn used(&self) -> Range<EntryId> {
        self.free.used()
    }
}

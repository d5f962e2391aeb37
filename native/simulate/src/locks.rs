//! Locks on one file.
//!
//! Between connections SQLite's unix VFS has POSIX locks for other processes and books of
//! its own for its own process. Both come to the same rules, so here each connection is a
//! holder, whatever process it is of.

use crate::disk::Holder;

/// SQLite's levels.
pub const NONE: i32 = 0;
/// Reads.
pub const SHARED: i32 = 1;
/// Means to write.
pub const RESERVED: i32 = 2;
/// Lets nobody new read.
pub const PENDING: i32 = 3;
/// Writes.
pub const EXCLUSIVE: i32 = 4;

/// Who has which lock on a file.
#[derive(Default, Debug)]
pub struct Locks {
    levels: Vec<(Holder, i32)>,
    /// flock(2): whether alone.
    flocks: Vec<(Holder, bool)>,
}

impl Locks {
    /// The level a connection has.
    pub fn level(&self, holder: Holder) -> i32 {
        self.levels.iter().find(|(of, _)| *of == holder).map_or(NONE, |(_, level)| *level)
    }

    fn others(&self, holder: Holder) -> i32 {
        let others = self.levels.iter().filter(|(of, _)| *of != holder);
        others.map(|(_, level)| *level).max().unwrap_or(NONE)
    }

    /// Raises a level; false when others are in the way.
    pub fn raise(&mut self, holder: Holder, to: i32) -> bool {
        let (has, others) = (self.level(holder), self.others(holder));
        if has >= to {
            return true;
        }
        let free = match to {
            SHARED => others < PENDING,
            RESERVED => others < RESERVED,
            // Readers have to leave first, and no new ones come meanwhile.
            _ if has == RESERVED && others <= SHARED => {
                self.set(holder, PENDING);
                others == NONE
            }
            _ => others == NONE,
        };
        if free {
            self.set(holder, to);
        }
        free
    }

    /// Lowers a level.
    pub fn lower(&mut self, holder: Holder, to: i32) {
        if self.level(holder) > to {
            self.set(holder, to);
        }
    }

    /// Whether anybody means to write.
    pub fn reserved(&self) -> bool {
        self.levels.iter().any(|(_, level)| *level > SHARED)
    }

    fn set(&mut self, holder: Holder, to: i32) {
        self.levels.retain(|(of, _)| *of != holder);
        if to > NONE {
            self.levels.push((holder, to));
        }
    }

    /// Gives up the flock that is held, and takes it anew; false when others are in the way.
    pub fn flock(&mut self, holder: Holder, alone: bool) -> bool {
        self.unflock(holder);
        let free = self.flocks.iter().all(|(_, theirs)| !theirs && !alone);
        if free {
            self.flocks.push((holder, alone));
        }
        free
    }

    /// Gives the flock up.
    pub fn unflock(&mut self, holder: Holder) {
        self.flocks.retain(|(of, _)| *of != holder);
    }

    /// All of those for whom this is true go.
    pub fn drop_all(&mut self, of: impl Fn(Holder) -> bool) {
        self.levels.retain(|(holder, _)| !of(*holder));
        self.flocks.retain(|(holder, _)| !of(*holder));
    }
}

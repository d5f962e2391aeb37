//! What stores have, and what they may find.

use std::collections::BTreeMap;

/// A shape that somebody added, in order of adding.
pub type ShapeId = usize;

/// A shape of a file that was damaged, which nobody added.
pub const STRANGER: ShapeId = usize::MAX;

/// What was added.
#[derive(Clone, Debug)]
pub struct Shape {
    /// Its name.
    pub handle: String,
    /// Its identity.
    pub digest: [u8; 32],
    /// Its body, if it is known.
    pub body: Option<Vec<u8>>,
    /// Where its store put it.
    pub row: u64,
}

/// A shape as a store has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Held {
    /// Which.
    pub shape: ShapeId,
    /// How far its snapshot has come, as the file is to have it.
    pub snapshot: u8,
    /// The host's eight bits.
    pub flags: u8,
}

/// What a store that became the writer found.
#[derive(Clone, Debug)]
pub struct Found {
    /// The epoch that it writes under.
    pub epoch: i64,
    /// The shapes.
    pub view: View,
    /// What their flags mean.
    pub version: Option<String>,
    /// The last number that it had given before.
    pub base: u64,
}

/// All that a store has.
pub type View = BTreeMap<String, Held>;

/// What somebody did to the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Harm {
    /// It may be damaged where that is not seen at once.
    pub damaged: bool,
    /// The writer there is has to notice before it says that anything more is durable.
    pub noticed: bool,
}

/// What a start may find.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trust {
    /// What the rules say.
    Sound,
    /// The power was lost where commits are not synced, and writes keep their order.
    Rolled,
    /// The file was replaced or damaged.
    Wild,
}

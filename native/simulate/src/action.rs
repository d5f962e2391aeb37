//! What may happen next.

use crate::chance::Chance;

/// The kinds of action.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[expect(missing_docs, reason = "they are what they are called")]
pub enum Kind {
    /// A machine goes on.
    Step,
    /// Time passes.
    Time,
    Add,
    /// Several adds.
    Crowd,
    Remove,
    Mark,
    MarkInMemory,
    Flag,
    Version,
    Touch,
    Cache,
    Suspect,
    ListPending,
    Reset,
    RemoveIncomplete,
    Unknown,
    Wait,
    CancelWait,
    Flush,
    Pause,
    Room,
    Body,
    AskBodies,
    List,
    AskReader,
    AskWriter,
    CancelAsk,
    UseLease,
    DropLease,
    Promote,
    Close,
    DropStore,
    Start,
    Kill,
    Power,
    Operator,
    Capacity,
    Look,
}

impl Kind {
    /// All of them, and how likely each is.
    pub const ALL: &'static [(Self, usize)] = &[
        (Self::Step, 40),
        (Self::Time, 12),
        (Self::Add, 16),
        (Self::Crowd, 2),
        (Self::Remove, 6),
        (Self::Mark, 6),
        (Self::MarkInMemory, 3),
        (Self::Flag, 4),
        (Self::Version, 1),
        (Self::Touch, 4),
        (Self::Cache, 1),
        (Self::Suspect, 1),
        (Self::ListPending, 1),
        (Self::Reset, 1),
        (Self::RemoveIncomplete, 1),
        (Self::Unknown, 1),
        (Self::Wait, 8),
        (Self::CancelWait, 1),
        (Self::Flush, 3),
        (Self::Pause, 1),
        (Self::Room, 2),
        (Self::Body, 5),
        (Self::AskBodies, 1),
        (Self::List, 1),
        (Self::AskReader, 1),
        (Self::AskWriter, 3),
        (Self::CancelAsk, 6),
        (Self::UseLease, 5),
        (Self::DropLease, 3),
        (Self::Promote, 5),
        (Self::Close, 1),
        (Self::DropStore, 1),
        (Self::Start, 8),
        (Self::Kill, 2),
        (Self::Power, 2),
        (Self::Operator, 5),
        (Self::Capacity, 1),
        (Self::Look, 4),
    ];

    /// Whether a history without it is one.
    pub fn may_be_left_out(self) -> bool {
        !matches!(self, Self::Step | Self::Time | Self::Add | Self::Start)
    }

    /// Whether it may happen in the middle of an operation. All may; these make the more
    /// of it.
    pub fn draw_nested(chance: &mut Chance, weights: &[(Self, usize)]) -> Self {
        match chance.below(4) {
            0 => Self::Step,
            1 => Self::Time,
            _ => Self::draw(chance, weights),
        }
    }

    /// One of them.
    pub fn draw(chance: &mut Chance, weights: &[(Self, usize)]) -> Self {
        chance.weighed(weights).unwrap_or(Self::Step)
    }
}

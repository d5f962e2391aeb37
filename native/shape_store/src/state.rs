//! What a store is doing with its file.

use crate::error::NotWritable;

/// What a store is doing with its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum State {
    /// Reading it.
    Opening = 0,
    /// Following another writer.
    Standby = 1,
    /// Writing it.
    Active = 2,
    /// Following another writer, which took the writing over from this one.
    Fenced = 3,
    /// Committing the rest.
    Closing = 4,
    /// Nothing any more.
    Closed = 5,
    /// Its writer died.
    Poisoned = 6,
}

impl State {
    pub(crate) fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Opening,
            1 => Self::Standby,
            2 => Self::Active,
            3 => Self::Fenced,
            4 => Self::Closing,
            5 => Self::Closed,
            _ => Self::Poisoned,
        }
    }

    pub(crate) fn writable(self) -> Result<(), NotWritable> {
        match self {
            Self::Active => Ok(()),
            Self::Opening => Err(NotWritable::Opening),
            Self::Standby => Err(NotWritable::Standby),
            Self::Fenced => Err(NotWritable::Fenced),
            Self::Closing | Self::Closed => Err(NotWritable::Closed),
            Self::Poisoned => Err(NotWritable::Poisoned),
        }
    }
}

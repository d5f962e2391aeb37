//! How far the writer may go.

use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Release},
};

use crate::queue::Seq;

pub(crate) struct Gate {
    /// Whether it waits for flushes.
    held: AtomicBool,
    /// Flushes allow it up to here all the same.
    flush_to: AtomicU64,
}

impl Gate {
    pub(crate) fn new(held: bool) -> Self {
        Self { held: AtomicBool::new(held), flush_to: AtomicU64::new(0) }
    }

    pub(crate) fn allows(&self) -> Seq {
        match self.held.load(Acquire) {
            true => self.wanted(),
            false => Seq::MAX,
        }
    }

    /// How far somebody waits for.
    pub(crate) fn wanted(&self) -> Seq {
        self.flush_to.load(Acquire)
    }

    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Release);
    }

    pub(crate) fn flush_to(&self, seq: Seq) {
        self.flush_to.fetch_max(seq, Release);
    }
}

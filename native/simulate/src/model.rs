//! What must hold.
//!
//! A store that becomes the writer begins a *reign*. What it found in the file is the
//! reign's start, and every change it takes is noted with its number. From that follows
//! what the file may hold: the start, and the changes up to some number that is neither
//! below the highest that was acknowledged as durable nor above the last one.
//!
//! What is not held against a store, and until when:
//!
//! | after | a start may find | until |
//! |---|---|---|
//! | a loss of power at `NORMAL`, with a log | what the file was at any earlier commit | that start |
//! | one at `OFF`, or at `NORMAL` in exclusive mode | anything; bodies may be gone, and none is another's | the file is moved aside or written anew |
//! | the file was deleted, or another put there | what is there | a writer wrote it anew or committed what it took later, or the next start |
//! | bytes changed or cut, the log or its memory removed, a copy put back | as above, and bodies may be gone | the file is moved aside or written anew |
//! | any of these while two writers have files of their own in mind, or while those who live cannot be seen (lock files removed) | as above | there is one of them |
//!
//! Who opens a file that is damaged meanwhile may say that it was moved aside when the next
//! one is sound again. One that still opens the file when another has taken it over, as its
//! lock files were removed, is no heir: it hears of the other with its first batch.
//!
//! A shape whose removal was acknowledged need not be there even if the removal is not: its
//! add is left out of the batch. A writer that another has replaced need not have bodies
//! that the other removed.

use std::collections::BTreeMap;

pub use crate::reign::{Change, Reign};
use crate::{
    failure::{Class, Failure},
    reign::Done,
};

mod found;
mod numbers;
mod start;

pub use self::found::{Found, Harm, Held, STRANGER, Shape, ShapeId, Trust, View};

/// What must hold.
#[derive(Debug)]
pub struct Model {
    /// All that were added.
    pub shapes: Vec<Shape>,
    reigns: Vec<Reign>,
    /// The reign whose file is the one there is.
    heir: usize,
    trust: Trust,
    /// Whether the file may be damaged where nobody has looked yet.
    damaged: bool,
    /// Whether all that was done to it is of the kinds that its writer has to notice with its
    /// next batch, and was done while there was one.
    mendable: bool,
    /// Whether the log's memory was removed from under the one store there is, which does no
    /// harm as long as nobody else comes.
    memory_gone: bool,
    /// Whether it was ever anything but sound.
    ever_shaken: bool,
    /// Whether somebody removed the lock files from under those who live, so that who comes
    /// does not see them.
    unseen: bool,
    /// How often somebody replaced or damaged the file.
    tampers: u64,
    /// How often it was sound again after that.
    mends: u64,
    /// Numbers up to this are not known to be of after the last replacement, by store.
    seen_at_tamper: BTreeMap<usize, u64>,
    rows: BTreeMap<u64, ShapeId>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            shapes: Vec::new(),
            reigns: Vec::new(),
            heir: 0,
            trust: Trust::Sound,
            damaged: false,
            mendable: false,
            memory_gone: false,
            ever_shaken: false,
            unseen: false,
            tampers: 0,
            mends: 0,
            seen_at_tamper: BTreeMap::new(),
            rows: BTreeMap::new(),
        }
    }
}

impl Model {
    /// How often somebody replaced or damaged the file.
    pub fn tampers(&self) -> u64 {
        self.tampers
    }

    /// How often the file was sound again.
    pub fn mends(&self) -> u64 {
        self.mends
    }

    /// A store that began to look at the file before it was sound again, as another closed or
    /// committed meanwhile, may go on with what it saw.
    pub fn distrust(&mut self) {
        self.trust = Trust::Wild;
    }

    /// How many reigns have begun.
    pub fn begun(&self) -> usize {
        self.reigns.len()
    }

    /// Whether the file, or what a store read of it, was ever anything but sound.
    pub fn is_shaken(&self) -> bool {
        self.ever_shaken
    }

    /// Whether the file is this reign's, as far as anybody knows.
    pub fn is_heir(&self, reign: usize) -> bool {
        self.heir == reign
    }

    /// How much the file is to be trusted.
    pub fn trust(&self) -> Trust {
        self.trust
    }

    /// A reign.
    pub fn reign(&self, number: usize) -> &Reign {
        &self.reigns[number]
    }

    /// The power is lost, at this level of SQLite's.
    pub fn power_lost(&mut self, trust: Trust) {
        self.trust = self.trust.max(trust);
        self.ever_shaken |= trust > Trust::Sound;
    }

    /// Somebody replaced the file, or damaged it where that may not be seen at once.
    /// `last` are the numbers of the stores there are.
    pub fn tampered(&mut self, harm: Harm, last: BTreeMap<usize, u64>) {
        let written = self.reigns.get(self.heir).is_some_and(|heir| heir.open);
        let known = self.trust == Trust::Sound || self.mendable;
        self.mendable = harm.noticed && written && known;
        self.trust = Trust::Wild;
        self.tampers += 1;
        self.damaged |= harm.damaged;
        self.ever_shaken = true;
        self.seen_at_tamper = last;
        for reign in self.reigns.iter_mut().filter(|reign| reign.open) {
            reign.shaken = true;
            // What tells it of the next writer may be gone.
            reign.handed_over = None;
        }
    }

    /// Somebody removed the log's memory from under the one store there is.
    pub fn memory_removed(&mut self) {
        self.memory_gone = true;
    }

    /// A store starts; `alone` says that nobody else is there, `last` are the numbers of
    /// those who are.
    pub fn comes(&mut self, alone: bool, last: BTreeMap<usize, u64>) {
        if std::mem::take(&mut self.memory_gone) && !alone {
            self.tampered(Harm { damaged: true, noticed: true }, last);
        }
    }

    /// What was done to the file is undone, or was none.
    fn mended(&mut self) {
        self.mends += 1;
        self.trust = Trust::Sound;
        self.damaged = false;
        self.mendable = false;
        self.reigns[self.heir].shaken = false;
    }

    /// A store closed in order, with the file looked at since it was last tampered with.
    pub fn closed(&mut self, reign: usize, tampers: u64) {
        let looked = self.tampers == tampers && reign == self.heir && !self.is_contested(reign);
        if looked && self.trust == Trust::Wild && (self.mendable || !self.damaged) {
            self.mended();
        }
    }

    /// A damaged file was moved aside, and another is in its place; `tampers` is how often
    /// the file had been replaced or damaged when that began.
    pub fn replaced(&mut self, tampers: u64) {
        // What was done to the file meanwhile may have been done to the new one.
        self.damaged &= self.tampers != tampers;
    }

    /// The writer took a change.
    pub fn change(&mut self, reign: usize, numbers: (u64, u64), change: Change) {
        let reign = &mut self.reigns[reign];
        change.apply(&mut reign.now);
        reign.changes.push(Done { first: numbers.0, last: numbers.1, change });
        reign.last = reign.last.max(numbers.1);
    }

    /// The writer says that a shape is lost.
    pub fn lost(&mut self, reign: usize, handle: &str) -> Option<Failure> {
        let shaken = self.reigns[reign].shaken;
        // It counts from now on, whatever is still queued.
        let at = self.reigns[reign].durable;
        let known = self.reigns[reign].now.contains_key(handle);
        self.change(reign, (at, at), Change::Lost { handle: handle.into() });
        // The file is no first part of the changes any more.
        self.reigns[reign].rebuilt = true;
        (!shaken && known).then(|| {
            let text = format!("store {} says that {handle} is lost", self.reigns[reign].store);
            Failure::new(Class::Lost, "a shape is lost though nothing was damaged", text)
        })
    }

    /// The writer wrote the file anew from memory.
    /// `tampers` is how often it had been tampered with when that began, and `begun` how many
    /// reigns had begun when the step began that tells of it.
    pub fn rebuilt(&mut self, reign: usize, tampers: u64, begun: usize) {
        self.reigns[reign].rebuilt = true;
        self.reigns[reign].handed_over = None;
        if self.heir >= begun && self.reigns[self.heir].epoch > self.reigns[reign].epoch {
            // The next one had taken that file over by the time that this was told.
            return;
        }
        // Whoever began another in the meantime has none any more.
        self.heir = reign;
        self.memory_gone = false;
        // What was done to the file meanwhile may have been done to the new one.
        if self.tampers == tampers {
            self.damaged = false;
            if !self.is_contested(reign) {
                self.mended();
            }
        }
    }

    /// Whether those who live cannot be seen by who comes.
    pub fn set_unseen(&mut self, unseen: bool) {
        self.unseen = unseen;
    }

    /// Whether another has a file of its own in mind, and may put it there at any time: only
    /// after somebody took its file away from under it.
    fn is_contested(&self, reign: usize) -> bool {
        if self.unseen {
            return true;
        }
        let mut others = self.reigns.iter().enumerate().filter(|(other, _)| *other != reign);
        others.any(|(_, other)| other.open && other.shaken)
    }

    /// The store of a reign closes in order.
    pub fn closing(&mut self, reign: usize) {
        self.reigns[reign].closing = true;
    }

    /// A store that took the file over without a reign closes in order.
    pub fn heir_closing(&mut self) {
        if let Some(heir) = self.reigns.get_mut(self.heir) {
            heir.closing = true;
        }
    }

    /// Whether the file has to say that it was not closed.
    pub fn is_in_use(&self) -> bool {
        let heir = self.reigns.get(self.heir);
        self.trust < Trust::Wild
            && heir.is_some_and(|heir| !heir.closing && heir.durable > heir.base)
    }

    /// Nothing more of a reign will be committed.
    pub fn end(&mut self, reign: usize) {
        self.reigns[reign].open = false;
    }

    /// The shape of this name, identity and row: the one that a reign has, if it may be.
    pub fn identify(
        &self,
        reign: Option<usize>,
        handle: &str,
        digest: &[u8; 32],
        row: u64,
    ) -> Option<ShapeId> {
        let is =
            |shape: &Shape| shape.handle == handle && shape.digest == *digest && shape.row == row;
        let held = reign.and_then(|reign| self.reigns[reign].now.get(handle));
        let held =
            held.map(|held| held.shape).filter(|held| self.shapes.get(*held).is_some_and(is));
        held.or_else(|| self.shapes.iter().rposition(is))
    }
}

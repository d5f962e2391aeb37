//! Which numbers a store has given, and which of them are durable.

use super::{Change, Model, Trust};
use crate::failure::{Class, Failure};

impl Model {
    /// This number turned out to be durable.
    pub fn durable(&mut self, reign: usize, number: u64) -> Option<Failure> {
        let latest = reign == self.heir && !self.is_contested(reign);
        let tampered = self.seen_at_tamper.get(&self.reigns[reign].store).copied();
        let it = &mut self.reigns[reign];
        if !it.changes.iter().any(|done| (done.first..=done.last).contains(&number)) {
            // Given to nothing: a writer again begins with a number that was not given up.
            return None;
        }
        it.durable = it.durable.max(number);
        if latest
            && (!self.damaged || self.mendable)
            && self.trust == Trust::Wild
            && tampered.is_some_and(|at| number > at)
        {
            // Its batch looked at the file after that happened.
            self.mended();
        }
        let it = &mut self.reigns[reign];
        if let Some(at) = it.handed_over
            && number > at
        {
            it.handed_over = None;
            let text = format!(
                "store {} says that {number} is durable, and the next writer found {at} at most",
                it.store
            );
            return Some(Failure::new(
                Class::Wrong,
                "a commit after the next writer's start",
                text,
            ));
        }
        let added = it.changes.iter().find_map(|done| match done.change {
            Change::Add { shape, .. } if done.first == number => Some(shape),
            _ => None,
        })?;
        let row = self.shapes[added].row;
        let there = self.rows.insert(row, added)?;
        (!self.ever_shaken).then(|| {
            let text = format!("row {row}: {:?} and {:?}", self.shapes[there], self.shapes[added]);
            Failure::new(Class::Wrong, "a row id was given twice", text)
        })
    }

    /// The store has given numbers up to this.
    pub fn reaches(&mut self, reign: usize, number: u64) {
        let reign = &mut self.reigns[reign];
        reign.last = reign.last.max(number);
    }
}

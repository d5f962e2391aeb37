//! What happens within operations on the disk.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use super::{DEEPEST, LONGEST_HOLD, MOST_OPERATIONS, TRACES, World};
use crate::{
    action,
    chance::{Chance, mix},
    failure::{Class, Failure},
    platform::{Fault, Kind, Operation},
};

impl World {
    /// What happens at an operation: others run, time passes, it fails.
    pub(super) fn at(&self, operation: &Operation<'_>) -> Option<Fault> {
        if self.platform.operations() > MOST_OPERATIONS {
            if !self.has_failed() {
                self.fail(Failure::new(
                    Class::Stuck,
                    "operations without end",
                    format!("{operation:?}"),
                ));
            }
            return Some(Fault::Io);
        }
        if self.verbose && TRACES.load(Relaxed) {
            self.say(|| {
                format!(
                    ". {:?} {} by process {}",
                    operation.kind, operation.path, operation.process.0
                )
            });
        }
        if self.calm.get() {
            return None;
        }
        let number = self.decisions.get();
        self.decisions.set(number + 1);
        let mut chance = Chance::new(mix(self.step_seed.get(), number));
        let sleeps = operation.kind == Kind::Sleep;
        let runs = match self.config.nested {
            Some(_) if sleeps => chance.one_in(2),
            Some(often) => chance.one_in(often),
            None => sleeps && chance.one_in(8),
        };
        let may_fail = !sleeps && (operation.kind != Kind::Flock || self.config.lock_faults);
        let fails = may_fail && self.config.faults.is_some_and(|often| chance.one_in(often));
        if !(runs || fails) || self.muted.contains(&(self.step.get(), number)) {
            return None;
        }
        self.fired.borrow_mut().push((self.step.get(), number));
        if runs && self.may_hold() {
            self.say(|| {
                format!(
                    "during {:?} of {} by process {}:",
                    operation.kind, operation.path, operation.process.0
                )
            });
            if self.depth.get() == 0 {
                self.held_since.set(self.platform.elapsed());
            }
            self.depth.set(self.depth.get() + 1);
            for _ in 0..1 + chance.below(3) {
                let kind = action::Kind::draw_nested(&mut chance, &self.config.weights);
                self.perform(kind, &mut chance);
                self.reap();
            }
            if chance.one_in(6) {
                self.count("stalls");
                self.stall(operation, &mut chance);
            }
            self.depth.set(self.depth.get() - 1);
        }
        if !fails {
            return None;
        }
        let fault = chance.pick(&[Fault::Io, Fault::Io, Fault::Full, Fault::Half]);
        self.count(match (operation.kind, fault) {
            (Kind::Read, _) => "read errors",
            (Kind::Write, Fault::Full) => "full disks",
            _ => "I/O errors",
        });
        self.say(|| {
            format!(
                "{fault:?} at {:?} of {} by process {}",
                operation.kind, operation.path, operation.process.0
            )
        });
        Some(fault)
    }

    /// Whether others may run within an operation. Who is held up by an operation that is held
    /// up may wait for what that one has, and try again and again: it goes on at last, as a
    /// thread would.
    fn may_hold(&self) -> bool {
        let depth = self.depth.get();
        let held = || self.platform.elapsed() - self.held_since.get();
        depth < DEEPEST && (depth == 0 || held() < LONGEST_HOLD)
    }

    /// An operation takes long: everybody else goes on.
    fn stall(&self, operation: &Operation<'_>, chance: &mut Chance) {
        let long = Duration::from_millis(chance.pick(&[5, 50, 300, 2000, 12_000]));
        let until = self.platform.elapsed() + long;
        self.say(|| format!("it stalls for {long:?}"));
        for _ in 0..60 {
            if self.platform.elapsed() >= until || !self.platform.is_alive(operation.process) {
                break;
            }
            self.step_whoever_is_due();
            let next = self.next_wake().filter(|at| *at > self.platform.elapsed()).unwrap_or(until);
            self.advance_to(next.min(until));
        }
        self.advance_to(until);
    }
}

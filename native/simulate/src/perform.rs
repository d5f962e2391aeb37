//! What each kind of action does.

use std::time::Duration;

use crate::{
    action::Kind,
    chance::Chance,
    model::{Harm, Trust},
    platform::ProcessId,
    world::World,
};
use shape_store::Synchronous;

impl World {
    /// Does something, if there is anything to do it to.
    pub(crate) fn perform(&self, kind: Kind, chance: &mut Chance) {
        match kind {
            Kind::Step => self.step_any(chance),
            Kind::Time => self.let_time_pass(chance),
            Kind::Start => self.start_somewhere(chance),
            Kind::Kill => self.kill_any(chance),
            Kind::Power => self.lose_power(chance),
            Kind::Operator => self.operate(chance),
            Kind::Capacity => self.change_capacity(chance),
            _ => self.perform_call(kind, chance),
        }
    }

    fn step_any(&self, chance: &mut Chance) {
        let due = self.which(|instance| self.lives(instance) && instance.machine.is_some());
        let due: Vec<usize> = match chance.one_in(20) {
            // Too early for it, which is no harm.
            true => due,
            false => due.into_iter().filter(|number| self.is_due(*number)).collect(),
        };
        if due.is_empty() {
            return self.let_time_pass(chance);
        }
        let number = chance.pick(&due);
        self.say(|| format!("store {number} goes on"));
        self.step_machine(number, chance.pick(&[1, 1, 2, 5, 30]));
    }

    fn let_time_pass(&self, chance: &mut Chance) {
        let now = self.platform.elapsed();
        let next = self.next_wake().unwrap_or(now + Duration::from_millis(10));
        let to = match chance.below(8) {
            0 => now + Duration::from_millis(1),
            1 => now + Duration::from_millis(100),
            2 => now + Duration::from_secs(2),
            3 if chance.one_in(4) => now + Duration::from_secs(40),
            _ => next,
        };
        self.advance_to(to);
    }

    fn start_somewhere(&self, chance: &mut Chance) {
        let slot = chance.below(self.config.slots);
        let there = self.platform.process_of(slot);
        let process = match there {
            Some(process) if self.platform.is_alive(process) => {
                let living = self.which(|it| it.process == process && self.lives(it));
                let held = living.iter().filter(|n| self.of(**n, |it| it.store.is_some())).count();
                // Another store beside one that closes, or beside one that stays.
                if living.len() >= 2 || (held > 0 && !chance.one_in(8)) {
                    return;
                }
                if living.is_empty() && chance.one_in(2) {
                    self.kill(process);
                    self.reap();
                    match self.platform.is_running(process) {
                        true => return,
                        false => self.platform.start(slot),
                    }
                } else {
                    process
                }
            }
            Some(process) if self.platform.is_running(process) => return,
            _ => self.platform.start(slot),
        };
        self.start(slot, process);
    }

    fn kill_any(&self, chance: &mut Chance) {
        let living = self.which(|instance| self.platform.is_alive(instance.process));
        if !living.is_empty() {
            let number = chance.pick(&living);
            self.kill(self.of(number, |instance| instance.process));
        }
    }

    fn lose_power(&self, chance: &mut Chance) {
        self.count("power losses");
        self.say(|| "the power is lost".into());
        let processes: Vec<ProcessId> =
            self.instances.borrow().iter().map(|instance| instance.process).collect();
        processes.into_iter().for_each(|process| self.kill(process));
        self.platform.disk.borrow_mut().lose_power(chance);
        let mut model = self.model.borrow_mut();
        match self.config.synchronous {
            Synchronous::Full => {}
            Synchronous::Normal if !self.config.exclusive => model.power_lost(Trust::Rolled),
            _ => model.tampered(Harm { damaged: true, noticed: false }, Default::default()),
        }
    }

    fn change_capacity(&self, chance: &mut Chance) {
        let mut disk = self.platform.disk.borrow_mut();
        let capacity = match chance.below(3) {
            0 => None,
            _ => Some(disk.used() + chance.pick(&[0, 1000, 20_000, 200_000])),
        };
        disk.set_capacity(capacity);
        drop(disk);
        self.say(|| format!("the disk has room for {capacity:?} bytes"));
        if capacity.is_some() {
            self.count("full disks for a while");
        }
    }
}

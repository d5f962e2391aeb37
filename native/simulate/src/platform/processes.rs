//! The lives of processes.

use std::{
    cell::Cell,
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    rc::Rc,
};

use super::{Copies, Platform, Process, ProcessId};

impl Platform {
    /// Starts a process in a slot where none is.
    pub fn start(&self, slot: usize) -> ProcessId {
        let mut processes = self.processes.borrow_mut();
        let process = ProcessId(processes.len());
        processes.push(Process {
            alive: true,
            folder: "/".into(),
            held: BTreeMap::new(),
            nodes: BTreeMap::new(),
            mapped: Vec::new(),
            claims: BTreeMap::new(),
            frames: Vec::new(),
        });
        self.slots[slot].set(Some(process));
        process
    }

    /// The process of a slot.
    pub fn process_of(&self, slot: usize) -> Option<ProcessId> {
        self.slots.get(slot).and_then(Cell::get)
    }

    /// Whether it runs.
    pub fn is_alive(&self, process: ProcessId) -> bool {
        self.processes.borrow().get(process.0).is_some_and(|process| process.alive)
    }

    /// Whether a call into it is going on.
    pub fn is_running(&self, process: ProcessId) -> bool {
        self.with(process, |process| !process.frames.is_empty())
    }

    /// Ends a process, at once: the system closes what it has open and drops its locks.
    /// Calls into it that are going on fail from here on, and change nothing.
    pub fn kill(&self, process: ProcessId) {
        let held = self.with(process, |process| {
            process.alive = false;
            process.nodes.clear();
            process.claims.clear();
            std::mem::take(&mut process.held)
        });
        let mut disk = self.disk.borrow_mut();
        disk.drop_locks(|holder| held.contains_key(&holder));
        held.into_values().for_each(|key| disk.let_go(key));
    }

    /// The folder that a process is in.
    pub fn change_folder(&self, process: ProcessId, folder: &str) {
        self.with(process, |process| process.folder = folder.into());
    }

    pub(crate) fn folder(&self, process: ProcessId) -> String {
        self.with(process, |process| process.folder.clone())
    }

    /// Makes a call into a process.
    pub fn within<T>(&self, process: ProcessId, call: impl FnOnce() -> T) -> T {
        let dead = !self.is_alive(process);
        let copies = dead.then(|| self.copies(process));
        self.with(process, |process| process.frames.push(copies));
        let result = catch_unwind(AssertUnwindSafe(call));
        let copies = self.with(process, |process| process.frames.pop().flatten());
        for (region, copy) in copies.into_iter().flatten() {
            region.restore(&copy);
        }
        result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    pub(super) fn copies(&self, process: ProcessId) -> Copies {
        self.with(process, |process| {
            process.mapped.iter().map(|region| (Rc::clone(region), region.copy())).collect()
        })
    }

    pub(super) fn with<T>(&self, process: ProcessId, look: impl FnOnce(&mut Process) -> T) -> T {
        look(&mut self.processes.borrow_mut()[process.0])
    }
}

//! How the writer is reached: by a command, or by having it look for what was left elsewhere.

use std::{collections::VecDeque, sync::OnceLock};

use parking_lot::Mutex;

use crate::{
    pool::Call,
    writer::{command::Command, wake_up::WakeUp},
};

/// It has no memory of its own while it is empty.
pub(crate) struct Mail {
    /// None when nobody will look any more.
    commands: Mutex<Option<VecDeque<Command>>>,
    machine: OnceLock<Call>,
    /// Whether it would look around by itself.
    pub(crate) wake_up: WakeUp,
}

impl Mail {
    pub(crate) fn new() -> Self {
        let commands = Mutex::new(Some(VecDeque::new()));
        Self { commands, machine: OnceLock::new(), wake_up: WakeUp::new() }
    }

    /// Has this machine called whenever something arrives. What arrived before it has to see
    /// by itself.
    pub(crate) fn read_by(&self, machine: Call) {
        let _ = self.machine.set(machine);
    }

    /// Leaves a command; gives it back when nobody will look any more.
    pub(crate) fn send(&self, command: Command) -> Option<Command> {
        match &mut *self.commands.lock() {
            Some(commands) => commands.push_back(command),
            None => return Some(command),
        }
        // What it is called for is there.
        if let Some(machine) = self.machine.get() {
            machine.call();
        }
        None
    }

    /// Has the writer look around, unless it is about to. The caller has left what it is to
    /// find before that.
    pub(crate) fn wake(&self) {
        if self.wake_up.notify() {
            self.send(Command::Wake);
        }
    }

    /// The same for what cannot wait until more has gathered.
    pub(crate) fn wake_now(&self) {
        if self.wake_up.notify_now() {
            self.send(Command::Wake);
        }
    }

    /// All that arrived.
    pub(crate) fn take(&self) -> VecDeque<Command> {
        self.commands.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commands.lock().as_ref().is_none_or(VecDeque::is_empty)
    }

    /// Nobody will look any more. What is left is dropped with no lock held.
    pub(crate) fn close(&self) {
        let _left = self.commands.lock().take();
    }
}

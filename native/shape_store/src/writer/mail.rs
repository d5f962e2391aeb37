//! What the writer is asked to do, in a row, and who has it come and look.

use std::{collections::VecDeque, sync::OnceLock};

use parking_lot::Mutex;

use crate::{pool::Call, writer::command::Command};

/// It has no memory of its own while it is empty.
pub(crate) struct Mail {
    /// None when nobody will look any more.
    commands: Mutex<Option<VecDeque<Command>>>,
    reader: OnceLock<Call>,
}

impl Mail {
    pub(crate) fn new() -> Self {
        Self { commands: Mutex::new(Some(VecDeque::new())), reader: OnceLock::new() }
    }

    /// Has this reader called whenever something arrives. What arrived before it has to see
    /// by itself.
    pub(crate) fn read_by(&self, reader: Call) {
        let _ = self.reader.set(reader);
    }

    /// Leaves a command; gives it back when nobody will look any more.
    pub(crate) fn send(&self, command: Command) -> Option<Command> {
        match &mut *self.commands.lock() {
            Some(commands) => commands.push_back(command),
            None => return Some(command),
        }
        // What it is called for is there.
        if let Some(reader) = self.reader.get() {
            reader.call();
        }
        None
    }

    /// All that arrived.
    pub(crate) fn take(&self) -> VecDeque<Command> {
        self.commands.lock().as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.commands.lock().as_ref().is_none_or(VecDeque::is_empty)
    }

    /// Nobody will look any more. What is left is dropped with no lock own.
    pub(crate) fn close(&self) {
        let _left = self.commands.lock().take();
    }
}

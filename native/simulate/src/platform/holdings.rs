//! What processes have open, mapped and claimed.

use std::{rc::Rc, sync::Arc};

use shape_store::Holder as Owner;

use super::{Platform, ProcessId};
use crate::{
    disk::{Holder, Key},
    shared_memory::Region,
};

impl Platform {
    /// A process opens an inode.
    pub(crate) fn open(&self, process: ProcessId, key: Key) -> Holder {
        let holder = self.holders.get();
        self.holders.set(holder + 1);
        self.disk.borrow_mut().hold(key);
        self.with(process, |process| process.held.insert(holder, key));
        holder
    }

    /// A process closes what it opened, unless it died before.
    pub(crate) fn close(&self, process: ProcessId, holder: Holder) {
        let Some(key) = self.with(process, |process| process.held.remove(&holder)) else { return };
        let mut disk = self.disk.borrow_mut();
        disk.inode_mut(key).locks.drop_all(|of| of == holder);
        disk.let_go(key);
    }

    /// Whether a process has an inode open through SQLite, as a database or its `-shm`.
    pub(crate) fn has_database(&self, process: ProcessId, key: Key) -> bool {
        self.with(process, |process| {
            process.nodes.iter().any(|(database, (memory, _))| *database == key || *memory == key)
        })
    }

    /// The `-shm` that this process has for a database, with one connection more.
    pub(crate) fn join_node(&self, process: ProcessId, database: Key) -> Option<Key> {
        self.with(process, |process| {
            let (memory, users) = process.nodes.get_mut(&database)?;
            *users += 1;
            Some(*memory)
        })
    }

    /// This process has this `-shm` for a database.
    pub(crate) fn add_node(&self, process: ProcessId, database: Key, memory: Key) {
        self.with(process, |process| process.nodes.insert(database, (memory, 1)));
    }

    /// A connection has no use for the `-shm` any more.
    pub(crate) fn leave_node(&self, process: ProcessId, database: Key) {
        self.with(process, |process| {
            if let Some((_, users)) = process.nodes.get_mut(&database) {
                *users -= 1;
                if *users == 0 {
                    process.nodes.remove(&database);
                }
            }
        });
    }

    pub(crate) fn mapped(&self, process: ProcessId, region: &Rc<Region>) {
        self.with(process, |process| {
            if !process.mapped.iter().any(|other| Rc::ptr_eq(other, region)) {
                process.mapped.push(Rc::clone(region));
            }
        });
    }

    pub(crate) fn claim(
        &self,
        process: ProcessId,
        path: &str,
        owner: Arc<Owner>,
    ) -> Result<(), Arc<Owner>> {
        self.with(process, |process| match process.claims.get(path) {
            Some(there) => Err(Arc::clone(there)),
            None => {
                process.claims.insert(path.into(), owner);
                Ok(())
            }
        })
    }

    pub(crate) fn unclaim(&self, process: ProcessId, path: &str) {
        self.with(process, |process| process.claims.remove(path));
    }
}

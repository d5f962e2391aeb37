//! The ends of processes, and what is freed then.

use crate::{platform::ProcessId, world::World};

impl World {
    /// Ends a process.
    pub(crate) fn kill(&self, process: ProcessId) {
        if !self.platform.is_alive(process) {
            return;
        }
        self.count("kills");
        for number in self.which(|instance| instance.process == process) {
            self.observe(number);
            if let Some(reign) = self.of(number, |instance| instance.reign.take()) {
                self.model.borrow_mut().end(reign);
            }
        }
        self.say(|| format!("process {} is killed", process.0));
        self.platform.kill(process);
        let instances = self.instances.borrow();
        for promise in self.promises.borrow_mut().iter_mut() {
            if instances[promise.store].process == process {
                promise.void = true;
            }
        }
    }

    /// Frees what dead processes had, once no call into them is going on.
    pub(crate) fn reap(&self) {
        loop {
            let dead = self.which(|instance| {
                !self.platform.is_alive(instance.process)
                    && (instance.machine.is_some() || instance.store.is_some())
                    && !self.platform.is_running(instance.process)
            });
            let Some(number) = dead.first().copied() else { return };
            let (process, what) = self.of(number, |instance| {
                let what = (
                    std::mem::take(&mut instance.leases),
                    std::mem::take(&mut instance.tickets),
                    instance.machine.take(),
                    instance.store.take(),
                );
                (instance.process, what)
            });
            self.platform.within(process, || drop(what));
        }
    }

    /// Frees everything, as if all had died.
    pub(crate) fn end(&self) {
        self.calm.set(true);
        let processes: Vec<_> = self.instances.borrow().iter().map(|it| it.process).collect();
        for process in processes {
            if self.platform.is_alive(process) {
                self.platform.kill(process);
            }
        }
        for promise in self.promises.borrow_mut().iter_mut() {
            promise.void = true;
        }
        self.reap();
        self.platform.set_hook(None);
    }
}

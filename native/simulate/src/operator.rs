//! What somebody does to the files by hand.

use std::collections::BTreeMap;

use crate::{
    chance::Chance,
    disk::parent,
    foreign,
    world::{DATABASE, World},
};

fn log() -> String {
    format!("{DATABASE}-wal")
}

impl World {
    /// Somebody does something to the files.
    pub(crate) fn operate(&self, chance: &mut Chance) {
        let what = chance.below(18);
        let done = self.operate_as(what, chance);
        if let Some((name, damaged)) = done {
            self.count(name);
            self.say(|| format!("an operator: {name}"));
            if let Some(damaged) = damaged {
                let instances = self.instances.borrow();
                let last: BTreeMap<usize, u64> =
                    instances.iter().enumerate().map(|(n, it)| (n, it.last)).collect();
                self.model.borrow_mut().tampered(damaged, last);
            }
        }
    }

    /// Says what was done, and whether it may have damaged the file without a trace; none
    /// for what is to do no harm.
    fn operate_as(&self, what: usize, chance: &mut Chance) -> Option<(&'static str, Option<bool>)> {
        let log = log();
        let shared = format!("{DATABASE}-shm");
        let logged = !self.content(&log).unwrap_or_default().is_empty();
        let anybody = !self.which(|instance| self.lives(instance)).is_empty();
        Some(match what {
            0 => {
                self.remove(DATABASE)?;
                ("database deleted", Some(logged))
            }
            1 => {
                self.remove(DATABASE)?;
                let _ = self.remove(&log);
                let _ = self.remove(&shared);
                ("database and log deleted", Some(false))
            }
            2 => {
                let folder = parent(DATABASE);
                self.platform.disk.borrow().find(folder)?;
                self.platform.disk.borrow_mut().remove_folder(folder);
                ("folder deleted", Some(false))
            }
            3 | 4 => {
                let path = if what == 3 { DATABASE } else { &log };
                let size = self.content(path)?.len();
                let key = self.platform.disk.borrow().find(path)?;
                let to = if chance.one_in(3) { 0 } else { chance.below(size) };
                self.platform.disk.borrow_mut().cut(key, to);
                (if what == 3 { "database cut" } else { "log cut" }, Some(true))
            }
            5 | 6 => {
                let path = if chance.one_in(3) { &log } else { DATABASE };
                let size = self.content(path)?.len();
                let key = self.platform.disk.borrow().find(path)?;
                if size == 0 {
                    return None;
                }
                let (at, mask) = (chance.below(size), 1 << chance.below(8));
                self.platform.disk.borrow_mut().inode_mut(key).content.flip(at, mask);
                self.say(|| format!("byte {at} of {path} changes"));
                ("bytes flipped", Some(true))
            }
            7..=9 => {
                let copy = (self.content(DATABASE)?, self.content(&log).unwrap_or_default());
                self.copies.borrow_mut().push(copy);
                ("copies made", None)
            }
            10 | 11 => {
                let (database, its_log) = self.some_copy(chance)?;
                let with_log = what == 10;
                let _ = self.remove(DATABASE);
                self.put(DATABASE, &database);
                if with_log {
                    let _ = self.remove(&log);
                    let _ = self.remove(&shared);
                    self.put(&log, &its_log);
                }
                (if with_log { "copies with log put back" } else { "copies put back" }, Some(true))
            }
            12 => {
                let (database, _) = self.some_copy(chance)?;
                self.put(DATABASE, &database);
                ("copies put back in place", Some(true))
            }
            13 => {
                let _ = self.remove(DATABASE);
                self.put(DATABASE, b"");
                ("empty file put there", Some(logged))
            }
            14 => {
                let _ = self.remove(DATABASE);
                if chance.one_in(2) {
                    let _ = self.remove(&log);
                    let _ = self.remove(&shared);
                }
                self.put(DATABASE, &foreign::database());
                ("another's file put there", Some(logged))
            }
            15 => {
                self.remove(&log)?;
                ("log deleted", Some(true))
            }
            16 => {
                self.remove(&shared)?;
                ("shared memory deleted", anybody.then_some(true))
            }
            _ => {
                let some = [".lock", ".turn"].map(|suffix| format!("{DATABASE}{suffix}"));
                for path in &some {
                    let _ = self.remove(path);
                }
                self.model.borrow_mut().set_unseen(anybody);
                ("lock files deleted", None)
            }
        })
    }

    fn some_copy(&self, chance: &mut Chance) -> Option<(Vec<u8>, Vec<u8>)> {
        let copies = self.copies.borrow();
        (!copies.is_empty()).then(|| chance.pick(&copies))
    }

    pub(crate) fn content(&self, path: &str) -> Option<Vec<u8>> {
        let disk = self.platform.disk.borrow();
        Some(disk.inode(disk.find(path)?).content.bytes().to_vec())
    }

    fn remove(&self, path: &str) -> Option<()> {
        let mut disk = self.platform.disk.borrow_mut();
        disk.remove(path).ok()?;
        disk.sync_folder(parent(path)).ok()
    }

    /// Writes a file, over the one that is there.
    pub(crate) fn put(&self, path: &str, bytes: &[u8]) {
        let mut disk = self.platform.disk.borrow_mut();
        let _ = disk.make_folders(parent(path));
        let Ok(key) = disk.open_or_create(path) else { return };
        disk.cut(key, 0);
        disk.write(key, 0, bytes);
        disk.sync(key, path);
    }
}

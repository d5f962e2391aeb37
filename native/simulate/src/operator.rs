//! What somebody does to the files by hand.

use std::collections::BTreeMap;

use crate::{
    chance::Chance,
    disk::parent,
    foreign,
    model::Harm,
    platform::ProcessId,
    world::{DATABASE, World},
};

mod deed;

use self::deed::{Deed, Effect};

fn log() -> String {
    format!("{DATABASE}-wal")
}

impl World {
    /// Somebody does something to the files.
    pub(crate) fn operate(&self, chance: &mut Chance) {
        if chance.one_in(6) {
            // While nobody runs.
            for process in self.processes() {
                self.kill(process);
            }
        }
        // Where there is nothing to do it to, something else.
        let tries = (0..4).find_map(|_| {
            let deed = Deed::draw(chance);
            Some((deed, self.do_deed(deed, chance)?))
        });
        let Some((deed, effect)) = tries else { return };
        let name = deed.name();
        self.count(name);
        self.say(|| format!("an operator: {name}"));
        if let Effect::Replaced { damaged, noticed } = effect {
            let harm = Harm { damaged, noticed };
            let last = self.last_numbers();
            self.model.borrow_mut().tampered(harm, last);
        }
        if deed == Deed::FlipBody {
            // Most damage is met by who reads everything.
            self.callable().into_iter().for_each(|number| self.list(number));
        }
    }

    /// The highest number of each store.
    pub(crate) fn last_numbers(&self) -> BTreeMap<usize, u64> {
        let instances = self.instances.borrow();
        instances.iter().enumerate().map(|(number, it)| (number, it.last)).collect()
    }

    /// None when there was nothing to do it to.
    fn do_deed(&self, deed: Deed, chance: &mut Chance) -> Option<Effect> {
        let log = log();
        let shared = format!("{DATABASE}-shm");
        let logged = !self.content(&log).unwrap_or_default().is_empty();
        let living = self.which(|instance| self.lives(instance)).len();
        let anybody = living > 0;
        let without_log = || {
            let _ = self.remove(&log);
            let _ = self.remove(&shared);
        };
        let damaged = match deed {
            Deed::DeleteDatabase => {
                self.remove(DATABASE)?;
                logged
            }
            Deed::DeleteAll => {
                self.remove(DATABASE)?;
                without_log();
                false
            }
            Deed::DeleteFolder => {
                let folder = parent(DATABASE);
                self.platform.disk.borrow().find(folder)?;
                self.platform.disk.borrow_mut().remove_folder(folder);
                false
            }
            Deed::CutDatabase => self.cut_somewhere(DATABASE, chance)?,
            Deed::CutLog => self.cut_somewhere(&log, chance)?,
            Deed::FlipByte => {
                let path = if chance.one_in(3) { &log } else { DATABASE };
                let size = self.content(path)?.len();
                self.flip(path, chance.below(size), chance)?
            }
            Deed::FlipBody => {
                let mark = b"the same in all of them ";
                let path = if chance.one_in(2) { &log } else { DATABASE };
                let content = self.content(path)?;
                let bodies = content.windows(mark.len()).enumerate();
                let bodies: Vec<usize> =
                    bodies.filter(|(_, bytes)| bytes == mark).map(|(at, _)| at).collect();
                if bodies.is_empty() {
                    return None;
                }
                let mut flip = |_| self.flip(path, chance.pick(&bodies), chance);
                (0..5).map(&mut flip).last()??
            }
            Deed::Copy => {
                self.copy_database()?;
                return Some(Effect::None);
            }
            Deed::PutBack | Deed::PutBackWithLog => {
                let (database, its_log) = self.some_copy(chance)?;
                let _ = self.remove(DATABASE);
                self.put(DATABASE, &database);
                if deed == Deed::PutBackWithLog {
                    without_log();
                    self.put(&log, &its_log);
                }
                true
            }
            Deed::PutBackInPlace => {
                let (database, _) = self.some_copy(chance)?;
                self.put(DATABASE, &database);
                true
            }
            Deed::PutEmpty => {
                let _ = self.remove(DATABASE);
                self.put(DATABASE, b"");
                logged
            }
            Deed::PutJunk => {
                let _ = self.remove(DATABASE);
                if chance.one_in(2) {
                    without_log();
                }
                self.put(DATABASE, &[0xa5; 5000]);
                true
            }
            Deed::PutForeign => {
                let _ = self.remove(DATABASE);
                if chance.one_in(2) {
                    without_log();
                }
                self.put(DATABASE, &foreign::database());
                logged
            }
            Deed::DeleteLog => {
                self.remove(&log)?;
                true
            }
            Deed::DeleteShared => {
                self.remove(&shared)?;
                if living == 1 {
                    // What it replaces the file for is not in the file.
                    self.replacing.set(true);
                    self.model.borrow_mut().memory_removed();
                }
                if living <= 1 {
                    return Some(Effect::None);
                }
                true
            }
            Deed::DeleteLocks => {
                let some = [".lock", ".turn"].map(|suffix| format!("{DATABASE}{suffix}"));
                for path in &some {
                    let _ = self.remove(path);
                }
                self.model.borrow_mut().set_unseen(anybody);
                return Some(Effect::None);
            }
        };
        // A page that is changed where it is, is noticed when it is read.
        let in_place = matches!(deed, Deed::FlipByte | Deed::FlipBody | Deed::PutBackInPlace);
        // A file that is cut within a batch may be as long as it was after the checkpoint.
        let regrown = deed == Deed::CutDatabase && !self.which(|it| it.stepping).is_empty();
        let noticed = !in_place && !regrown;
        Some(Effect::Replaced { damaged, noticed })
    }

    fn cut_somewhere(&self, path: &str, chance: &mut Chance) -> Option<bool> {
        let size = self.content(path)?.len();
        let key = self.platform.disk.borrow().find(path)?;
        let to = if chance.one_in(3) { 0 } else { chance.below(size) };
        self.platform.disk.borrow_mut().cut(key, to);
        Some(true)
    }

    fn flip(&self, path: &str, at: usize, chance: &mut Chance) -> Option<bool> {
        let key = self.platform.disk.borrow().find(path)?;
        if self.content(path)?.is_empty() {
            return None;
        }
        let mask = 1 << chance.below(8);
        self.platform.disk.borrow_mut().inode_mut(key).content.flip(at, mask);
        self.say(|| format!("byte {at} of {path} changes"));
        Some(true)
    }

    fn copy_database(&self) -> Option<()> {
        let copy = (self.content(DATABASE)?, self.content(&log()).unwrap_or_default());
        self.copies.borrow_mut().push(copy);
        Some(())
    }

    fn processes(&self) -> Vec<ProcessId> {
        let living = self.which(|instance| self.platform.is_alive(instance.process));
        living.into_iter().map(|number| self.of(number, |it| it.process)).collect()
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

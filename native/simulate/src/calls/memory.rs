//! What a store keeps in memory alone: marks, when shapes were read, and warm bodies.

use shape_store::{Entry, Snapshot, Store};

use crate::{chance::Chance, model::STRANGER, world::World};

impl World {
    /// Some shape that a store of any role has, and which it is.
    fn some_shape(&self, number: usize, chance: &mut Chance) -> Option<(Entry, usize)> {
        let places = self.call(number, Store::places).filter(|places| !places.is_empty())?;
        let place = chance.pick(&places);
        let entry = self.call(number, |store| store.entry_at(&place))??;
        let reign = self.of(number, |instance| instance.reign);
        let handle = String::from_utf8_lossy(&entry.handle).into_owned();
        let known = self.model.borrow().identify(reign, &handle, &entry.digest.0, entry.row);
        Some((entry, known.unwrap_or(STRANGER)))
    }

    /// Marks a snapshot in memory alone.
    pub(super) fn mark_in_memory(&self, number: usize, chance: &mut Chance) {
        let Some((entry, shape)) = self.some_shape(number, chance) else { return };
        self.count("marks in memory alone");
        let snapshot = chance.pick(&[Snapshot::Started, Snapshot::Started, Snapshot::Complete]);
        let marked = self.call(number, |store| store.mark_in_memory(&entry.handle, snapshot));
        if let Some(Ok(())) = marked {
            let after = snapshot.max(entry.snapshot) as u8;
            self.say(|| format!("store {number} marks shape {shape} {after} in memory alone"));
            self.of(number, |instance| match shape {
                // What it opens on may be a file of others, which nobody knows yet.
                STRANGER => {
                    instance.marked_unknown.insert((entry.handle.to_vec(), entry.row), after)
                }
                _ => instance.marked.insert(shape, after),
            });
        }
    }

    /// A shape is read, or said to have been read.
    pub(super) fn touch(&self, number: usize, chance: &mut Chance) {
        let Some((entry, shape)) = self.some_shape(number, chance) else { return };
        let time = self.platform.elapsed().as_nanos() as i64 - chance.below(2000) as i64;
        let way = chance.below(3);
        let read = |store: &Store| store.meta(&entry.handle).and_then(|meta| meta.read);
        let touched = self.call(number, |store| {
            let before = read(store);
            let there = match way {
                0 => store.touch(&entry.handle, time),
                1 => store.set_last_read(&entry.handle, time),
                _ => store.lookup(&entry.digest, Some(time)).is_some(),
            };
            (before, there, read(store))
        });
        let Some((before, there, after)) = touched else { return };
        self.count("shapes read");
        let expected = if way == 1 { Some(time) } else { before.max(Some(time)) };
        if !there || after != expected {
            self.wrong(
                "a shape was not read when it was",
                format!("store {number}: {entry:?} {there} at {after:?}, and not {expected:?}"),
            );
        }
        if shape != STRANGER {
            self.of(number, |instance| instance.read.insert(shape, after));
        }
    }

    /// Memory for bodies is lent or taken, and a body is wanted in it.
    pub(super) fn use_cache(&self, number: usize, chance: &mut Chance) {
        self.count("uses of the cache");
        if chance.one_in(2) {
            let bytes = chance.pick(&[0, 1500, 100_000]);
            self.call(number, |store| {
                store.lend_cache(bytes);
                store.cache_room()
            });
            return;
        }
        let Some((entry, _)) = self.some_shape(number, chance) else { return };
        self.call(number, |store| {
            if let Some(located) = store.locate(&entry.handle) {
                store.want(located.key);
            }
        });
    }
}

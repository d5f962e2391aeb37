//! Whether lookups agree with the model, and with each other.

use shape_store::{Brief, Digest, Entry, State, Store};

use crate::{chance::Chance, world::World};

impl World {
    /// Whether what a writer answers is what it was told.
    pub(super) fn look_up(&self, number: usize, chance: &mut Chance) {
        self.check_each_other(number, chance);
        let Some((_, view)) = self.writer(number) else { return };
        let handle = self.some_handle(&view, chance);
        let digest = Digest::of(&[chance.below(self.config.handles) as u8]);
        let answers = self.call(number, |store| {
            let entry = store.entry(handle.as_bytes()).is_some();
            (entry, store.handle_for(&digest), store.count(), store.state())
        });
        let Some((there, by_digest, count, state)) = answers else { return };
        if state != State::Active
            || self.model.borrow().reign(self.of(number, |it| it.reign.unwrap_or(0))).shaken
        {
            return;
        }
        let model = self.model.borrow();
        let same = |held: &crate::model::Held| {
            model.shapes.get(held.shape).is_some_and(|shape| shape.digest == digest.0)
        };
        let expected =
            view.iter().find(|(_, held)| same(held)).map(|(handle, _)| handle.as_bytes().to_vec());
        let right = there == view.contains_key(&handle)
            && by_digest.as_ref().map(|handle| handle.to_vec()) == expected
            && count == view.len();
        drop(model);
        if !right {
            self.wrong(
                "a lookup is answered wrongly",
                format!("store {number}: {handle} {there}, {by_digest:?}, {count} of {view:?}"),
            );
        }
    }

    /// Whether the answers of a store of any role agree with each other.
    fn check_each_other(&self, number: usize, chance: &mut Chance) {
        let now = self.platform.elapsed().as_nanos() as i64;
        let (mask, value) = (chance.below(256) as u8, chance.below(256) as u8);
        let (oid, n) = (chance.below(3) as u32, chance.below(6));
        let found = self.call(number, |store| {
            // One that is closed has freed a part.
            let closed = matches!(store.state(), State::Closed | State::Poisoned);
            let masked = (mask, value & mask);
            if closed { None } else { disagreement(store, masked, oid, (n, now)) }
        });
        if let Some(Some(what)) = found {
            self.wrong("the answers of a store do not agree", format!("store {number}: {what}"));
        }
    }
}

/// What about its shapes a store answers otherwise than one who looks at all of them.
fn disagreement(
    store: &Store,
    (mask, value): (u8, u8),
    oid: u32,
    (n, now): (usize, i64),
) -> Option<&'static str> {
    let places = store.places();
    let mut all: Vec<Entry> = places.iter().filter_map(|place| store.entry_at(place)).collect();
    all.sort_by(|a, b| a.handle.cmp(&b.handle));
    let handles = |wanted: &dyn Fn(&Entry) -> bool| -> Vec<_> {
        all.iter().filter(|entry| wanted(entry)).map(|entry| entry.handle.clone()).collect()
    };
    let flagged = handles(&|entry| entry.flags & mask == value);
    let of_table = handles(&|entry| entry.oids.contains(&oid));
    let mut pending: Vec<_> = store.pending_entries().into_iter().map(|it| it.handle).collect();
    pending.sort();
    let mut read: Vec<_> = all
        .iter()
        .filter_map(|entry| Some((store.meta(&entry.handle)?.read?, entry.handle.clone())))
        .collect();
    read.sort();
    read.truncate(n);
    let coldest = store.least_recently_read(n, now);
    let one_by_one = places.iter().all(|place| {
        let Some(meta) = store.meta(&place.handle) else { return false };
        let brief = Brief { hash: meta.entry.hash, snapshot: meta.entry.snapshot };
        store.entry(&place.handle).as_ref() == Some(&meta.entry)
            && store.meta_at(place).as_ref() == Some(&meta)
            && store.lookup(&meta.entry.digest, None).as_ref() == Some(&meta)
            && store.brief(&place.handle) == Some(brief)
            && store.brief_at(place) == Some(brief)
            && store.handle_for(&meta.entry.digest).as_ref() == Some(&place.handle)
            && store.body_at(place).is_some()
    });
    let statistics = store.statistics();
    let agreed = [
        (one_by_one, "a shape by its handle, its digest and its place"),
        (all.len() == store.count() && all.len() == statistics.shapes, "how many there are"),
        (store.count_by_flags(mask, value) == flagged.len(), "how many have flags"),
        (store.handles_by_flags(mask, value) == flagged, "which have flags"),
        (store.handles_for_relations(&[oid], 1000) == Some(of_table), "which are of a table"),
        (handles(&|entry| store.is_pending(entry)) == pending, "which are not committed"),
        (store.pending_ops() == statistics.pending_ops, "how many changes are not committed"),
        (
            store.pending_removals().iter().all(|handle| store.is_removal_pending(handle)),
            "which removals are not committed",
        ),
        (coldest.handles.iter().eq(read.iter().map(|(_, handle)| handle)), "which is coldest"),
        (coldest.last_read == read.last().map(|(read, _)| *read), "when the coldest were read"),
        (store.downgrade().upgrade().is_some(), "whether it is there"),
    ];
    agreed.into_iter().find(|(agrees, _)| !agrees).map(|(_, what)| what)
}

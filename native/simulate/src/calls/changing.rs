//! What is there is changed and removed.

use shape_store::{ChangeError, Operation, Request, Snapshot, Store};

use crate::{
    chance::Chance,
    model::{Change, View},
    world::World,
};

impl World {
    pub(super) fn remove_shape(&self, number: usize, chance: &mut Chance) {
        let Some((reign, view)) = self.writer(number) else { return };
        let handle = self.some_handle(&view, chance);
        let removed = self.call(number, |store| {
            (store.state(), store.remove(handle.as_bytes(), Request::default()))
        });
        match removed {
            None => {}
            Some((_, Ok(seq))) => {
                self.say(|| format!("store {number} removes {handle}, number {seq}"));
                if !view.contains_key(&handle) {
                    self.wrong("a removal of what is not there was taken", handle.clone());
                }
                self.taken(number, reign, seq, vec![Change::Remove { handle }]);
            }
            Some((_, Err(ChangeError::Unknown))) if !view.contains_key(&handle) => {}
            Some((state, Err(error))) => self.refused(number, state, &error, &handle),
        }
    }

    pub(super) fn some_handle(&self, view: &View, chance: &mut Chance) -> String {
        let there: Vec<&String> = view.keys().collect();
        match there.is_empty() || chance.one_in(4) {
            true => self.handle(chance),
            false => chance.pick(&there).clone(),
        }
    }

    pub(super) fn mark(&self, number: usize, chance: &mut Chance) {
        let Some((reign, view)) = self.writer(number) else { return };
        let handle = self.some_handle(&view, chance);
        let snapshot = chance.pick(&[Snapshot::Started, Snapshot::Complete]);
        self.count("marks");
        let marked = self.call(number, |store| {
            (store.state(), store.mark(handle.as_bytes(), snapshot, Request::default()))
        });
        match marked {
            None => {}
            Some((_, Ok(seq))) => {
                self.say(|| format!("store {number} marks {handle} {snapshot:?}, number {seq}"));
                let snapshot = snapshot as u8;
                self.taken(number, reign, seq, vec![Change::Mark { handle, snapshot }]);
            }
            Some((_, Err(ChangeError::Unknown))) if !view.contains_key(&handle) => {}
            Some((state, Err(error))) => self.refused(number, state, &error, &handle),
        }
    }

    /// Sets the flags of one shape, or of several as one change.
    pub(super) fn flag(&self, number: usize, chance: &mut Chance) {
        let Some((reign, view)) = self.writer(number) else { return };
        self.count("flags set");
        if chance.one_in(2) {
            let (handle, flags) = (self.some_handle(&view, chance), chance.below(256) as u8);
            let set = self.call(number, |store| {
                (store.state(), store.set_flags(handle.as_bytes(), flags, Request::default()))
            });
            match set {
                None => {}
                Some((_, Ok(seq))) => {
                    self.say(|| format!("store {number} flags {handle} {flags}, number {seq}"));
                    self.taken(number, reign, seq, vec![Change::Flags(vec![(handle, flags)])]);
                }
                Some((_, Err(ChangeError::Unknown))) if !view.contains_key(&handle) => {}
                Some((state, Err(error))) => self.refused(number, state, &error, &handle),
            }
            return;
        }
        let mut all: Vec<(String, u8)> = Vec::new();
        for _ in 0..1 + chance.below(4) {
            let handle = self.some_handle(&view, chance);
            if !all.iter().any(|(other, _)| *other == handle) {
                all.push((handle, chance.below(256) as u8));
            }
        }
        let flags: Vec<_> = all.iter().map(|(handle, flags)| (handle.as_bytes(), *flags)).collect();
        let Some(Ok(seq)) = self.call(number, |store| store.set_many_flags(&flags)) else { return };
        self.say(|| format!("store {number} flags {all:?}, number {seq}"));
        all.retain(|(handle, flags)| view.get(handle).is_some_and(|held| held.flags != *flags));
        let changes = if all.is_empty() { Vec::new() } else { vec![Change::Flags(all)] };
        self.taken(number, reign, seq, changes);
    }

    /// Says what the flags mean.
    pub(super) fn set_version(&self, number: usize, chance: &mut Chance) {
        let Some((reign, _)) = self.writer(number) else { return };
        self.count("meanings of flags");
        let version = format!("meaning {}", chance.below(1000));
        if let Some(Ok(seq)) = self.call(number, |store| store.set_flags_version(&version)) {
            self.taken(number, reign, seq, vec![Change::Version(version)]);
        }
    }

    pub(super) fn reset(&self, number: usize) {
        let Some((reign, _)) = self.writer(number) else { return };
        if let Some(Ok(seq)) = self.call(number, Store::reset) {
            self.say(|| format!("store {number} is reset, number {seq}"));
            self.taken(number, reign, seq, vec![Change::Reset]);
        }
    }

    pub(super) fn remove_incomplete(&self, number: usize) {
        let Some((reign, view)) = self.writer(number) else { return };
        let Some(Ok((removed, seq))) = self.call(number, Store::remove_incomplete) else { return };
        let removed: Vec<String> =
            removed.iter().map(|handle| String::from_utf8_lossy(handle).into_owned()).collect();
        self.say(|| format!("store {number} removes {removed:?}, up to number {seq}"));
        let marked = self.of(number, |instance| instance.marked.clone());
        let expected = view.iter().filter(|(_, held)| {
            held.snapshot < 2 && marked.get(&held.shape).is_none_or(|marked| *marked < 2)
        });
        if !expected.map(|(handle, _)| handle).eq(&removed) {
            self.wrong("not what is incomplete was removed", format!("{removed:?} of {view:?}"));
        }
        let changes = removed.into_iter().map(|handle| Change::Remove { handle });
        self.taken(number, reign, seq, changes.collect());
    }

    pub(super) fn note_unknown(&self, number: usize, chance: &mut Chance) {
        let Some((reign, _)) = self.writer(number) else { return };
        let handle = self.handle(chance);
        let operation = chance.pick(&[Operation::Remove, Operation::SnapshotComplete]);
        let noted = self.call(number, |store| {
            store.note_unknown(operation, handle.as_bytes(), Request::default())
        });
        if let Some(Ok(seq)) = noted {
            self.taken(number, reign, seq, vec![Change::Nothing]);
        }
    }
}

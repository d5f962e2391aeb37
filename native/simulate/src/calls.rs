//! What callers ask of a store, and whether its answers are right.

use shape_store::{ChangeError, NotWritable, State, Store};

use crate::{
    action::Kind,
    chance::Chance,
    model::{Change, View},
    promise::{Awaited, Teller},
    world::World,
};

mod adding;
mod changing;
mod lookups;
mod memory;
mod waiting;

impl World {
    /// Calls some store.
    pub(crate) fn perform_call(&self, kind: Kind, chance: &mut Chance) {
        let callable = self.callable();
        if callable.is_empty() {
            return;
        }
        let number = chance.pick(&callable);
        match kind {
            Kind::Add => self.add(number, chance, None),
            Kind::Remove => self.remove_shape(number, chance),
            Kind::Crowd => self.crowd(number, chance),
            Kind::Mark => self.mark(number, chance),
            Kind::MarkInMemory => self.mark_in_memory(number, chance),
            Kind::Flag => self.flag(number, chance),
            Kind::Version => self.set_version(number, chance),
            Kind::Touch => self.touch(number, chance),
            Kind::Cache => self.use_cache(number, chance),
            Kind::Suspect => self.suspect(number),
            Kind::ListPending => self.list_pending(number),
            Kind::Reset => self.reset(number),
            Kind::RemoveIncomplete => self.remove_incomplete(number),
            Kind::Unknown => self.note_unknown(number, chance),
            Kind::Wait => self.wait(number, chance),
            Kind::CancelWait => self.cancel_wait(number, chance),
            Kind::Flush => self.flush(number),
            Kind::Pause => self.pause(number, chance),
            Kind::Room => self.room(number, chance),
            Kind::Promote => self.promote(number),
            Kind::Close => {
                self.say(|| format!("store {number} is to close"));
                self.call(number, Store::close);
            }
            Kind::DropStore => self.drop_store(number),
            Kind::Look => self.look_up(number, chance),
            _ => self.perform_read(kind, number, chance),
        }
    }

    /// What a writer has, and its reign; none for one that is not the writer, or that is
    /// about to say what it has lost.
    pub(super) fn writer(&self, number: usize) -> Option<(usize, View)> {
        self.observe(number);
        let (reign, stepping) = self.of(number, |it| (it.reign, it.stepping));
        let model = self.model.borrow();
        let reign = reign?;
        if model.reign(reign).shaken && stepping {
            return None;
        }
        Some((reign, model.reign(reign).view().clone()))
    }

    pub(super) fn handle(&self, chance: &mut Chance) -> String {
        format!("{}-17369448{:08}", chance.below(self.config.handles), 0)
    }

    /// Whether a change was rightly refused.
    pub(super) fn refused(&self, number: usize, state: State, error: &ChangeError, what: &str) {
        let right = match error {
            ChangeError::NotWritable(why) => match why {
                NotWritable::Standby => state == State::Standby,
                NotWritable::Fenced => state == State::Fenced,
                NotWritable::Opening => state == State::Opening,
                NotWritable::Closed => matches!(state, State::Closing | State::Closed),
                _ => false,
            },
            ChangeError::TooLarge { .. } => self.config.large_bodies,
            ChangeError::Full => self.config.max_pending.ops < 1000,
            _ => false,
        };
        self.say(|| format!("store {number} refuses {what}: {error}"));
        if !right {
            self.wrong(
                "a change was refused for a wrong reason",
                format!("store {number} ({state:?}): {what}: {error:?}"),
            );
        }
    }

    /// A change was taken, under this number.
    pub(super) fn taken(&self, number: usize, reign: usize, seq: u64, changes: Vec<Change>) {
        let before = self.of(number, |it| {
            let before = it.taken;
            it.taken = before.max(seq);
            before
        });
        if seq <= before && !changes.is_empty() {
            self.wrong(
                "a number was given twice",
                format!("{seq} after {before} by store {number}"),
            );
        }
        let first = seq.saturating_sub(changes.len() as u64) + 1;
        let mut model = self.model.borrow_mut();
        for change in changes {
            model.change(reign, (first, seq), change);
        }
        // What is removed takes with it what was known in memory alone, even if that is given
        // up and the shape comes back.
        let view = model.reign(reign).view();
        let here = |shape: &usize| view.values().any(|held| held.shape == *shape);
        self.of(number, |instance| {
            instance.marked.retain(|shape, _| here(shape));
            instance.read.retain(|shape, _| here(shape));
        });
    }

    /// Has a store become the writer.
    pub(crate) fn promote(&self, number: usize) {
        self.say(|| format!("store {number} is to become the writer"));
        let promise = self.promise(number, Awaited::Promotion);
        let teller = Teller(promise);
        let notify = Box::new(move |answer| {
            teller.tell(|world, promise| world.told_promotion(promise, answer));
        });
        if self.call(number, |store| store.promote(notify)).is_none() {
            self.promises.borrow_mut()[promise].void = true;
        }
    }

    /// A follower is to become the writer, if there is one.
    pub(crate) fn promote_follower(&self, chance: &mut Chance) {
        let follows = |number: &usize| {
            self.of(*number, |it| it.store.as_ref().map(Store::state)) == Some(State::Standby)
        };
        let followers: Vec<usize> = self.callable().into_iter().filter(follows).collect();
        if !followers.is_empty() {
            let number = chance.pick(&followers);
            self.promote(number);
            self.step_machine(number, chance.pick(&[1, 5, 30]));
        }
    }

    fn drop_store(&self, number: usize) {
        if let Some(reign) = self.of(number, |instance| instance.reign) {
            self.model.borrow_mut().closing(reign);
        }
        // What is lent and promised keeps nobody from closing.
        self.say(|| format!("nobody holds store {number} any more"));
        let (store, process) = self.of(number, |it| (it.store.take(), it.process));
        self.platform.within(process, || drop(store));
    }

    /// A reader says that the file is damaged, which is looked into.
    fn suspect(&self, number: usize) {
        self.count("doubts about the file");
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        let error = rusqlite::Error::SqliteFailure(code, None);
        self.call(number, |store| store.suspect(&error));
    }

    /// What is not committed is named in a file.
    fn list_pending(&self, number: usize) {
        let listed = self.call(number, |store| {
            let changes = store.pending_entries().len() + store.pending_removals().len();
            (changes, store.list_pending().map(|list| list.map_or(0, |(_, count)| count)))
        });
        let Some((changes, Ok(count))) = listed else { return };
        self.count("lists of what is not committed");
        if count != changes {
            self.wrong("not what is not committed is listed", format!("{count} of {changes}"));
        }
    }
}

//! Shapes are added.

use shape_store::{ChangeError, Digest, NewShape, Request, State};

use crate::{
    chance::{Chance, mix},
    model::{Change, Shape},
    world::World,
};

impl World {
    /// Adds a shape.
    pub(crate) fn add(
        &self,
        number: usize,
        chance: &mut Chance,
        ticket: Option<&shape_store::Ticket>,
    ) {
        let Some((reign, view)) = self.writer(number) else {
            return self.add_to_other(number, chance);
        };
        // In the end each has a name of its own, so that it is taken.
        let own = self.calm.get().then(|| format!("last-{}", self.model.borrow().shapes.len()));
        let handle = own.clone().unwrap_or_else(|| self.handle(chance));
        let digest = match own {
            Some(own) => Digest::of(own.as_bytes()),
            None => Digest::of(&[chance.below(self.config.handles) as u8]),
        };
        let shape = self.model.borrow().shapes.len();
        let body = self.body(shape, &handle, chance);
        let flags = chance.below(256) as u8;
        let oids = [chance.below(3) as u32, chance.below(3) as u32];
        let new = NewShape {
            handle: handle.as_bytes(),
            digest,
            hash: shape as u32,
            oids: &oids,
            flags,
            body: &body,
        };
        let added = self.call(number, |store| {
            let state = store.state();
            let added = store.add(new, Request { ticket, log: true });
            let row = store.entry(handle.as_bytes()).map_or(0, |entry| entry.row);
            (state, added, row)
        });
        let Some((state, added, row)) = added else { return };
        let same_digest = view.iter().find(|(_, held)| {
            let model = self.model.borrow();
            model.shapes.get(held.shape).is_some_and(|shape| shape.digest == digest.0)
        });
        match added {
            Ok(seq) => {
                self.say(|| {
                    format!(
                        "store {number} takes {handle} as shape {shape}, number {seq}, row {row}"
                    )
                });
                if view.contains_key(&handle) || same_digest.is_some() {
                    self.wrong(
                        "an add of what is there was taken",
                        format!("{handle} by store {number}"),
                    );
                }
                // Not even that of an add that was given up.
                let model = self.model.borrow();
                let again = !model.is_shaken() && model.shapes.iter().any(|it| it.row == row);
                drop(model);
                if !self.of(number, |it| it.rows.insert(row)) || again {
                    self.wrong("a row id was given twice", format!("{row} by store {number}"));
                }
                self.model.borrow_mut().shapes.push(Shape {
                    handle: handle.clone(),
                    digest: digest.0,
                    body: Some(body),
                    row,
                });
                self.of(number, |instance| instance.read.insert(shape, None));
                self.taken(number, reign, seq, vec![Change::Add { handle, shape, flags }]);
            }
            Err(ChangeError::DuplicateHandle) if view.contains_key(&handle) => {}
            Err(ChangeError::DuplicateShape(there))
                if same_digest.is_some_and(|(handle, _)| handle.as_bytes() == there.as_slice()) => {
            }
            // A damaged file may have a shape that nobody knows.
            Err(ChangeError::DuplicateShape(_)) if self.model.borrow().reign(reign).shaken => {}
            Err(error) => self.refused(number, state, &error, &handle),
        }
    }

    /// Many come at once.
    pub(super) fn crowd(&self, number: usize, chance: &mut Chance) {
        for _ in 0..3 + chance.below(6) {
            self.add(number, chance, None);
        }
        self.room(number, chance);
    }

    fn add_to_other(&self, number: usize, chance: &mut Chance) {
        let handle = self.handle(chance);
        let answer = self.call(number, |store| {
            let state = store.state();
            if state == State::Active {
                return None;
            }
            let digest = Digest::of(handle.as_bytes());
            let new = NewShape {
                handle: handle.as_bytes(),
                digest,
                hash: 0,
                oids: &[],
                flags: 0,
                body: b"x",
            };
            Some((state, store.add(new, Request::default())))
        });
        match answer.flatten() {
            Some((state, Err(error))) => self.refused(number, state, &error, &handle),
            Some((state, Ok(_))) => {
                self.wrong(
                    "a store that is no writer took a change",
                    format!("store {number}, {state:?}"),
                );
            }
            None => {}
        }
    }

    /// A body that tells which shape it is of.
    fn body(&self, shape: usize, handle: &str, chance: &mut Chance) -> Vec<u8> {
        let len = match chance.below(10) {
            0 if self.config.large_bodies && !self.calm.get() => 40_000,
            0..3 => 20,
            _ => 300 + chance.below(900),
        };
        let mut body = format!("{shape}|{handle}|").into_bytes();
        let (common, own) = (body.len() + len / 2, body.len() + len);
        body.extend((body.len()..common).map(|i| b"the same in all of them "[i % 24]));
        body.extend((body.len()..own).map(|i| mix(shape as u64, i as u64) as u8));
        body
    }
}

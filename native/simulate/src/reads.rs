//! Bodies and lists.

use std::{ops::ControlFlow, sync::mpsc};

use shape_store::{Asker, Body, Entry, Found, Place, Store};

use crate::{
    action::Kind,
    chance::Chance,
    failure::{Class, Failure},
    model::Shape,
    promise::{Awaited, Teller},
    world::World,
};

mod leases;

impl World {
    /// Asks for what may be on the disk.
    pub(crate) fn perform_read(&self, kind: Kind, number: usize, chance: &mut Chance) {
        match kind {
            Kind::Body | Kind::AskBodies => self.ask_body(number, kind == Kind::Body, chance),
            Kind::List => self.list(number),
            Kind::AskReader => self.ask_connection(number, false),
            Kind::AskWriter => self.ask_connection(number, true),
            Kind::CancelAsk => self.cancel_ask(number, chance),
            Kind::UseLease => self.use_lease(number, chance),
            Kind::DropLease => self.drop_lease(number, chance),
            _ => {}
        }
    }

    /// What the shape of a name is now, as far as that is known.
    fn shape_of(&self, number: usize, handle: &str) -> Option<usize> {
        let reign = self.of(number, |instance| instance.reign)?;
        self.model.borrow().reign(reign).view().get(handle).map(|held| held.shape)
    }

    fn ask_body(&self, number: usize, has_writer: bool, chance: &mut Chance) {
        let places = self.call(number, Store::places).unwrap_or_default();
        if places.is_empty() {
            return;
        }
        let place = chance.pick(&places);
        let handle = String::from_utf8_lossy(&place.handle).into_owned();
        let shape = self.shape_of(number, &handle);
        let found = self.call(number, |store| {
            let found = store.body(handle.as_bytes());
            if let Some(Found::Warm(body)) = &found {
                self.check_body(number, &handle, shape, Some(unpacked(store, body)));
            }
            (found, store.is_exclusive())
        });
        let Some((Some(Found::Cold(cold)), exclusive)) = found else { return };
        self.count("cold bodies");
        let at_once =
            self.call(number, |store| store.body_at_once(&cold).map(|body| unpacked(store, &body)));
        if let Some(Some(body)) = at_once {
            self.count("cold bodies at once");
            return self.check_body(number, &handle, shape, Some(body));
        }
        self.ask_bodies(number, vec![cold], vec![(handle, shape)], has_writer && !exclusive);
    }

    fn ask_bodies(
        &self,
        number: usize,
        entries: Vec<Entry>,
        asked: Vec<(String, Option<usize>)>,
        has_writer: bool,
    ) {
        let promise = self.promise(number, Awaited::Bodies(asked));
        let teller = Teller(promise);
        let notify = Box::new(move |bodies| {
            teller.tell(|world, promise| world.told_bodies(promise, bodies));
        });
        let asker = Asker { has_writer, ..Asker::default() };
        if self.call(number, |store| store.ask_bodies(entries, asker, notify)).is_none() {
            self.promises.borrow_mut()[promise].void = true;
        }
    }

    /// Bodies were asked for, and are here.
    pub(crate) fn told_bodies(
        &self,
        promise: usize,
        bodies: Result<Vec<Option<Body>>, shape_store::ReadError>,
    ) {
        let (store, awaited) = {
            let mut promises = self.promises.borrow_mut();
            let it = &mut promises[promise];
            it.told += 1;
            (it.store, it.awaited.clone())
        };
        let (handle, process) = self.of(store, |it| (it.store.clone(), it.process));
        let (Some(handle), true) = (handle, self.platform.is_alive(process)) else { return };
        let bodies = bodies.unwrap_or_else(|error| {
            self.count("failed reads");
            self.say(|| format!("bodies are not to be had: {error}"));
            Vec::new()
        });
        if let Awaited::Bodies(asked) = awaited {
            for ((name, shape), body) in asked.iter().zip(bodies) {
                let body = body.map(|body| unpacked(&handle, &body));
                self.check_body(store, name, *shape, body);
            }
        }
        self.platform.within(process, || drop(handle));
    }

    /// Whether a body is of the shape that had the name when it was asked for.
    fn check_body(&self, number: usize, handle: &str, shape: Option<usize>, body: Option<Vec<u8>>) {
        let text = |body: &[u8]| String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let model = self.model.borrow();
        let failure = match (&body, shape.and_then(|shape| model.shapes.get(shape))) {
            (Some(body), Some(Shape { body: Some(expected), .. })) if expected != body => {
                Some(Failure::new(
                    Class::Wrong,
                    "a body is another's",
                    format!(
                        "store {number}: {handle} has {:?} and should have {:?}",
                        text(body),
                        text(expected)
                    ),
                ))
            }
            // Of a follower it is not known which: one of those of that name.
            (Some(body), None)
                if !model.shapes.iter().any(|it| {
                    it.handle == handle && it.body.as_ref().is_none_or(|its| its == body)
                }) && crate::foreign::body(handle).as_ref() != Some(body) =>
            {
                Some(Failure::new(
                    Class::Wrong,
                    "a body is of nobody of that name",
                    format!("store {number}: {handle} has {:?}", text(body)),
                ))
            }
            _ => None,
        };
        drop(model);
        if let Some(failure) = failure {
            self.fail(failure);
        }
        let reign = self.of(number, |instance| instance.reign);
        if let (None, Some(shape), Some(reign)) = (body, shape, reign) {
            let model = self.model.borrow();
            // Another may have taken the writing over, and removed it.
            let heir = model.is_heir(reign);
            let reign = model.reign(reign);
            let there = reign.view().get(handle).is_some_and(|held| held.shape == shape);
            let failure = (there && heir && !reign.shaken).then(|| {
                Failure::new(
                    Class::Lost,
                    "a body is gone though nothing was damaged",
                    format!("store {number}: {handle}, shape {shape}"),
                )
            });
            drop(model);
            failure.into_iter().for_each(|failure| self.fail(failure));
        }
    }

    pub(crate) fn list(&self, number: usize) {
        let listed = self.call(number, |store| {
            let cold = |place: &Place| match store.body_at(place) {
                Some(Found::Cold(cold)) => {
                    Some((cold, (String::from_utf8_lossy(&place.handle).into_owned(), None)))
                }
                _ => None,
            };
            store.places().iter().filter_map(cold).unzip::<_, _, Vec<_>, Vec<_>>()
        });
        if let Some((entries, names)) = listed {
            self.count("lists");
            let mut at_once = Vec::new();
            self.call(number, |store| {
                store.visit_at_once(&entries.iter().collect::<Vec<_>>(), |body| {
                    at_once.push(body.to_vec());
                    ControlFlow::Continue(())
                });
            });
            for ((name, _), body) in names.iter().zip(at_once) {
                self.count("bodies of a list at once");
                self.check_body(number, name, None, Some(body));
            }
            self.ask_bodies(number, entries, names, false);
        }
    }

    /// The bodies of all that a store has, one after the other, which are to be had if the
    /// file is `sound`.
    pub(crate) fn read_everything(&self, number: usize, sound: bool) {
        let exclusive = self.call(number, Store::is_exclusive);
        if exclusive != Some(false) {
            return;
        }
        let places = self.call(number, Store::places).unwrap_or_default();
        for place in places {
            let handle = String::from_utf8_lossy(&place.handle).into_owned();
            let shape = self.shape_of(number, &handle);
            let read: Option<Result<_, String>> =
                self.call(number, |store| match store.body(handle.as_bytes()) {
                    None => Ok(None),
                    Some(Found::Warm(body)) => Ok(Some(unpacked(store, &body))),
                    Some(Found::Cold(cold)) => {
                        let (answer, answered) = mpsc::channel();
                        let notify = Box::new(move |bodies| drop(answer.send(bodies)));
                        store.ask_bodies(vec![cold], Asker::default(), notify);
                        // What the writer had to be asked for is not here yet.
                        let bodies = answered.try_recv().map_err(|error| error.to_string())?;
                        let body = bodies.map_err(|error| error.to_string())?.swap_remove(0);
                        Ok(body.map(|body| unpacked(store, &body)))
                    }
                });
            match read {
                Some(Ok(None)) if sound => self.fail(Failure::new(
                    Class::Lost,
                    "a shape that is there has no body",
                    format!("store {number}: {handle}"),
                )),
                Some(Ok(body)) => self.check_body(number, &handle, shape, body),
                Some(Err(error)) if sound => {
                    self.fail(Failure::new(
                        Class::Lost,
                        "a body is not to be had though nothing fails",
                        format!("store {number}: {handle}: {error}"),
                    ));
                }
                _ => {}
            }
        }
    }
}

fn unpacked(store: &Store, body: &Body) -> Vec<u8> {
    let mut buffer = Vec::new();
    store.dictionary().unpack(body, &mut buffer).to_vec()
}

//! Connections are asked for, used and given back.

use rusqlite::Connection;

use crate::{
    chance::Chance,
    promise::{Awaited, Teller},
    world::World,
};

impl World {
    pub(super) fn ask_connection(&self, number: usize, writer: bool) {
        let awaited = if writer { Awaited::Writer } else { Awaited::Reader };
        self.say(|| format!("store {number} is asked for its {awaited:?}"));
        let promise = self.promise(number, awaited);
        let teller = Teller(promise);
        let notify = Box::new(move |granted| {
            // Dropped within the process, if nobody is there to be told.
            teller.tell(|world, promise| world.told_granted(promise, granted));
        });
        let asked = self.call(number, |store| match writer {
            true => store.ask_writer(notify),
            false => store.ask_reader(notify),
        });
        match asked {
            None => self.promises.borrow_mut()[promise].void = true,
            Some(Some(request)) => {
                self.of(number, |instance| instance.asked.push((promise, writer, request)));
            }
            Some(None) => {}
        }
    }

    /// A request for a connection is taken back.
    pub(super) fn cancel_ask(&self, number: usize, chance: &mut Chance) {
        let asked = self.of(number, |instance| instance.asked.clone());
        if asked.is_empty() {
            return;
        }
        let (promise, writer, request) = chance.pick(&asked);
        let told = self.promises.borrow()[promise].told;
        let taken_back = self.call(number, |store| match writer {
            true => store.cancel_writer(request),
            false => store.cancel_reader(request),
        });
        match taken_back {
            Some(true) if told > 0 => {
                self.wrong("a request that was answered was taken back", format!("{promise}"));
            }
            Some(true) => {
                self.count("requests for connections taken back");
                self.promises.borrow_mut()[promise].void = true;
            }
            _ => {}
        }
        self.of(number, |instance| instance.asked.retain(|(other, ..)| *other != promise));
    }

    pub(super) fn use_lease(&self, number: usize, chance: &mut Chance) {
        let lease = self.of(number, |instance| instance.leases.pop());
        let Some(lease) = lease else { return };
        self.count("leases used");
        let way = chance.pick(&[0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 8]);
        let used = self.call(number, |_| lease.with(|conn| run(conn, way)));
        self.say(|| format!("a lease of store {number} in way {way}: {used:?}"));
        // Somebody may have taken the writing from it, so that it is not used any more.
        let process = self.of(number, |instance| instance.process);
        match self.platform.is_alive(process) {
            true => self.of(number, |instance| instance.leases.push(lease)),
            false => self.platform.within(process, || drop(lease)),
        }
    }

    pub(super) fn drop_lease(&self, number: usize, chance: &mut Chance) {
        let (lease, process) = self.of(number, |instance| {
            let lease = (!instance.leases.is_empty())
                .then(|| instance.leases.remove(chance.below(instance.leases.len())));
            (lease, instance.process)
        });
        self.platform.within(process, || drop(lease));
    }
}

fn run(conn: &Connection, way: usize) -> rusqlite::Result<()> {
    match way {
        0 => conn.query_row("SELECT count(*) FROM shapes", [], |_| Ok(())),
        1 => conn.execute_batch("BEGIN IMMEDIATE; COMMIT"),
        2 => conn.execute_batch("BEGIN IMMEDIATE; ROLLBACK"),
        // Left open.
        3 if conn.is_autocommit() => conn.execute_batch("BEGIN; SELECT count(*) FROM shapes"),
        // A table of the store's name before the store's own.
        4 => conn.execute_batch("CREATE TEMP TABLE shapes AS SELECT * FROM main.shapes"),
        5 => conn.execute_batch("ATTACH ':memory:' AS other"),
        6 => conn.execute_batch("PRAGMA synchronous = OFF"),
        7 if conn.is_autocommit() => conn.execute_batch("BEGIN IMMEDIATE"),
        _ => conn
            .execute_batch("CREATE TABLE IF NOT EXISTS scratch(x); INSERT INTO scratch VALUES (1)"),
    }
}

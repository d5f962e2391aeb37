//! The file of another stack, as somebody may put it in the place of ours.

use std::{cell::RefCell, sync::Arc};

use shape_store::{Digest, Location, Machine, NewShape, Next, Options, Request, Store};

use crate::{platform::Platform, system::Simulated, vfs};

const PATH: &str = "/other/shapes.sqlite";

thread_local! {
    static MADE: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Its bytes; nothing until [`prepare`] was called on this thread.
pub(crate) fn database() -> Vec<u8> {
    MADE.with_borrow(|made| made.clone().unwrap_or_default())
}

/// The body of the other stack's shape of this name, if it is one.
pub(crate) fn body(handle: &str) -> Option<Vec<u8>> {
    handle.starts_with("foreign").then(|| body_of(handle))
}

fn body_of(handle: &str) -> Vec<u8> {
    format!("foreign|{handle}|").repeat(10).into_bytes()
}

/// Has it made, if it is not there yet on this thread.
pub(crate) fn prepare() {
    if MADE.with_borrow(Option::is_some) {
        return;
    }
    let platform = Platform::install(0);
    let process = platform.start(0);
    let mut options = Options::new(Location::File(PATH.into()));
    options.vfs = Some(vfs::name_of(0));
    options.system = Arc::new(Simulated::new(&platform, process));
    platform.within(process, || {
        let none = Box::new(|_| Err("nothing is to be verified".into()));
        let assembled = Store::assemble(options, Box::new(|_| {}), none);
        let (store, mut machine) = assembled.expect("the path is absolute");
        run(&platform, &mut machine);
        for number in 0..5 {
            let handle = format!("foreign-{number}");
            let shape = NewShape {
                handle: handle.as_bytes(),
                digest: Digest::of(handle.as_bytes()),
                hash: number,
                oids: &[number],
                body: &body_of(&handle),
            };
            store.add(shape, Request::default()).expect("the other's store takes a shape");
        }
        store.close();
        run(&platform, &mut machine);
    });
    let disk = platform.disk.borrow();
    let key = disk.find(PATH).expect("the other's file was made");
    let bytes = disk.inode(key).content.bytes().to_vec();
    drop(disk);
    MADE.set(Some(bytes));
    Platform::uninstall();
}

fn run(platform: &Platform, machine: &mut Machine) {
    for _ in 0..10_000 {
        match machine.step(platform.now()) {
            Next::Again => {}
            Next::Wait(None) if machine.has_mail() => {}
            Next::Wait(Some(at)) if machine.has_mail() || at <= platform.now() => {}
            Next::Wait(_) | Next::Over => return,
        }
    }
    panic!("the other's store does not come to rest");
}

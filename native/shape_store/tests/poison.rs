//! The death of the writer: everybody hears of it, and the file is free again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::sync::mpsc;

use common::{PATIENCE, file_in, open, path_of, shape, tell, unsynced};
use shape_store::{
    ChangeError, Event, NotWritable, Options, Outcome, Request, Source, SourceSchema, State, Store,
    Waiting,
};

#[test]
fn a_panic_of_the_writer_poisons_the_store_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let older = unsynced(file_in(folder.path().join("older")));
    let store = open(older.clone());
    store.add(&shape(1)).unwrap();
    store.close();

    // What is called on the writer thread and is not ours: the verification.
    let source = Source { path: path_of(&older).into(), schema: SourceSchema::Five, verify: true };
    let options = Options { sources: vec![source], ..unsynced(file_in(&folder)) };
    let (send, events) = mpsc::channel();
    let (asked, is_asked) = mpsc::channel::<()>();
    let (go, goes) = mpsc::channel::<()>();
    let store = Store::open(
        options.clone(),
        Box::new(move |event| drop(send.send(event))),
        Box::new(move |_| {
            asked.send(()).unwrap();
            goes.recv().unwrap();
            panic!("the verification is broken")
        }),
    )
    .unwrap();
    is_asked.recv_timeout(PATIENCE).unwrap();
    let (told, outcome) = crossbeam_channel::unbounded();
    assert!(matches!(store.wait(1, tell(told)), Waiting::Until(_)));
    go.send(()).unwrap();

    let message = loop {
        if let Event::Poisoned { message } = events.recv_timeout(PATIENCE).unwrap() {
            break message;
        }
    };
    assert!(message.contains("the verification is broken"));
    assert_eq!(outcome.recv_timeout(PATIENCE).unwrap(), Outcome::Poisoned);
    assert_eq!(store.state(), State::Poisoned);
    let refused = store.add(shape(2).to_add(), Request::default());
    assert!(matches!(refused, Err(ChangeError::NotWritable(NotWritable::Poisoned))));
    store.ask_writer(Box::new(|granted| assert!(granted.is_err())));
    store.close();
    assert_eq!(store.state(), State::Poisoned);

    // The file, and the older one, can be had by the next.
    let next = open(Options { sources: Vec::new(), ..options });
    next.add(&shape(2)).unwrap();
    next.close();
    assert!(path_of(&older).exists());
}

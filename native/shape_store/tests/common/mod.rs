//! What the tests share: shapes made from a number, a store with its events on a
//! channel, and waits that end. Nothing here sleeps: a wait that takes longer
//! than [`PATIENCE`] is a failed test.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "each test uses a part of it; a test fails by panicking"
)]

pub mod instance;
pub mod rng;
pub mod sql;

use std::{
    io::Write as _,
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded as channel};
use fault_vfs::FaultVfs;
use shape_store::{
    Asker, Body, ChangeError, Digest, Entry, Event, Found, Location, NewShape, Notify, Oid,
    Options, Outcome, ReadError, Request, Seq, Snapshot, Store, Waiting,
};

/// How long anything may take that must happen.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A shape to add and to compare with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    pub handle: Vec<u8>,
    pub digest: Digest,
    pub hash: u32,
    pub oids: Vec<Oid>,
    pub body: Vec<u8>,
}

/// The shape of a number: another number gives another handle, digest and body.
pub fn shape(n: u32) -> Shape {
    named(format!("{n}-1736944891394221").as_bytes(), n)
}

/// The shape of a number, under this handle.
pub fn named(handle: &[u8], n: u32) -> Shape {
    Shape {
        handle: handle.to_vec(),
        digest: Digest::of(&n.to_le_bytes()),
        hash: n,
        oids: vec![n % 7, 1000 + n % 3],
        body: body(n),
    }
}

/// Bytes that tell the number, 20 to 400 of them.
pub fn body(n: u32) -> Vec<u8> {
    n.to_le_bytes().repeat(5 + n as usize % 95)
}

impl Shape {
    /// What the index has of it, in this row.
    pub fn entry(&self, row: u64) -> Entry {
        Entry {
            row,
            handle: self.handle.as_slice().into(),
            digest: self.digest,
            hash: self.hash,
            snapshot: Snapshot::None,
            flags: 0,
            oids: self.oids.as_slice().into(),
        }
    }

    pub fn to_add(&self) -> NewShape<'_> {
        NewShape {
            handle: &self.handle,
            digest: self.digest,
            hash: self.hash,
            oids: &self.oids,
            flags: 0,
            body: &self.body,
        }
    }

    /// Whether an entry is this shape, but for its row and snapshot.
    pub fn is(&self, entry: &Entry) -> bool {
        entry.handle.as_slice() == self.handle
            && entry.digest == self.digest
            && entry.hash == self.hash
            && entry.oids.as_slice() == self.oids
    }
}

/// How an opening went.
#[derive(Debug)]
pub struct Opening {
    pub shapes: usize,
    pub standby: bool,
    pub quarantined: Option<PathBuf>,
}

/// An open store and its events.
pub struct Running {
    pub store: Store,
    pub events: Receiver<Event>,
    pub opening: Opening,
}

impl Deref for Running {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

/// Options for a file of this name in a folder.
pub fn file_in(folder: impl AsRef<Path>) -> Options {
    Options::new(Location::File(folder.as_ref().join("shapes.sqlite")))
}

/// The same without waiting for the device, where a test loses no power itself.
pub fn unsynced(options: Options) -> Options {
    static VFS: LazyLock<Arc<FaultVfs>> = LazyLock::new(|| {
        let vfs = FaultVfs::unique();
        vfs.skip_syncs(true);
        vfs
    });
    Options { vfs: Some(VFS.name().into()), ..options }
}

pub fn path_of(options: &Options) -> &Path {
    match &options.location {
        Location::File(path) => path,
        Location::Memory => panic!("a store in memory has no path"),
    }
}

/// Opens a store, or says why it did not open.
pub fn try_open(options: Options) -> Result<Running, String> {
    try_open_hearing(options, |_| {})
}

/// The same, with somebody to hear each event on the thread that tells it.
pub fn try_open_hearing(
    options: Options,
    hear: impl Fn(&Event) + Send + Sync + 'static,
) -> Result<Running, String> {
    let (sender, events) = channel();
    let events_to = Box::new(move |event| {
        hear(&event);
        // Nobody listens any more once the test let go of the store.
        let _ = sender.send(event);
    });
    let verify = Box::new(|_| Err("nothing to verify with".into()));
    let store = Store::open(options, events_to, verify).map_err(|e| e.to_string())?;
    match events.recv_timeout(PATIENCE) {
        Ok(Event::Opened { shapes, standby, quarantined, .. }) => {
            Ok(Running { store, events, opening: Opening { shapes, standby, quarantined } })
        }
        Ok(Event::OpenFailed { reason }) => Err(reason),
        other => panic!("neither opened nor failed: {other:?}"),
    }
}

pub fn open(options: Options) -> Running {
    try_open(options).expect("the store opens")
}

impl Running {
    pub fn add(&self, shape: &Shape) -> Result<Seq, ChangeError> {
        self.store.add(shape.to_add(), Request::default())
    }

    pub fn remove(&self, handle: &[u8]) -> Result<Seq, ChangeError> {
        self.store.remove(handle, Request::default())
    }

    pub fn complete(&self, handle: &[u8]) -> Result<Seq, ChangeError> {
        self.store.mark(handle, Snapshot::Complete, Request::default())
    }

    /// How the wait for a number ended; `None` when it did not within `limit`.
    pub fn outcome_within(&self, seq: Seq, limit: Duration) -> Option<Outcome> {
        let (sender, told) = channel();
        match self.wait(seq, tell(sender)) {
            Waiting::Over(outcome) => Some(outcome),
            Waiting::Until(_) => told.recv_timeout(limit).ok(),
        }
    }

    pub fn outcome(&self, seq: Seq) -> Outcome {
        self.outcome_within(seq, PATIENCE).expect("the wait ends")
    }

    /// Has everything so far committed, paused or not.
    pub fn flush(&self) {
        let last = self.last();
        self.flush_to(last);
        assert_eq!(self.outcome(last), Outcome::Durable);
    }

    /// The body of a shape, from wherever it is.
    pub fn whole_body(&self, handle: &[u8]) -> Option<Vec<u8>> {
        match self.store.body(handle)? {
            Found::Warm(body) => Some(self.unpack(&body)),
            Found::Cold(entry) => self.cold(entry).expect("the row can be read"),
        }
    }

    /// The body of a shape that is there, or why it is not to be had.
    pub fn try_body(&self, handle: &[u8]) -> Result<Vec<u8>, String> {
        match self.store.body(handle).ok_or("no such shape")? {
            Found::Warm(body) => Ok(self.unpack(&body)),
            Found::Cold(entry) => {
                self.cold(entry).map_err(|e| e.to_string())?.ok_or("no row".into())
            }
        }
    }

    fn cold(&self, entry: Entry) -> Result<Option<Vec<u8>>, ReadError> {
        if let Some(body) = self.body_at_once(&entry) {
            return Ok(Some(self.unpack(&body)));
        }
        Ok(self.ask(vec![entry])?.remove(0))
    }

    /// The bodies of shapes, in line.
    pub fn ask(&self, entries: Vec<Entry>) -> Result<Vec<Option<Vec<u8>>>, ReadError> {
        let (sender, told) = channel();
        self.ask_bodies(entries, Asker::default(), tell(sender));
        let bodies = told.recv_timeout(PATIENCE).expect("who asks is told")?;
        Ok(bodies.iter().map(|body| Some(self.unpack(body.as_ref()?))).collect())
    }

    fn unpack(&self, body: &Body) -> Vec<u8> {
        self.dictionary().unpack(body, &mut Vec::new()).to_vec()
    }

    /// Waits for an event; the ones before it are lost.
    pub fn event<T>(&self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(left) {
                Ok(event) => {
                    if let Some(found) = wanted(event) {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("the event does not come"),
                Err(RecvTimeoutError::Disconnected) => panic!("the store ended without it"),
            }
        }
    }

    /// Closes, and gives the durable number the store ended with.
    pub fn close(self) -> Seq {
        self.store.close();
        self.closed()
    }

    /// Waits until it is closed.
    pub fn closed(&self) -> Seq {
        self.event(|event| match event {
            Event::Closed { durable } => Some(durable),
            _ => None,
        })
    }
}

/// A notification that arrives on a channel.
pub fn tell<T: Send + 'static>(to: Sender<T>) -> Notify<T> {
    Box::new(move |told| {
        // The test may have stopped waiting.
        let _ = to.send(told);
    })
}

/// Whether the long form of a test is asked for, by `FAULTS=full` and the like.
pub fn is_full(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| value == "full")
}

/// Prints a result past the test harness, which would keep it of a test that
/// succeeds.
pub fn report(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

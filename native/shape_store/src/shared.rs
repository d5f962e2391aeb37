//! What callers and the writer thread share.

use std::{
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicI64, AtomicU8, AtomicU64, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Instant,
};

use crossbeam_channel::Sender;
use parking_lot::Mutex;
use rusqlite::Connection;

use crate::{
    Notify,
    batch::is_corruption,
    bodies::Bodies,
    body::{Body, Dictionary},
    clock::Clock,
    connection::{GrantError, Granted, Readers},
    entry::RowId,
    error::{NotWritable, ReadError},
    event::{Event, Events},
    index::Index,
    options::Options,
    pending::Pending,
    queue::{Queue, Seq},
    waits::Waits,
    wake::Wake,
};

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) index: Index,
    pub(crate) clock: Clock,
    pub(crate) pending: Pending,
    pub(crate) bodies: Bodies,
    /// What packs the bodies that were read.
    pub(crate) dictionary: Arc<Dictionary>,
    /// The mutation lock: who holds it may change the index.
    pub(crate) queue: Mutex<Queue>,
    pub(crate) waits: Waits,
    pub(crate) readers: Arc<Readers>,
    /// Connections open now.
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) gate: Gate,
    pub(crate) writer_line: Mutex<WriterLine>,
    pub(crate) counters: Counters,
    commands: Sender<Command>,
    /// What the writer does.
    pub(crate) rest: Wake,
    state: AtomicU8,
    events: Events,
    pressed_since: Mutex<Option<Instant>>,
    /// Whether a check of the file was asked for and has not been made.
    suspected: AtomicBool,
}

/// What the writer thread is asked to do, besides the queue.
pub(crate) enum Command {
    /// Look around.
    Wake,
    /// A lent connection comes home.
    Return(Connection),
    /// Become the writer of the file.
    Promote(Reply<Result<(), String>>),
    /// Read bodies on the one connection there is.
    Read(Vec<RowId>, Reply<Result<Vec<Option<Body>>, ReadError>>),
    /// See whether the file is sound: a reader says it is not.
    Check,
    /// Commit what is queued, and end.
    Close,
}

/// A notification that goes out even if the writer ends before it answers.
pub(crate) struct Reply<T> {
    notify: Option<Notify<T>>,
    unanswered: fn() -> T,
}

impl<T> Reply<T> {
    pub(crate) fn new(notify: Notify<T>, unanswered: fn() -> T) -> Self {
        Self { notify: Some(notify), unanswered }
    }

    pub(crate) fn send(mut self, answer: T) {
        if let Some(notify) = self.notify.take() {
            notify(answer);
        }
    }
}

impl<T> Drop for Reply<T> {
    fn drop(&mut self) {
        if let Some(notify) = self.notify.take() {
            notify((self.unanswered)());
        }
    }
}

/// Those who want the connection that writes.
#[derive(Default)]
pub(crate) struct WriterLine {
    pub(crate) line: std::collections::VecDeque<(u64, Notify<Granted>)>,
    next: u64,
    pub(crate) closed: bool,
}

/// Numbers for statistics.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) faults: AtomicU64,
    pub(crate) set_aside: AtomicU64,
    pub(crate) last_commit_us: AtomicU64,
    pub(crate) last_commit_ops: AtomicU64,
    pub(crate) epoch: AtomicI64,
}

/// How far the writer may go.
pub(crate) struct Gate {
    /// Whether it waits for flushes.
    held: AtomicBool,
    /// Flushes allow it up to here all the same.
    flush_to: AtomicU64,
}

impl Gate {
    pub(crate) fn new(held: bool) -> Self {
        Self { held: AtomicBool::new(held), flush_to: AtomicU64::new(0) }
    }

    pub(crate) fn allows(&self) -> Seq {
        match self.held.load(Acquire) {
            true => self.wanted(),
            false => Seq::MAX,
        }
    }

    /// How far somebody waits for.
    pub(crate) fn wanted(&self) -> Seq {
        self.flush_to.load(Acquire)
    }

    pub(crate) fn hold(&self, held: bool) {
        self.held.store(held, Release);
    }

    pub(crate) fn flush_to(&self, seq: Seq) {
        self.flush_to.fetch_max(seq, Release);
    }
}

/// What a store is doing with its file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum State {
    /// Reading it.
    Opening = 0,
    /// Following another writer.
    Standby = 1,
    /// Writing it.
    Active = 2,
    /// Another took the writing over.
    Fenced = 3,
    /// Committing the rest.
    Closing = 4,
    /// Nothing any more.
    Closed = 5,
    /// Its writer died.
    Poisoned = 6,
}

impl State {
    pub(crate) fn writable(self) -> Result<(), NotWritable> {
        match self {
            Self::Active => Ok(()),
            Self::Opening => Err(NotWritable::Opening),
            Self::Standby => Err(NotWritable::Standby),
            Self::Fenced => Err(NotWritable::Fenced),
            Self::Closing | Self::Closed => Err(NotWritable::Closed),
            Self::Poisoned => Err(NotWritable::Poisoned),
        }
    }
}

impl Shared {
    pub(crate) fn new(options: Options, events: Events, commands: Sender<Command>) -> Self {
        let open = Arc::new(AtomicUsize::new(0));
        Self {
            index: Index::new(),
            clock: Clock::new(Arc::clone(&options.system), options.clock),
            pending: Pending::new(),
            bodies: Bodies::new(options.cache_bytes),
            dictionary: Arc::default(),
            queue: Mutex::new(Queue::new(options.max_pending)),
            waits: Waits::default(),
            readers: Arc::new(Readers::new(options.clone(), Arc::clone(&open), commands.clone())),
            open,
            gate: Gate::new(options.manual_flush),
            writer_line: Mutex::default(),
            counters: Counters::default(),
            commands,
            rest: Wake::new(),
            state: AtomicU8::new(State::Opening as u8),
            events,
            pressed_since: Mutex::new(None),
            suspected: AtomicBool::new(false),
            options,
        }
    }

    pub(crate) fn state(&self) -> State {
        match self.state.load(Acquire) {
            0 => State::Opening,
            1 => State::Standby,
            2 => State::Active,
            3 => State::Fenced,
            4 => State::Closing,
            5 => State::Closed,
            _ => State::Poisoned,
        }
    }

    /// Enters a state. Those in which no change is taken are entered under the
    /// mutation lock, so that none slips in behind the last look at the queue.
    /// What is closing or dead stays so: the answer is whether it was entered.
    pub(crate) fn enter(&self, state: State) -> bool {
        let dismissed = {
            let mut queue = self.queue.lock();
            if self.state() > state && self.state() >= State::Closing {
                return false;
            }
            self.state.store(state as u8, Release);
            match state.writable() {
                Ok(()) => Vec::new(),
                Err(_) => queue.dismiss(),
            }
        };
        dismissed.into_iter().for_each(|notify| notify(()));
        true
    }

    pub(crate) fn emit(&self, event: Event) {
        (self.events)(event);
    }

    /// Has the writer look around, unless it is about to. To be called after what it
    /// is to find was left for it.
    pub(crate) fn wake(&self) {
        if self.rest.rouse() {
            self.command(Command::Wake);
        }
    }

    /// The same for what cannot wait until more has gathered.
    pub(crate) fn wake_now(&self) {
        if self.rest.rouse_now() {
            self.command(Command::Wake);
        }
    }

    /// Sends a command; gives it back when the writer is gone.
    pub(crate) fn command(&self, command: Command) -> Option<Command> {
        self.commands.send(command).err().map(|unsent| unsent.0)
    }

    /// Has the writer check the file, when this error of a reader says that it is
    /// not what SQLite wrote.
    pub(crate) fn suspect(&self, error: &rusqlite::Error) {
        if is_corruption(error) && !self.suspected.swap(true, Relaxed) {
            self.command(Command::Check);
        }
    }

    pub(crate) fn checked(&self) {
        self.suspected.store(false, Relaxed);
    }

    /// Asks for the connection that writes.
    pub(crate) fn ask_writer(&self, notify: Notify<Granted>) -> Option<u64> {
        let mut line = self.writer_line.lock();
        if line.closed {
            drop(line);
            notify(Err(GrantError::Closed));
            return None;
        }
        let number = line.next;
        line.next += 1;
        line.line.push_back((number, notify));
        drop(line);
        self.wake_now();
        Some(number)
    }

    pub(crate) fn cancel_writer(&self, number: u64) -> bool {
        let mut line = self.writer_line.lock();
        let before = line.line.len();
        line.line.retain(|(other, _)| *other != number);
        line.line.len() < before
    }

    /// Notes that somebody waits for room.
    pub(crate) fn pressure_began(&self, ops: usize, bytes: usize) {
        let mut since = self.pressed_since.lock();
        if since.is_none() {
            *since = Some(Instant::now());
            drop(since);
            self.emit(Event::PressureStarted { ops, bytes });
        }
    }

    /// Grants the room there is to those in line.
    pub(crate) fn grant_room(&self) {
        let (told, pressed) = {
            let mut queue = self.queue.lock();
            (queue.grant(), queue.is_pressed())
        };
        told.into_iter().for_each(|notify| notify(()));
        if !pressed && let Some(since) = self.pressed_since.lock().take() {
            self.emit(Event::PressureEnded { duration: since.elapsed() });
        }
    }

    pub(crate) fn count_connection(&self, opened: bool) {
        match opened {
            true => self.open.fetch_add(1, Relaxed),
            false => self.open.fetch_sub(1, Relaxed),
        };
    }
}

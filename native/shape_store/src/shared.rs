//! What callers and the writer share.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool, AtomicU8, AtomicUsize,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
    time::Instant,
};

use parking_lot::Mutex;

use crate::{
    Notify,
    cache::{BodyCache, body::Dictionary},
    clock::Clock,
    error::ReadError,
    event::{Event, Events},
    file::{
        Known,
        connection::MEMORY,
        fault::{is_damage, is_trouble},
        schema::Identity,
    },
    index::Index,
    options::{Location, Options},
    queue::{Queue, durable::Waits, pending::Pending},
    state::State,
    statistics::Counters,
    store::{
        cold_reads::ColdReads,
        lease::{GrantError, Granted, Line},
        readers::Readers,
    },
    system::{FileId, Holder},
    writer::{command::Command, gate::Gate, mail::Mail},
};

/// Has something done.
pub(crate) type Scope = Box<dyn Fn(&mut dyn FnMut()) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) index: Index,
    pub(crate) clock: Clock,
    pub(crate) pending: Pending,
    pub(crate) cache: BodyCache,
    /// What packs the bodies that were read.
    pub(crate) dictionary: Arc<Dictionary>,
    /// The mutation lock: who holds it may change the index.
    pub(crate) queue: Mutex<Queue>,
    pub(crate) waits: Waits,
    pub(crate) readers: Arc<Readers>,
    pub(crate) cold_reads: ColdReads,
    /// Where the file is, known once the store is opening it.
    path: Arc<OnceLock<PathBuf>>,
    /// Which file that is.
    pub(crate) known: Arc<Known>,
    /// This store as others of the process see it.
    pub(crate) holder: Arc<Holder>,
    /// Connections open now.
    pub(crate) open: Arc<AtomicUsize>,
    pub(crate) gate: Gate,
    /// Those who want the connection that writes.
    pub(crate) writer_line: Mutex<Line>,
    pub(crate) counters: Counters,
    /// How the writer is reached.
    pub(crate) mail: Arc<Mail>,
    state: AtomicU8,
    events: Events,
    /// In which all is done that is done for this store.
    pub(crate) scope: Scope,
    pressed_since: Mutex<Option<Instant>>,
    /// Whether a check of the file was asked for and has not been made.
    suspected: AtomicBool,
}

impl Shared {
    pub(crate) fn new(options: Options, events: Events, scope: Scope) -> Self {
        let mail = Arc::new(Mail::new());
        let open = Arc::new(AtomicUsize::new(0));
        let path = Arc::new(OnceLock::new());
        let known = Arc::new(Known::default());
        let janitor = Arc::clone(&mail);
        let readers = Readers::new(
            options.clone(),
            Arc::clone(&path),
            Arc::clone(&known),
            Arc::clone(&open),
            // A writer that is gone has closed the readers.
            Box::new(move || janitor.wake()),
        );
        Self {
            index: Index::new(),
            clock: Clock::new(Arc::clone(&options.system), options.clock),
            pending: Pending::new(),
            cache: BodyCache::new(options.cache_bytes),
            dictionary: Arc::default(),
            queue: Mutex::new(Queue::new(options.max_pending)),
            waits: Waits::default(),
            readers: Arc::new(readers),
            cold_reads: ColdReads::new(options.readers),
            path,
            known,
            holder: Arc::new(Holder::new(options.stack.clone())),
            open,
            gate: Gate::new(options.manual_flush),
            writer_line: Mutex::default(),
            counters: Counters::default(),
            mail,
            state: AtomicU8::new(State::Opening as u8),
            events,
            scope,
            pressed_since: Mutex::new(None),
            suspected: AtomicBool::new(false),
            options,
        }
    }

    /// Whether the store has a file, and is not in memory alone.
    pub(crate) fn has_file(&self) -> bool {
        self.options.location != Location::Memory
    }

    /// Where the file is: its one name, once the store is opening it.
    pub(crate) fn path(&self) -> &Path {
        match (&self.options.location, self.path.get()) {
            (_, Some(path)) => path,
            (Location::File(path), None) => path,
            (Location::Memory, None) => Path::new(MEMORY),
        }
    }

    /// Notes the file's one name, once.
    pub(crate) fn is_at(&self, path: PathBuf) {
        let _ = self.path.set(path);
    }

    /// Reads bodies from this file from here on, and from no other.
    pub(crate) fn reads_from(&self, id: FileId, identity: Identity) {
        let before = self.known.set(id, identity);
        if before == Some((id, identity)) {
            return;
        }
        self.readers.renew();
        // Rows of another database have the same numbers, and one that somebody put in place
        // beside the log of the one before says that it is that one. After the readers: what
        // one of the file before still reads is kept for the database of before.
        if before.is_some() {
            self.cache.begin_again();
        }
    }

    pub(crate) fn now(&self) -> Instant {
        self.options.system.now()
    }

    /// The time by the clock on the wall, in milliseconds since 1970.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.options.system.since_epoch().as_millis() as u64
    }

    pub(crate) fn state(&self) -> State {
        State::from_number(self.state.load(Acquire))
    }

    /// Enters a state. Those in which no change is taken are entered under the
    /// mutation lock, so that none slips in behind the last look at the queue.
    /// What is closing or dead stays so: the answer is whether it was entered.
    pub(crate) fn enter(&self, state: State) -> bool {
        self.enter_with(state, |_| ()).is_some()
    }

    /// The same, with a last look at the queue before anybody else has one.
    pub(crate) fn enter_with<T>(
        &self,
        state: State,
        look: impl FnOnce(&mut Queue) -> T,
    ) -> Option<T> {
        let (dismissed, looked) = {
            let mut queue = self.queue.lock();
            if self.state() > state && self.state() >= State::Closing {
                return None;
            }
            self.state.store(state as u8, Release);
            self.counters.role_since_ms.store(self.clock_ms(), Relaxed);
            let looked = look(&mut queue);
            match state.writable() {
                Ok(()) => (Vec::new(), looked),
                Err(_) => (queue.dismiss(), looked),
            }
        };
        if state >= State::Closing {
            self.holder.leave();
        }
        dismissed.into_iter().for_each(|notify| notify(()));
        Some(looked)
    }

    pub(crate) fn emit(&self, event: Event) {
        (self.events)(event);
    }

    /// Has the writer check the file, when this error of a reader may come of it.
    pub(crate) fn suspect(&self, error: &ReadError) {
        match error {
            ReadError::Sqlite(error) if is_damage(error) || is_trouble(error) => {
                self.suspect_file();
            }
            ReadError::Sqlite(_) => {}
            ReadError::NotOurs(_) => self.suspect_file(),
            ReadError::Closed | ReadError::Borrowed => {}
        }
    }

    /// The same for an error of a lent connection, whose statement may be at fault.
    pub(crate) fn suspect_lent(&self, error: &rusqlite::Error) {
        if is_trouble(error) {
            self.suspect_file();
        }
    }

    fn suspect_file(&self) {
        if !self.suspected.swap(true, Relaxed) {
            self.mail.send(Command::Check);
        }
    }

    pub(crate) fn checked(&self) {
        self.suspected.store(false, Relaxed);
    }

    /// Asks for the connection that writes.
    pub(crate) fn ask_writer(&self, notify: Notify<Granted>) -> Option<u64> {
        let pushed = self.writer_line.lock().push(notify);
        match pushed {
            Ok(number) => {
                self.mail.wake_now();
                Some(number)
            }
            Err(notify) => {
                notify(Err(GrantError::Closed));
                None
            }
        }
    }

    /// Notes that somebody waits for room.
    pub(crate) fn pressure_began(&self, ops: usize, bytes: usize) {
        let mut since = self.pressed_since.lock();
        if since.is_none() {
            *since = Some(self.now());
            // Under the lock, as the end is: it is told after the beginning.
            self.emit(Event::PressureStarted { ops, bytes });
        }
    }

    /// Grants the room there is to those in line.
    pub(crate) fn grant_room(&self) {
        let (told, pressed) = {
            let mut queue = self.queue.lock();
            (queue.grant(), queue.has_waiters())
        };
        told.into_iter().for_each(|notify| notify(()));
        // A ticket may outlive the store, whose last event was told.
        let told = self.state() < State::Closed;
        if told
            && !pressed
            && let Some(since) = self.pressed_since.lock().take()
        {
            let duration = self.now().saturating_duration_since(since);
            self.emit(Event::PressureEnded { duration });
        }
    }

    pub(crate) fn count_connection(&self, opened: bool) {
        match opened {
            true => self.open.fetch_add(1, Relaxed),
            false => self.open.fetch_sub(1, Relaxed),
        };
    }
}

//! The open store as a resource, and its life.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Weak},
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use parking_lot::Mutex;
use rustler::{
    Atom, Binary, Encoder, Env, LocalPid, Monitor, NewBinary, NifMap, NifResult, NifUnitEnum,
    OwnedEnv, Reference, Resource, ResourceArc, Term, env::SavedTerm, types::atom::nil,
};
use shape_store::{
    Digest, HostClock, Lease, Location, OpenError, Options, QueueSize, Source, SourceSchema, State,
    Store, Synchronous, Unverified, Verify,
};

use crate::{
    atoms, events, halt,
    items::Items,
    logging, messenger,
    stacks::{self, StackArg},
    take_back::Owed,
    terms::Terms,
};

/// A store that a process owns. When the owner dies the store takes no more
/// changes and commits what it has; the terms that refer to it stay valid.
pub(crate) struct StoreResource {
    pub(crate) store: Store,
    /// The shapes that are asked for often.
    pub(crate) terms: Arc<Terms>,
    /// The connections that are lent, by slot, with who has them.
    pub(crate) lent: Arc<Lent>,
    stack: Box<[u8]>,
    /// Whether a change that does not say otherwise is acknowledged once it is queued.
    pub(crate) buffered: bool,
    /// The host's function of the flags of a new shape.
    pub(crate) flags: Option<Mutex<(OwnedEnv, SavedTerm)>>,
    verified: Mutex<Option<Sender<Verified>>>,
}

pub(crate) type Lent = Mutex<HashMap<u64, (LocalPid, Weak<Lease>)>>;

type Verified = Result<Vec<Option<Digest>>, String>;

#[rustler::resource_impl]
impl Resource for StoreResource {
    fn down<'a>(&'a self, _env: Env<'a>, _owner: LocalPid, _monitor: Monitor) {
        // Whoever waits for its verification hears that it ended.
        self.verified.lock().take();
        self.close();
    }
}

impl StoreResource {
    fn answer_verification(&self, verified: Verified) {
        if let Some(sender) = &*self.verified.lock() {
            // Full only when nothing was asked.
            let _ = sender.try_send(verified);
        }
    }

    fn close(&self) {
        stacks::leave(&self.stack, self);
        self.store.close();
        // No lookup is answered any more. Away from the schedulers, as there may be many.
        let terms = Arc::clone(&self.terms);
        messenger::post(move || terms.clear(true));
    }

    /// The store, if it answers lookups.
    pub(crate) fn readable(&self) -> Result<&Self, Atom> {
        match self.store.state() {
            State::Closing | State::Closed => Err(atoms::closed()),
            State::Poisoned => Err(atoms::poisoned()),
            State::Opening => Err(atoms::opening()),
            State::Standby | State::Active | State::Fenced => Ok(self),
        }
    }
}

/// Borrowed for the call, from the term that is its argument: to count it up and down
/// would have all schedulers write to one word.
pub(crate) type StoreArg<'a> = &'a StoreResource;

#[derive(NifUnitEnum)]
enum Level {
    Off,
    Normal,
    Full,
}

/// All of them validated by the Elixir side.
#[derive(NifMap)]
#[rustler(decode)]
struct OpenOptions<'a> {
    /// A path, or `:memory:`.
    path: Binary<'a>,
    stack_id: Binary<'a>,
    exclusive_mode: bool,
    synchronous: Level,
    cache_size: usize,
    read_pool_size: usize,
    connection_idle_timeout: u64,
    manual_flush_only: bool,
    max_pending_ops: usize,
    max_pending_bytes: usize,
    external_checkpoint: bool,
    keep_last_read_times: bool,
    buffered: bool,
    /// A function, or `nil`.
    flags: Term<'a>,
    /// What the monotonic clock says, and how many of its units are a second.
    clock: (i64, u32),
    /// `{path, schema, verify?}`
    sources: Items<(Binary<'a>, u8, bool)>,
}

impl OpenOptions<'_> {
    fn into_core(self) -> Options {
        let location = match &*self.path == b":memory:" {
            true => Location::Memory,
            false => Location::File(path(&self.path)),
        };
        let mut options = Options::new(location);
        options.stack = String::from_utf8_lossy(&self.stack_id).into_owned();
        options.exclusive |= self.exclusive_mode;
        options.synchronous = match self.synchronous {
            Level::Off => Synchronous::Off,
            Level::Normal => Synchronous::Normal,
            Level::Full => Synchronous::Full,
        };
        options.cache_bytes = self.cache_size;
        options.readers = self.read_pool_size;
        options.connection_idle = Duration::from_millis(self.connection_idle_timeout);
        options.manual_flush = self.manual_flush_only;
        options.external_checkpoint = self.external_checkpoint;
        options.keep_ages = self.keep_last_read_times;
        let (now, per_second) = self.clock;
        options.clock = HostClock { now, per_second };
        options.max_pending =
            QueueSize { ops: self.max_pending_ops, bytes: self.max_pending_bytes };
        let sources = self.sources.0.iter().map(|(file, schema, verify)| Source {
            path: path(file),
            schema: if *schema == 4 { SourceSchema::Four } else { SourceSchema::Five },
            verify: *verify,
        });
        options.sources = sources.collect();
        options
    }
}

/// Paths are bytes, here as for the VM's own file functions.
pub(crate) fn path(bytes: &[u8]) -> PathBuf {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _};
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Opens a store that the calling process owns. The file is opened in the
/// background; `{:shape_db, event, details}` messages tell how that went and all
/// that follows. `{:ok, store} | {:error, reason}`
#[rustler::nif]
fn open<'a>(env: Env<'a>, options: OpenOptions<'_>) -> Term<'a> {
    match start(env, options) {
        Ok(store) => (atoms::ok(), store).encode(env),
        Err(reason) => (atoms::error(), reason).encode(env),
    }
}

fn start(env: Env<'_>, options: OpenOptions<'_>) -> Result<ResourceArc<StoreResource>, String> {
    messenger::start().map_err(|error| OpenError::Thread(error).to_string())?;
    let owner = env.pid();
    let terms = Arc::new(Terms::new(options.cache_size));
    let stack = options.stack_id.as_slice().into();
    let buffered = options.buffered;
    let flags = (nil() != options.flags).then(|| {
        let own = OwnedEnv::new();
        let function = own.save(options.flags);
        Mutex::new((own, function))
    });
    let (verified, verdicts) = bounded(1);
    let store = Store::open_within(
        options.into_core(),
        Box::new(move |event| events::tell(owner, event)),
        verifier(owner, verdicts),
        move |turn| logging::within(owner, turn),
    )
    .map_err(|error| error.to_string())?;
    let lent = Arc::default();
    halt::watch(&store, &lent);
    let resource = ResourceArc::new(StoreResource {
        store,
        terms,
        lent,
        stack,
        buffered,
        flags,
        verified: Mutex::new(Some(verified)),
    });
    resource.monitor(Some(env), &owner);
    Ok(resource)
}

/// Has calls that name the stack find the store, until it is closed or its owner dies.
#[rustler::nif]
fn enter(store: ResourceArc<StoreResource>) -> Atom {
    stacks::enter(&store.stack, &store);
    atoms::ok()
}

/// `{store, function}` of a stack with a function of flags that queues changes at once: the
/// flags are for this store. `nil` otherwise.
#[rustler::nif]
fn flags_function<'a>(env: Env<'a>, stack: StackArg<'_>) -> Term<'a> {
    let store = stack.resource().filter(|store| store.buffered);
    let Some((store, kept)) = store.and_then(|store| Some((store, store.flags.as_ref()?))) else {
        return nil().encode(env);
    };
    let kept = kept.lock();
    let (own, function) = &*kept;
    (store, own.run(|own| function.load(own).in_env(env))).encode(env)
}

/// Asks the owner to verify rows, and waits: in a turn of the writer, while the
/// store is opening and nobody can use it.
fn verifier(owner: LocalPid, verdicts: Receiver<Verified>) -> Verify {
    Box::new(move |rows: Vec<Unverified>| {
        messenger::send(owner, move |env| {
            let row =
                |row: &Unverified| (binary(env, &row.body), binary(env, &row.comparable), row.hash);
            let rows: Vec<_> = rows.iter().map(row).collect();
            (atoms::shape_db(), atoms::verify(), rows).encode(env)
        });
        verdicts.recv().unwrap_or_else(|_| Err("its owner died".into()))
    })
}

/// The owner's answer to a `verify` event: a digest a row, `nil` for one that
/// does not verify.
#[rustler::nif]
fn verified(store: StoreArg<'_>, digests: Items<Option<Binary<'_>>>) -> Atom {
    let digests = digests.0.iter().map(|digest| {
        let bytes = digest.as_ref().map(|bytes| <[u8; 32]>::try_from(bytes.as_slice()));
        bytes.and_then(Result::ok).map(Digest)
    });
    store.answer_verification(Ok(digests.collect()));
    atoms::ok()
}

/// The owner's answer when it cannot say.
#[rustler::nif]
fn not_verified(store: StoreArg<'_>, reason: Binary<'_>) -> Atom {
    store.answer_verification(Err(String::from_utf8_lossy(&reason).into_owned()));
    atoms::ok()
}

/// Takes no more changes, commits what is queued, and tells the owner `closed`.
#[rustler::nif]
fn close(store: StoreArg<'_>) -> Atom {
    store.close();
    atoms::ok()
}

#[rustler::nif]
fn state(store: StoreArg<'_>) -> Atom {
    atoms::state(store.store.state())
}

/// Makes the store the writer of its file; `{ref, :ok | {:error, reason}}`.
#[rustler::nif]
fn promote(env: Env<'_>, store: StoreArg<'_>, reference: Reference<'_>) -> ResourceArc<Owed> {
    let (owed, answer) = Owed::asked(env, reference);
    store.store.promote(Box::new(move |promoted| {
        answer.send(move |env| match promoted {
            Ok(()) => atoms::ok().encode(env),
            Err(reason) => (atoms::error(), reason).encode(env),
        });
    }));
    owed
}

/// A map of numbers.
#[rustler::nif]
fn statistics<'a>(env: Env<'a>, store: StoreArg<'_>) -> NifResult<Term<'a>> {
    let s = store.store.statistics();
    let pairs = [
        ("connections", s.connections as u64),
        ("shapes", s.shapes as u64),
        ("index_bytes", s.index_bytes as u64),
        ("pending_ops", s.pending_ops as u64),
        ("pending_bytes", s.pending_bytes as u64),
        ("cache_bytes", s.cache_bytes + store.terms.bytes() as u64),
        ("cache_terms", store.terms.count() as u64),
        ("cache_hits", s.cache_hits + store.terms.hits()),
        ("cache_misses", s.cache_misses),
        ("commits", s.commits),
        ("last_commit_ops", s.last_commit_ops),
        ("last_commit_us", s.last_commit_us),
        ("durable", s.durable),
        ("faults", s.faults),
        ("set_aside", s.set_aside),
        ("epoch", s.epoch.unsigned_abs()),
        ("lost", s.lost),
        ("rebuilds", s.rebuilds),
        ("quarantined", s.quarantined),
        ("rebuilding", s.rebuilding),
        ("given_up", s.given_up),
        ("commit_us", s.commit_us),
        ("commit_ops", s.commit_ops),
        ("role", s.role),
        ("role_since_ms", s.role_since_ms),
        ("found_clean", s.found_clean),
        ("failing_since_ms", s.failing_since_ms),
        ("failures", s.failures),
        ("committing_since_ms", s.committing_since_ms),
        ("waiting", s.waiting as u64),
        ("max_pending_ops", s.max_pending_ops as u64),
        ("max_pending_bytes", s.max_pending_bytes as u64),
    ];
    let mut map = Term::map_new(env);
    for (name, value) in pairs {
        map = map.map_put(Atom::from_str(env, name)?, value)?;
    }
    Ok(map)
}

/// A copy of bytes as a binary term.
pub(crate) fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    let mut copy = NewBinary::new(env, bytes.len());
    copy.as_mut_slice().copy_from_slice(bytes);
    copy.into()
}

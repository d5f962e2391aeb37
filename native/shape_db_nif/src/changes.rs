//! Changes: `{:ok, number}`, or why not.

use parking_lot::Mutex;
use rustler::{
    Binary, Decoder, Encoder, Env, Error, NifResult, NifUnitEnum, Reference, Resource, ResourceArc,
    Term, types::atom::nil,
};
use shape_store::{ChangeError, Digest, NewShape, Operation, Request, Seq, Snapshot, Ticket};

use crate::{
    atoms,
    items::Items,
    messenger::Caller,
    resource::{StoreArg, binary},
    stacks::StackArg,
    storable::is_suspicious,
    take_back::Owed,
};

/// A place in the line for room. Gone with its process, it makes way.
pub(crate) struct TicketResource(Mutex<Option<Ticket>>);

#[rustler::resource_impl]
impl Resource for TicketResource {}

/// The ticket that a change comes with, or `nil`.
pub(crate) struct TicketArg<'a>(Option<&'a TicketResource>);

impl<'a> Decoder<'a> for TicketArg<'a> {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        // Nearly always `nil`: seen first, as to look a resource's type up takes longer.
        if term.is_atom() {
            (nil() == term).then_some(Self(None)).ok_or(Error::BadArg)
        } else {
            term.decode().map(|ticket| Self(Some(ticket)))
        }
    }
}

#[derive(NifUnitEnum, Clone, Copy)]
pub(crate) enum SnapshotArg {
    Started,
    Complete,
}

impl From<SnapshotArg> for Snapshot {
    fn from(arg: SnapshotArg) -> Self {
        match arg {
            SnapshotArg::Started => Self::Started,
            SnapshotArg::Complete => Self::Complete,
        }
    }
}

#[derive(NifUnitEnum)]
enum UnknownArg {
    Remove,
    SnapshotStarted,
    SnapshotComplete,
}

macro_rules! changeable {
    ($env:expr, $stack:expr) => {
        changeable!($env, $stack, true)
    };
    ($env:expr, $stack:expr, $flags_given:expr) => {
        match $stack.changeable($flags_given) {
            Ok(store) => store,
            Err(why) => return (atoms::error(), why).encode($env),
        }
    };
}
pub(crate) use changeable;

/// `{:ok, number} | {:error, reason}`; `{:error, :full}`, `{:error, :standby}` and
/// `{:error, :options}` are for the caller to act on and try again.
pub(crate) fn answer<'a>(env: Env<'a>, changed: Result<Seq, ChangeError>) -> Term<'a> {
    match changed {
        Ok(seq) => (atoms::ok(), seq).encode(env),
        Err(error) => (atoms::error(), reason(env, error)).encode(env),
    }
}

pub(crate) fn reason<'a>(env: Env<'a>, error: ChangeError) -> Term<'a> {
    match error {
        ChangeError::DuplicateHandle => atoms::duplicate_handle().encode(env),
        ChangeError::DuplicateShape(handle) => {
            (atoms::duplicate_shape(), binary(env, &handle)).encode(env)
        }
        ChangeError::Unknown => atoms::unknown().encode(env),
        ChangeError::Full => atoms::full().encode(env),
        ChangeError::TooLarge { .. } => (atoms::too_large(), error.to_string()).encode(env),
        ChangeError::HandleLength { .. } => (atoms::handle_length(), error.to_string()).encode(env),
        ChangeError::TooManyRelations { .. } => {
            (atoms::too_many_relations(), error.to_string()).encode(env)
        }
        ChangeError::IndexFull => atoms::index_full().encode(env),
        ChangeError::NotWritable(why) => atoms::not_writable(why).encode(env),
        other => (atoms::other(), other.to_string()).encode(env),
    }
}

/// Runs a change with the ticket, if one came with it.
pub(crate) fn with_ticket(
    ticket: &TicketArg<'_>,
    log: bool,
    change: impl FnOnce(Request<'_>) -> Result<Seq, ChangeError>,
) -> Result<Seq, ChangeError> {
    match ticket.0 {
        None => change(Request { ticket: None, log }),
        Some(resource) => change(Request { ticket: resource.0.lock().as_ref(), log }),
    }
}

#[rustler::nif]
#[expect(clippy::too_many_arguments, reason = "a shape has that many parts")]
fn add<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    handle: Binary<'_>,
    comparable: Binary<'_>,
    hash: u32,
    oids: Items<u32>,
    flags: Option<u8>,
    body: Binary<'_>,
    known: bool,
    ticket: TicketArg<'_>,
    log: bool,
) -> Term<'a> {
    let (handle, comparable, oids, body) = (&handle, &comparable, &oids.0, &body);
    add_shape(
        env,
        &stack,
        Shape { handle, comparable, hash, oids, flags, body, known },
        &ticket,
        log,
    )
}

/// The same for a shape that would keep a normal scheduler too long, as it is copied, hashed
/// and looked through.
#[rustler::nif(schedule = "DirtyCpu")]
#[expect(clippy::too_many_arguments, reason = "a shape has that many parts")]
fn add_large<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    handle: Binary<'_>,
    comparable: Binary<'_>,
    hash: u32,
    oids: Items<u32>,
    flags: Option<u8>,
    body: Binary<'_>,
    known: bool,
    ticket: TicketArg<'_>,
    log: bool,
) -> Term<'a> {
    let (handle, comparable, oids, body) = (&handle, &comparable, &oids.0, &body);
    add_shape(
        env,
        &stack,
        Shape { handle, comparable, hash, oids, flags, body, known },
        &ticket,
        log,
    )
}

/// As the other changes, or `{:error, :suspicious}` for what is not `known` to have nothing
/// in it that cannot be stored: the caller is to have a look at it first.
fn add_shape<'a>(
    env: Env<'a>,
    stack: &StackArg<'_>,
    shape: Shape<'_>,
    ticket: &TicketArg<'_>,
    log: bool,
) -> Term<'a> {
    let store = changeable!(env, stack, shape.flags.is_some());
    let Shape { handle, comparable, hash, oids, flags, body, known } = shape;
    if !known && (is_suspicious(body) || is_suspicious(comparable)) {
        return (atoms::error(), atoms::suspicious()).encode(env);
    }
    let flags = flags.unwrap_or_default();
    let shape = NewShape { handle, digest: Digest::of(comparable), hash, oids, flags, body };
    answer(env, with_ticket(ticket, log, |request| store.store.add(shape, request)))
}

/// A shape as its caller sends it.
struct Shape<'b> {
    handle: &'b [u8],
    comparable: &'b [u8],
    hash: u32,
    oids: &'b [u32],
    flags: Option<u8>,
    body: &'b [u8],
    known: bool,
}

#[rustler::nif]
fn remove<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    handle: Binary<'_>,
    ticket: TicketArg<'_>,
    log: bool,
) -> Term<'a> {
    let store = changeable!(env, stack);
    answer(env, with_ticket(&ticket, log, |request| store.store.remove(&handle, request)))
}

#[rustler::nif]
fn mark<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    handle: Binary<'_>,
    snapshot: SnapshotArg,
    ticket: TicketArg<'_>,
    log: bool,
) -> Term<'a> {
    let store = changeable!(env, stack);
    let mark = |request: Request<'_>| store.store.mark(&handle, snapshot.into(), request);
    answer(env, with_ticket(&ticket, log, mark))
}

/// Queues an operation on a shape that is not there.
#[rustler::nif]
fn note_unknown<'a>(
    env: Env<'a>,
    stack: StackArg<'_>,
    operation: UnknownArg,
    handle: Binary<'_>,
    ticket: TicketArg<'_>,
) -> Term<'a> {
    let store = changeable!(env, stack);
    let operation = match operation {
        UnknownArg::Remove => Operation::Remove,
        UnknownArg::SnapshotStarted => Operation::SnapshotStarted,
        UnknownArg::SnapshotComplete => Operation::SnapshotComplete,
    };
    let note = |request: Request<'_>| store.store.note_unknown(operation, &handle, request);
    answer(env, with_ticket(&ticket, false, note))
}

#[rustler::nif(schedule = "DirtyCpu")]
fn reset<'a>(env: Env<'a>, store: StoreArg<'_>) -> Term<'a> {
    let reset = store.store.reset();
    if reset.is_ok() {
        store.terms.clear(false);
    }
    answer(env, reset)
}

/// `{:ok, handles, number} | {:error, reason}`
#[rustler::nif(schedule = "DirtyCpu")]
fn remove_incomplete<'a>(env: Env<'a>, store: StoreArg<'_>) -> Term<'a> {
    match store.store.remove_incomplete() {
        Ok((handles, seq)) => {
            let handles: Vec<_> = handles.iter().map(|handle| binary(env, handle)).collect();
            (atoms::ok(), handles, seq).encode(env)
        }
        Err(error) => (atoms::error(), reason(env, error)).encode(env),
    }
}

/// `:room`, or `{:wait, ticket, owed}`: `{ref, :room}` tells of the ticket's turn. To take
/// that back ends the ticket, also when its turn has come and no change used it.
#[rustler::nif]
fn wait_for_room<'a>(
    env: Env<'a>,
    store: StoreArg<'_>,
    body_bytes: usize,
    reference: Reference<'_>,
) -> Term<'a> {
    let caller = Caller::new(env, reference);
    let notify = move |()| caller.answer(|env| atoms::room().encode(env));
    match store.store.wait_for_room(body_bytes, Box::new(notify)) {
        None => atoms::room().encode(env),
        Some(ticket) => {
            let ticket = ResourceArc::new(TicketResource(Mutex::new(Some(ticket))));
            let given_up = ticket.clone();
            let owed = Owed::in_line(move || {
                let ticket = given_up.0.lock().take();
                ticket.is_some_and(Ticket::give_up)
            });
            (atoms::wait(), ticket, owed).encode(env)
        }
    }
}

//! Connections for callers: asked for, lent, used, given back.

use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{
    Connection, Statement,
    types::{ToSqlOutput, Value, ValueRef},
};
use rustler::{
    Atom, Binary, Encoder, Env, LocalPid, Monitor, NifResult, Reference, Resource, ResourceArc,
    Term, TermType,
};
use shape_store::{Granted, Lease, STATEMENTS, worded};

use crate::{
    atoms,
    items::Items,
    messenger::Caller,
    resource::{StoreArg, StoreResource, binary},
    take_back::Owed,
};

/// A borrowed connection. It is returned when this is given back or its process ends.
struct LeaseResource {
    lease: Mutex<Option<Arc<Lease>>>,
}

#[rustler::resource_impl]
impl Resource for LeaseResource {
    fn down<'a>(&'a self, _env: Env<'a>, _borrower: LocalPid, _monitor: Monitor) {
        // A statement that still runs for a dead process has no reader. The
        // connection itself is returned with the resource.
        if let Some(lease) = &*self.lease.lock() {
            lease.interrupt();
        }
    }
}

/// Asks for a read connection: `{:wait, owed, at_once?}`, or `:asked` when the
/// answer is on its way. `{ref, {:ok, lease, slot} | {:error, reason}}` follows.
#[rustler::nif(schedule = "DirtyIo")]
fn ask_reader<'a>(
    env: Env<'a>,
    store: ResourceArc<StoreResource>,
    reference: Reference<'_>,
) -> Term<'a> {
    let notify = granted(Caller::new(env, reference), env.pid(), store.clone());
    let at_once = store.store.is_exclusive() && store.store.is_resting();
    match store.store.ask_reader(notify) {
        Some(number) => in_line(env, at_once, move || store.store.cancel_reader(number)),
        None => atoms::asked().encode(env),
    }
}

/// Asks for the connection that writes, as [`ask_reader`].
#[rustler::nif]
fn ask_writer<'a>(
    env: Env<'a>,
    store: ResourceArc<StoreResource>,
    reference: Reference<'_>,
) -> Term<'a> {
    let notify = granted(Caller::new(env, reference), env.pid(), store.clone());
    let at_once = store.store.is_resting();
    match store.store.ask_writer(notify) {
        Some(number) => in_line(env, at_once, move || store.store.cancel_writer(number)),
        None => atoms::asked().encode(env),
    }
}

fn in_line(env: Env<'_>, at_once: bool, leave: impl FnOnce() -> bool + Send + 'static) -> Term<'_> {
    (atoms::wait(), Owed::in_line(leave), at_once).encode(env)
}

fn granted(
    caller: Caller,
    pid: LocalPid,
    store: ResourceArc<StoreResource>,
) -> Box<dyn FnOnce(Granted) + Send> {
    Box::new(move |granted| {
        caller.answer(move |env| match granted {
            Ok(lease) => {
                let slot = lease.slot();
                let lease = Arc::new(lease);
                let mut lent = store.lent.lock();
                lent.retain(|_, (_, lease)| lease.strong_count() > 0);
                lent.insert(slot, (pid, Arc::downgrade(&lease)));
                drop(lent);
                let resource = ResourceArc::new(LeaseResource { lease: Mutex::new(Some(lease)) });
                resource.monitor(None, &pid);
                (atoms::ok(), resource, slot).encode(env)
            }
            Err(error) => (atoms::error(), error.to_string()).encode(env),
        });
    })
}

/// Gives a connection back.
#[rustler::nif]
fn give_back(lease: ResourceArc<LeaseResource>) -> Atom {
    let lease = lease.lease.lock().take();
    drop(lease);
    atoms::ok()
}

/// `{name, sql}` of every statement of the store.
#[rustler::nif]
fn statements() -> Vec<(&'static str, &'static str)> {
    STATEMENTS.to_vec()
}

/// Runs SQL that gives no rows: `:ok | {:error, reason}`.
#[rustler::nif(schedule = "DirtyIo")]
fn execute<'a>(env: Env<'a>, store: StoreArg<'_>, slot: u64, sql: Binary<'_>) -> Term<'a> {
    let ran = on_lent(env, store, slot, |conn| {
        conn.execute_batch(text(&sql)?).map_err(|error| refused(store, &error))
    });
    match ran {
        Ok(()) => atoms::ok().encode(env),
        Err(reason) => (atoms::error(), reason).encode(env),
    }
}

/// Runs one statement: `{:ok, rows} | {:error, reason}`, at most `limit` rows.
#[rustler::nif(schedule = "DirtyIo")]
fn query<'a>(
    env: Env<'a>,
    store: StoreArg<'_>,
    slot: u64,
    sql: Binary<'_>,
    binds: Term<'_>,
    limit: usize,
) -> NifResult<Term<'a>> {
    let binds = Binds::decode(binds)?;
    let rows = on_lent(env, store, slot, |conn| {
        let mut statement = conn.prepare(text(&sql)?).map_err(|error| refused(store, &error))?;
        binds.bind(&mut statement)?;
        rows(env, &mut statement, limit).map_err(|error| refused(store, &error))
    });
    Ok(match rows {
        Ok(rows) => (atoms::ok(), rows).encode(env),
        Err(reason) => (atoms::error(), reason).encode(env),
    })
}

/// What SQLite says. The file is looked into if that may come of it.
fn refused(store: &StoreResource, error: &rusqlite::Error) -> String {
    store.store.suspect(error);
    worded(error).to_string()
}

fn text<'a>(sql: &'a Binary<'_>) -> Result<&'a str, String> {
    std::str::from_utf8(sql).map_err(|error| format!("the SQL is not UTF-8: {error}"))
}

/// Runs `work` on a connection that the calling process has on loan.
fn on_lent<T>(
    env: Env<'_>,
    store: &StoreResource,
    slot: u64,
    work: impl FnOnce(&Connection) -> Result<T, String>,
) -> Result<T, String> {
    let lease = match store.lent.lock().get(&slot) {
        Some((pid, lease)) if *pid == env.pid() => lease.upgrade(),
        _ => None,
    };
    let ran = lease.as_ref().and_then(|lease| lease.with(work));
    ran.unwrap_or_else(|| Err("this connection is not checked out by this process".into()))
}

fn rows<'a>(
    env: Env<'a>,
    statement: &mut Statement<'_>,
    limit: usize,
) -> rusqlite::Result<Vec<Vec<Term<'a>>>> {
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let mut all = Vec::new();
    while all.len() < limit
        && let Some(row) = rows.next()?
    {
        let values = (0..columns).map(|column| row.get_ref(column).map(|value| term(env, value)));
        all.push(values.collect::<rusqlite::Result<_>>()?);
    }
    Ok(all)
}

fn term<'a>(env: Env<'a>, value: ValueRef<'_>) -> Term<'a> {
    match value {
        ValueRef::Null => atoms::nil().encode(env),
        ValueRef::Integer(integer) => integer.encode(env),
        ValueRef::Real(real) => real.encode(env),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => binary(env, bytes),
    }
}

/// The values of a statement's parameters, in order or by name.
enum Binds {
    Ordered(Vec<Value>),
    Named(Vec<(String, Value)>),
}

impl Binds {
    fn decode(term: Term<'_>) -> NifResult<Self> {
        if term.is_map() {
            let pairs: Vec<(String, Term<'_>)> = term
                .decode::<rustler::MapIterator<'_>>()?
                .map(|(name, value)| Ok((name.decode()?, value)))
                .collect::<NifResult<_>>()?;
            let named = pairs.into_iter().map(|(name, value)| Ok((name, sql_value(value)?)));
            return Ok(Self::Named(named.collect::<NifResult<_>>()?));
        }
        let Items(values): Items<Term<'_>> = term.decode()?;
        Ok(Self::Ordered(values.into_iter().map(sql_value).collect::<NifResult<_>>()?))
    }

    fn bind(self, statement: &mut Statement<'_>) -> Result<(), String> {
        let expected = statement.parameter_count();
        let given = match &self {
            Self::Ordered(values) => values.len(),
            Self::Named(values) => values.len(),
        };
        if given != expected {
            return Err(format!("the statement has {expected} parameters, {given} were given"));
        }
        let pairs = match self {
            Self::Ordered(values) => values.into_iter().zip(1..).map(|(v, i)| Ok((i, v))).collect(),
            Self::Named(values) => values
                .into_iter()
                .map(|(name, value)| match statement.parameter_index(&name) {
                    Ok(Some(index)) => Ok((index, value)),
                    _ => Err(format!("the statement has no parameter {name}")),
                })
                .collect::<Result<Vec<_>, _>>(),
        }?;
        for (index, value) in pairs {
            let bound = statement.raw_bind_parameter(index, ToSqlOutput::Owned(value));
            bound.map_err(|error| worded(&error).to_string())?;
        }
        Ok(())
    }
}

/// Integers, floats, `nil`, text, and `{:blob, bytes}`.
fn sql_value(term: Term<'_>) -> NifResult<Value> {
    match term.get_type() {
        TermType::Integer => Ok(Value::Integer(term.decode()?)),
        TermType::Float => Ok(Value::Real(term.decode()?)),
        TermType::Atom if term.decode::<Atom>()? == atoms::nil() => Ok(Value::Null),
        TermType::Binary => {
            let bytes: Binary<'_> = term.decode()?;
            // Text that is not UTF-8 could not be read back as text.
            Ok(match std::str::from_utf8(&bytes) {
                Ok(text) => Value::Text(text.into()),
                Err(_) => Value::Blob(bytes.to_vec()),
            })
        }
        TermType::Tuple => {
            let (tag, bytes): (Atom, Binary<'_>) = term.decode()?;
            match tag == atoms::blob() {
                true => Ok(Value::Blob(bytes.to_vec())),
                false => Err(rustler::Error::BadArg),
            }
        }
        _ => Err(rustler::Error::BadArg),
    }
}

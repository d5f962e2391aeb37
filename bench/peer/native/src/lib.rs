//! SQLite for the peer of the bench, in the shape of the usual Elixir bindings.
//!
//! A *connection* is a resource that owns its database handle and the statements
//! prepared on it; a *statement* is named by the position it was prepared at.
//! Every call that may touch the file runs on a dirty I/O scheduler. There are
//! two ways to read: `fetch_all` takes all rows in one call, `bind` and `step`
//! take a call for each row, as the binding of the replaced service does.
//!
//! The pacer of the bench's open loop is here too, so that there is one library to build.

mod connection;
mod pacer;
mod value;

use connection::Connection;
use rustler::{Atom, Env, Resource, ResourceArc, Term};
use std::sync::{Mutex, MutexGuard, PoisonError};

mod atoms {
    rustler::atoms! { ok, done }
}

/// The resource behind a connection term. The pool gives a connection to one
/// process at a time, so the lock is never contended.
struct Handle(Mutex<Option<Connection>>);

#[rustler::resource_impl]
impl Resource for Handle {}

impl Handle {
    fn lock(&self) -> MutexGuard<'_, Option<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Reply<T>) -> Reply<T> {
        work(self.lock().as_mut().ok_or("the connection is closed")?)
    }
}

/// Becomes `{:ok, value}` or `{:error, message}`.
type Reply<T> = Result<T, String>;

#[rustler::nif(schedule = "DirtyIo")]
fn open(path: String) -> Reply<ResourceArc<Handle>> {
    let connection = Connection::open(&path)?;
    Ok(ResourceArc::new(Handle(Mutex::new(Some(connection)))))
}

#[rustler::nif(schedule = "DirtyIo")]
fn close(handle: ResourceArc<Handle>) -> Atom {
    handle.lock().take();
    atoms::ok()
}

/// Runs SQL text that returns no rows of interest: pragmas, schema, transactions.
#[rustler::nif(schedule = "DirtyIo")]
fn execute(handle: ResourceArc<Handle>, sql: String) -> Reply<Atom> {
    handle.with(|connection| connection.execute(&sql).map(|()| atoms::ok()))
}

/// Runs one statement without parameters that is not worth keeping prepared.
#[rustler::nif(schedule = "DirtyIo")]
fn query<'a>(env: Env<'a>, handle: ResourceArc<Handle>, sql: String) -> Reply<Vec<Term<'a>>> {
    handle.with(|connection| connection.query(env, &sql))
}

/// Prepares the statements, which are from then on named 0, 1, 2 and so on.
#[rustler::nif(schedule = "DirtyIo")]
fn prepare(handle: ResourceArc<Handle>, statements: Vec<String>) -> Reply<Atom> {
    handle.with(|connection| {
        connection.prepare(&statements)?;
        Ok(atoms::ok())
    })
}

/// Binds, steps to the end and resets, all in this one call.
#[rustler::nif(schedule = "DirtyIo")]
fn fetch_all<'a>(
    env: Env<'a>,
    handle: ResourceArc<Handle>,
    statement: usize,
    binds: Vec<Term<'a>>,
) -> Reply<Vec<Term<'a>>> {
    handle.with(|connection| connection.fetch_all(env, statement, &binds))
}

#[rustler::nif(schedule = "DirtyIo")]
fn bind<'a>(handle: ResourceArc<Handle>, statement: usize, binds: Vec<Term<'a>>) -> Reply<Atom> {
    handle.with(|connection| connection.bind(statement, &binds).map(|()| atoms::ok()))
}

/// The next row, or `:done`, after which the statement is reset.
#[rustler::nif(schedule = "DirtyIo")]
fn step<'a>(env: Env<'a>, handle: ResourceArc<Handle>, statement: usize) -> Reply<Term<'a>> {
    handle.with(|connection| {
        let row = connection.step(env, statement)?;
        Ok(row.unwrap_or_else(|| atoms::done().to_term(env)))
    })
}

rustler::init!("Elixir.Bench.Peer.Native");

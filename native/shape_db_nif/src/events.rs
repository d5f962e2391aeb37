//! Events as messages to the owner: `{:shape_db, event, details}`.

use std::path::PathBuf;

use rustler::{Encoder, Env, LocalPid, NifMap, Term};
use shape_store::{Event, Handle, Operation};

use crate::{atoms, messenger, resource::binary};

pub(crate) fn tell(owner: LocalPid, event: Event) {
    messenger::send(owner, move |env| encode(env, event));
}

#[derive(NifMap)]
struct Opened<'a> {
    shapes: usize,
    standby: bool,
    imported: Option<(String, u64, u64)>,
    quarantined: Option<Term<'a>>,
}

#[derive(NifMap)]
struct Committed<'a> {
    ops: usize,
    duration_us: u64,
    log: Vec<Term<'a>>,
}

#[derive(NifMap)]
struct CommitFailed {
    ops: usize,
    duration_us: u64,
    reason: String,
    retry_in_ms: u64,
}

#[derive(NifMap)]
struct Rebuilt<'a> {
    reason: String,
    path: Option<Term<'a>>,
    shapes: usize,
    lost: Vec<Term<'a>>,
    list: Option<Term<'a>>,
}

fn encode(env: Env<'_>, event: Event) -> Term<'_> {
    let (name, details) = match event {
        Event::Opened { shapes, standby, imported, quarantined } => {
            let imported = imported.map(|(path, done)| {
                (path.to_string_lossy().into_owned(), done.shapes, done.left_out)
            });
            let quarantined = path(env, quarantined);
            let details = Opened { shapes, standby, imported, quarantined };
            (atoms::opened(), details.encode(env))
        }
        Event::OpenFailed { reason } => (atoms::open_failed(), reason.encode(env)),
        Event::Committed { ops, duration, log } => {
            let duration_us = duration.as_micros() as u64;
            let log = log.iter().map(|(what, handle)| operation(env, *what, handle)).collect();
            (atoms::committed(), Committed { ops, duration_us, log }.encode(env))
        }
        Event::CommitFailed { ops, duration, reason, retry_in } => {
            let duration_us = duration.as_micros() as u64;
            let retry_in_ms = retry_in.as_millis() as u64;
            let details = CommitFailed { ops, duration_us, reason, retry_in_ms };
            (atoms::commit_failed(), details.encode(env))
        }
        Event::Recovered { failures, after } => {
            (atoms::recovered(), (failures, after.as_millis() as u64).encode(env))
        }
        Event::SetAside { operation: what, handle, reason } => {
            (atoms::set_aside(), (operation(env, what, &handle), reason).encode(env))
        }
        Event::PressureStarted { ops, bytes } => {
            (atoms::pressure_started(), (ops, bytes).encode(env))
        }
        Event::PressureEnded { duration } => {
            (atoms::pressure_ended(), (duration.as_millis() as u64).encode(env))
        }
        Event::Rebuilt { reason, quarantined, shapes, lost, list } => {
            let lost = lost.iter().map(|handle| binary(env, handle)).collect();
            let (path, list) = (path(env, quarantined), path(env, list));
            (atoms::rebuilt(), Rebuilt { reason, path, shapes, lost, list }.encode(env))
        }
        Event::RebuildFailed { problem, reason, retry_in } => {
            let retry_in_ms = retry_in.as_millis() as u64;
            (atoms::rebuild_failed(), (problem, reason, retry_in_ms).encode(env))
        }
        Event::Lost { handle, reason } => {
            (atoms::lost(), (binary(env, &handle), reason).encode(env))
        }
        Event::Promoted { epoch } => (atoms::promoted(), epoch.encode(env)),
        Event::Fenced { epoch, ops, list } => {
            (atoms::fenced(), (epoch, ops, path(env, list)).encode(env))
        }
        Event::Poisoned { message } => (atoms::poisoned(), message.encode(env)),
        Event::Closed { durable } => (atoms::closed(), durable.encode(env)),
        _ => (atoms::other(), atoms::nil().encode(env)),
    };
    (atoms::shape_db(), name, details).encode(env)
}

/// A path as Elixir has it, which need not be UTF-8.
fn path(env: Env<'_>, path: Option<PathBuf>) -> Option<Term<'_>> {
    path.map(|path| binary(env, path.as_os_str().as_encoded_bytes()))
}

fn operation<'a>(env: Env<'a>, what: Operation, handle: &Handle) -> Term<'a> {
    (atoms::operation(what), binary(env, handle)).encode(env)
}

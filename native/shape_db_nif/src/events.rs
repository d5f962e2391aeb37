//! Events as messages to the owner: `{:shape_db, event, details}`.

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

fn encode(env: Env<'_>, event: Event) -> Term<'_> {
    let (name, details) = match event {
        Event::Opened { shapes, standby, imported, quarantined } => {
            let imported = imported.map(|(path, done)| {
                (path.to_string_lossy().into_owned(), done.shapes, done.left_out)
            });
            let quarantined =
                quarantined.map(|path| binary(env, path.as_os_str().as_encoded_bytes()));
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
        Event::Rebuilt { quarantined, shapes, lost } => {
            let quarantined = binary(env, quarantined.as_os_str().as_encoded_bytes());
            let lost: Vec<_> = lost.iter().map(|handle| binary(env, handle)).collect();
            (atoms::rebuilt(), (quarantined, shapes, lost).encode(env))
        }
        Event::Promoted { epoch } => (atoms::promoted(), epoch.encode(env)),
        Event::Fenced { epoch, ops } => (atoms::fenced(), (epoch, ops).encode(env)),
        Event::Poisoned { message } => (atoms::poisoned(), message.encode(env)),
        Event::Closed { durable } => (atoms::closed(), durable.encode(env)),
        _ => (atoms::other(), atoms::nil().encode(env)),
    };
    (atoms::shape_db(), name, details).encode(env)
}

fn operation<'a>(env: Env<'a>, what: Operation, handle: &Handle) -> Term<'a> {
    (atoms::operation(what), binary(env, handle)).encode(env)
}

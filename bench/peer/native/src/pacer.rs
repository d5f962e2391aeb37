//! Messages at given moments, for the bench's open loop. Timers of the VM are whole
//! milliseconds, and a process that waits by asking for the time takes a scheduler from
//! those that are measured; a thread that sleeps does neither.

use crate::atoms;
use rustix::thread::set_current_timer_slack;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Term};
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Nanoseconds after the start, who is told, of which kind, and with which input.
type Arrival = (u64, LocalPid, u64, u64);

/// Tells each process of its arrivals, `{due, kind, input}`, with `due` as
/// `:os.system_time(:nanosecond)` has it; in the end tells the caller
/// `{reference, lateness}`: how many nanoseconds too late each message was sent.
#[rustler::nif(schedule = "DirtyCpu")]
fn pace<'a>(
    env: Env<'a>,
    reference: Term<'a>,
    arrivals: Vec<Arrival>,
    start: u64,
) -> Result<rustler::Atom, String> {
    let caller = env.pid();
    let mut answer = OwnedEnv::new();
    let reference = answer.save(reference);
    thread::Builder::new()
        .name("pacer".into())
        .spawn(move || {
            let lateness = send_all(&arrivals, start);
            // The caller may be gone.
            let _ = answer.send_and_clear(&caller, |env| {
                let reference: Term = reference.load(env);
                (reference, lateness).encode(env)
            });
        })
        .map_err(|error| format!("no thread for the pacer: {error}"))?;
    Ok(atoms::ok())
}

fn send_all(arrivals: &[Arrival], start: u64) -> Vec<u64> {
    // By default a sleep may last 50 µs too long. Where it cannot be had less, the
    // lateness shows it.
    let _ = set_current_timer_slack(NonZeroU64::new(1));
    let mut message = OwnedEnv::new();

    arrivals
        .iter()
        .map(|(offset, process, kind, input)| {
            let due = start + offset;
            let early = due.saturating_sub(now());
            if early > 0 {
                thread::sleep(Duration::from_nanos(early));
            }
            let late = now().saturating_sub(due);
            // A process that failed has taken the run with it.
            let _ = message.send_and_clear(process, |env| (due, *kind, *input).encode(env));
            late
        })
        .collect()
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_nanos() as u64)
}

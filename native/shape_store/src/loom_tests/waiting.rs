//! Who waits for what: the writer for something to do, callers for a number.

use std::collections::VecDeque;

use loom::{
    sync::{Arc, mpsc},
    thread,
};

use super::check;
use crate::{
    queue::{
        Seq,
        durable::{Outcome, Waiting, Waits},
    },
    sync::Mutex,
    writer::wake_up::WakeUp,
};

/// The queue and its writer: nothing that was pushed is left lying while it rests.
#[test]
fn a_writer_that_rests_has_seen_everything() {
    const PUSHERS: u32 = 2;
    check(|| {
        let queue = Arc::new(Mutex::<VecDeque<u32>>::default());
        let wake = Arc::new(WakeUp::new());
        let (send, commands) = mpsc::channel::<()>();
        let pushers: Vec<_> = (0..PUSHERS)
            .map(|n| {
                let (queue, wake, send) = (Arc::clone(&queue), Arc::clone(&wake), send.clone());
                thread::spawn(move || {
                    queue.lock().push_back(n);
                    if wake.notify() {
                        send.send(()).unwrap();
                    }
                })
            })
            .collect();
        let mut seen = 0;
        while seen < PUSHERS {
            seen += std::mem::take(&mut *queue.lock()).len() as u32;
            if seen == PUSHERS {
                break;
            }
            wake.prepare_to_park();
            if queue.lock().is_empty() {
                // Never returns when a push went unheard: loom reports the deadlock.
                commands.recv().unwrap();
            }
            wake.unparked();
        }
        pushers.into_iter().for_each(|pusher| pusher.join().unwrap());
    });
}

/// A writer that gathers comes at once for what cannot wait, and for the rest in time.
#[test]
fn a_writer_that_gathers_hears_what_cannot_wait() {
    check(|| {
        let queue = Arc::new(Mutex::<VecDeque<&str>>::default());
        let wake = Arc::new(WakeUp::new());
        let (send, commands) = mpsc::channel::<()>();
        let caller = |what, notify: fn(&WakeUp) -> bool| {
            let (queue, wake, send) = (Arc::clone(&queue), Arc::clone(&wake), send.clone());
            thread::spawn(move || {
                queue.lock().push_back(what);
                if notify(&wake) {
                    send.send(()).unwrap();
                }
            })
        };
        let callers = [caller("add", WakeUp::notify), caller("flush", WakeUp::notify_now)];
        wake.prepare_to_delay();
        // Without its timeout: only the flush can end it.
        while !queue.lock().contains(&"flush") {
            commands.recv().unwrap();
        }
        wake.unparked();
        callers.into_iter().for_each(|caller| caller.join().unwrap());
        assert_eq!(queue.lock().len(), 2);
    });
}

/// Whoever waits for a number is told once, or told at once, whatever is published
/// or ended meanwhile.
#[test]
fn no_wait_is_forgotten() {
    check(|| {
        let waits = Arc::new(Waits::default());
        let writer = {
            let waits = Arc::clone(&waits);
            thread::spawn(move || {
                waits.publish(1, &[]);
                waits.publish(2, &[2]);
                waits.end(Outcome::Closed);
            })
        };
        let told: Vec<_> = [1 as Seq, 2, 3].map(|seq| outcome_of(&waits, seq)).into();
        writer.join().unwrap();
        let told: Vec<_> = told.into_iter().map(|told| told.expect("told")).collect();
        assert_eq!(told, [Outcome::Durable, Outcome::SetAside, Outcome::Closed]);
    });
}

/// Waits as a caller does: the answer, or the message.
fn outcome_of(waits: &Waits, seq: Seq) -> Option<Outcome> {
    let (tell, told) = mpsc::channel();
    match waits.wait(seq, Box::new(move |outcome| tell.send(outcome).unwrap())) {
        Waiting::Over(outcome) => Some(outcome),
        Waiting::Until(_) => told.recv().ok(),
    }
}

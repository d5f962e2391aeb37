//! Some hundred histories: `make simulate` plays more.

#![allow(clippy::panic, reason = "a test ends at what it does not expect")]

use simulate::history::History;

#[test]
fn no_promise_is_broken() {
    for seed in 0..200 {
        let notes = History::of(seed).play(false);
        if let Some(failure) = notes.failures.first() {
            panic!("seed {seed}: {}: {}; see make simulate", failure.what, failure.text);
        }
    }
}

#[test]
fn a_seed_has_one_history() {
    for seed in 300..310 {
        let history = History::of(seed);
        assert_eq!(history.play(true).log, history.play(true).log, "seed {seed}");
    }
}

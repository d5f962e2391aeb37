//! A history: a list of steps from a seed, made again, and made shorter.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use crate::{
    chance::{Chance, mix},
    config::Config,
    failure::{Class, Failure},
    foreign,
    platform::Platform,
    world::{Notes, World},
};

/// What is to happen. Each step has chance of its own, so that the others stay what they
/// are when one is left out.
#[derive(Clone, Debug)]
pub struct History {
    /// What it comes from.
    pub seed: u64,
    config: Config,
    steps: Vec<(usize, u64)>,
    /// What happens within steps, and is left out.
    muted: BTreeSet<(usize, u64)>,
}

impl History {
    /// The one of a seed.
    pub fn of(seed: u64) -> Self {
        let mut chance = Chance::new(mix(seed, 0x5eed));
        let config = Config::draw(&mut chance);
        let steps = (0..config.length).map(|step| (step, mix(seed, step as u64))).collect();
        Self { seed, config, steps, muted: BTreeSet::new() }
    }

    /// How many steps it has.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// What it is made of.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Plays it.
    pub fn play(&self, verbose: bool) -> Notes {
        foreign::prepare();
        let world = World::new(self.seed, self.config.clone(), self.muted.clone(), verbose);
        let played = catch_unwind(AssertUnwindSafe(|| {
            for (number, seed) in &self.steps {
                world.make_step(*number, *seed);
                if world.has_failed() {
                    return;
                }
            }
            world.settle(self.seed);
        }));
        if let Err(panic) = played {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).into()));
            world.fail(Failure::new(Class::Wrong, "a panic", text.unwrap_or_default()));
        }
        world.end();
        let notes = world.take_notes();
        drop(world);
        Platform::uninstall();
        notes
    }

    /// A shorter one that fails in the same way, as far as it is found in the time.
    pub fn shrink(&self, what: &'static str, time: Duration) -> Self {
        let until = Instant::now() + time;
        let fails = |history: &Self| {
            history.play(false).failures.first().is_some_and(|failure| failure.what == what)
        };
        let mut best = self.clone();
        let mut piece = best.steps.len().div_ceil(2);
        while piece > 0 && Instant::now() < until {
            let mut at = 0;
            let mut shorter = false;
            while at < best.steps.len() && Instant::now() < until {
                let mut tried = best.clone();
                tried.steps.drain(at..(at + piece).min(best.steps.len()));
                if fails(&tried) {
                    best = tried;
                    shorter = true;
                } else {
                    at += piece;
                }
            }
            if piece == 1 && !shorter {
                break;
            }
            piece = if piece == 1 { 1 } else { piece.div_ceil(2) };
        }
        // What happens within the steps: all, then one after the other.
        let mut fired: BTreeSet<_> = best.play(false).fired.into_iter().collect();
        let mut all = best.clone();
        all.muted.extend(fired.iter().copied());
        if fails(&all) {
            return all;
        }
        while let Some(one) = fired.pop_last() {
            if Instant::now() > until {
                break;
            }
            let mut tried = best.clone();
            tried.muted.insert(one);
            if fails(&tried) {
                best = tried;
            }
        }
        best
    }
}

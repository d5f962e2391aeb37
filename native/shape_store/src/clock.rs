//! The host's clock, as the store knows it.
//!
//! Times of reading come from the host, which reads its own clock for each: for Erlang the
//! monotonic time in native units, which starts below zero. Where the store itself has to
//! say "now", as for shapes that another instance added, no host is there to ask: it adds
//! to what the host said last what has passed since.

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::Instant,
};

use crate::system::System;

/// What the host's clock says when a store is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostClock {
    /// Its time.
    pub now: i64,
    /// Its units in a second.
    pub per_second: u32,
}

/// Nanoseconds since the opening.
impl Default for HostClock {
    fn default() -> Self {
        Self { now: 0, per_second: 1_000_000_000 }
    }
}

pub(crate) struct Clock {
    system: Arc<dyn System>,
    started: Instant,
    /// The host's time at `started`, by what it said last.
    at_start: AtomicI64,
    per_second: u32,
}

impl Clock {
    pub(crate) fn new(system: Arc<dyn System>, host: HostClock) -> Self {
        let started = system.now();
        let HostClock { now, per_second } = host;
        Self { system, started, at_start: AtomicI64::new(now), per_second }
    }

    /// The host's time.
    pub(crate) fn now(&self) -> i64 {
        self.at_start.load(Relaxed).saturating_add(self.passed())
    }

    /// The host says what time it is: its clock and ours may go at slightly different paces.
    pub(crate) fn set(&self, now: i64) {
        self.at_start.store(now.saturating_sub(self.passed()), Relaxed);
    }

    pub(crate) fn to_micros(&self, units: i64) -> u64 {
        let micros = i128::from(units) * 1_000_000 / i128::from(self.per_second.max(1));
        u64::try_from(micros.max(0)).unwrap_or(u64::MAX)
    }

    pub(crate) fn of_micros(&self, micros: u64) -> i64 {
        // Once a shape at a start: mostly the units are nanoseconds, and nothing is divided.
        let whole = u64::from(self.per_second / 1_000_000);
        let rest = u64::from(self.per_second % 1_000_000);
        let rest =
            if rest == 0 { 0 } else { (u128::from(micros) * u128::from(rest) / 1_000_000) as u64 };
        i64::try_from(micros.saturating_mul(whole).saturating_add(rest)).unwrap_or(i64::MAX)
    }

    fn passed(&self) -> i64 {
        let passed = self.system.now().saturating_duration_since(self.started).as_nanos();
        let units = passed * u128::from(self.per_second) / 1_000_000_000;
        i64::try_from(units).unwrap_or(i64::MAX)
    }
}

//! What a history is made of, from its seed.

use std::time::Duration;

use shape_store::{QueueSize, Synchronous};

use crate::{action::Kind, chance::Chance, platform::SLOTS};

/// What a history is made of. Each draws its own, so that all that can happen also happens
/// without the rest.
#[derive(Clone, Debug)]
#[expect(missing_docs, reason = "they are the store's options, and what they are called")]
pub struct Config {
    pub slots: usize,
    pub exclusive: bool,
    pub synchronous: Synchronous,
    pub manual_flush: bool,
    pub max_pending: QueueSize,
    pub keep_ages: bool,
    pub ages_interval: Duration,
    pub cache_bytes: usize,
    pub readers: usize,
    pub connection_idle: Duration,
    pub handles: usize,
    pub large_bodies: bool,
    /// One operation in so many fails, or none.
    pub faults: Option<usize>,
    /// Whether locks fail too: a store then takes it that this file system has none.
    pub lock_faults: bool,
    /// At one operation in so many others run, or at none.
    pub nested: Option<usize>,
    /// How likely each kind of action is.
    pub weights: Vec<(Kind, usize)>,
    /// How many actions.
    pub length: usize,
}

impl Config {
    /// The one of a seed.
    pub fn draw(chance: &mut Chance) -> Self {
        let wild = !chance.one_in(3);
        let mut weights: Vec<(Kind, usize)> = Kind::ALL
            .iter()
            .map(|(kind, weight)| (*kind, weight * chance.pick(&[1, 1, 2, 4])))
            .collect();
        for (kind, weight) in &mut weights {
            let rare = matches!(kind, Kind::Power | Kind::Operator | Kind::Capacity);
            let often = if *kind == Kind::Operator { 4 } else { 2 };
            if (rare && (!wild || chance.one_in(often)))
                || (kind.may_be_left_out() && chance.one_in(4))
            {
                *weight = 0;
            }
        }
        Self {
            slots: chance.pick(&[1, 2, 2, SLOTS, SLOTS]),
            exclusive: chance.one_in(8),
            synchronous: chance.pick(&[
                Synchronous::Off,
                Synchronous::Normal,
                Synchronous::Full,
                Synchronous::Full,
            ]),
            manual_flush: chance.one_in(8),
            max_pending: chance.pick(&[
                QueueSize { ops: 3, bytes: 1 << 20 },
                QueueSize { ops: 50, bytes: 20_000 },
                QueueSize { ops: 100_000, bytes: 64 << 20 },
                QueueSize { ops: 100_000, bytes: 64 << 20 },
            ]),
            keep_ages: !chance.one_in(4),
            ages_interval: chance.pick(&[Duration::from_millis(200), Duration::from_secs(300)]),
            cache_bytes: chance.pick(&[0, 1500, 4 << 20]),
            readers: chance.pick(&[1, 2, 4]),
            connection_idle: chance.pick(&[Duration::from_millis(50), Duration::from_secs(30)]),
            handles: chance.pick(&[3, 8, 20]),
            large_bodies: chance.one_in(5),
            faults: chance.pick(&[None, None, Some(30), Some(200), Some(1000)]),
            lock_faults: chance.one_in(16),
            nested: chance.pick(&[None, Some(10), Some(40), Some(40), Some(200)]),
            weights,
            length: chance.pick(&[20, 40, 80, 150]),
        }
    }
}

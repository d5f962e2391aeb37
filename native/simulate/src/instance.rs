//! A store of a process, and what its callers know of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use shape_store::{Lease, Machine, Store, Ticket};

use crate::{model::ShapeId, platform::ProcessId};

/// A store of a process.
pub(crate) struct Instance {
    pub(crate) process: ProcessId,
    pub(crate) store: Option<Store>,
    pub(crate) machine: Option<Machine>,
    pub(crate) stepping: bool,
    pub(crate) wake: Wake,
    /// Whether it left what has arrived where it is: while it opens, it looks at nothing.
    pub(crate) busy: bool,
    /// Its last event.
    pub(crate) ended: Option<String>,
    pub(crate) open_failed: bool,
    pub(crate) opened: bool,
    /// Whether it opened as the writer.
    pub(crate) alone: bool,
    /// The durable number that it closed with.
    pub(crate) closed_at: Option<u64>,
    pub(crate) fenced: bool,
    /// Whether it said that it was promoted, and nobody has looked yet.
    pub(crate) promoted: bool,
    /// The highest number that was asked to be flushed in the end.
    pub(crate) flushed: u64,
    pub(crate) spins: usize,
    /// How often the file had been tampered with when its machine began its step.
    pub(crate) tampers: u64,
    /// The same of the first try to replace the file, until one succeeds.
    pub(crate) first_try: Option<u64>,
    /// How many reigns had begun then.
    pub(crate) begun: usize,
    /// How often the file had become sound again by then.
    pub(crate) mends: u64,
    pub(crate) reigns: Vec<usize>,
    pub(crate) reign: Option<usize>,
    /// The highest number whose end is known.
    pub(crate) probed: u64,
    pub(crate) given_up: BTreeSet<u64>,
    /// The highest number there is, and the highest that somebody was given.
    pub(crate) last: u64,
    pub(crate) taken: u64,
    pub(crate) rows: BTreeSet<u64>,
    /// What is known here in memory alone, by shape: how far its snapshot has come, and when
    /// it was read last, if that was said here.
    pub(crate) marked: BTreeMap<ShapeId, u8>,
    /// The same of shapes that the model does not know yet, by name and row.
    pub(crate) marked_unknown: BTreeMap<(Vec<u8>, u64), u8>,
    pub(crate) read: BTreeMap<ShapeId, Option<i64>>,
    pub(crate) leases: Vec<Lease>,
    pub(crate) tickets: Vec<(usize, Ticket)>,
    pub(crate) waits: Vec<(usize, shape_store::WaitId)>,
    /// Who asked for a connection: the writer's, and under which number.
    pub(crate) asked: Vec<(usize, bool, u64)>,
    pub(crate) paused: bool,
}

impl Instance {
    /// One that is about to be assembled.
    pub(crate) fn new(process: ProcessId) -> Self {
        Self {
            process,
            store: None,
            machine: None,
            stepping: false,
            wake: Wake::Now,
            busy: false,
            ended: None,
            open_failed: false,
            opened: false,
            alone: false,
            closed_at: None,
            fenced: false,
            promoted: false,
            flushed: 0,
            spins: 0,
            tampers: 0,
            first_try: None,
            begun: 0,
            mends: 0,
            reigns: Vec::new(),
            reign: None,
            probed: 0,
            given_up: BTreeSet::new(),
            last: 0,
            taken: 0,
            rows: BTreeSet::new(),
            marked: BTreeMap::new(),
            marked_unknown: BTreeMap::new(),
            read: BTreeMap::new(),
            leases: Vec::new(),
            tickets: Vec::new(),
            waits: Vec::new(),
            asked: Vec::new(),
            paused: false,
        }
    }
}

/// When a machine has something to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wake {
    Now,
    At(Duration),
    Mail,
    Never,
}

//! What is queued, into the file: batch by batch, and again when one fails.

use std::{
    collections::HashSet,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use tracing::{error, info, warn};

use super::{Turn, context::Context, gathering::gathering_time, writing::Writing};
use crate::{
    event::Event,
    file::{
        epoch::note_in_use,
        fault::{Fault, Passing},
    },
    pool::Next,
    queue::{Change, Seq, Totals},
    writer::batch::{Batch, Refused, Written},
};

/// How long to wait while another instance opens the file or becomes its writer.
const TURN_PAUSE: Duration = Duration::from_millis(2);

impl Writing {
    pub(super) fn commit(&mut self, context: &mut Context, ops: usize, now: Instant) -> Turn {
        self.not_before = None;
        // For whoever wonders why nothing is committed: a disk that stalls fails nothing.
        let counters = &context.shared.counters;
        if counters.committing_since_ms.load(Relaxed) == 0 {
            counters.committing_since_ms.store(context.shared.clock_ms(), Relaxed);
        }
        let written = match context.locks.try_batch() {
            true => self.write(context, ops),
            false => Err(Passing::Turn.into()),
        };
        context.locks.end();
        if let Err(Fault::Transient(Passing::Turn)) = written {
            // It goes on, for as long as another instance has the turn.
            self.not_before = Some(now + TURN_PAUSE);
            return Turn::Next(Next::Again);
        }
        context.shared.counters.committing_since_ms.store(0, Relaxed);
        match written {
            Ok(written) => self.committed(context, ops, now, written),
            Err(Fault::Transient(error)) => self.failed(context, ops, now, &error),
            Err(fault) => return self.fault(context, fault, now),
        }
        Turn::Next(Next::Again)
    }

    /// Writes the head of the backlog, with the file known to be this writer's, before and
    /// after.
    fn write(&mut self, context: &Context, ops: usize) -> Result<Written, Fault> {
        self.reopen(context)?;
        self.check_name(context)?;
        self.check_log(context)?;
        let shared = &context.shared;
        let Some(conn) = self.own.get() else { return Err(Passing::Turn.into()) };
        if !self.noted {
            note_in_use(conn, &shared.options)?;
            self.noted = true;
        }
        let batch = Batch {
            index: &shared.index,
            dictionary: &shared.dictionary,
            label: self.label,
            skipped: &self.skipped,
        };
        let written = batch.write(conn, self.backlog.iter().take(ops), &mut self.unsure)?;
        if let Err(fault) = self.check_log_after(context) {
            // It is in the file, as far as SQLite knows.
            self.unsure = Some(written);
            return Err(fault);
        }
        self.note_length(context);
        self.own.use_now(context.shared.now());
        Ok(written)
    }

    fn committed(&mut self, context: &Context, ops: usize, started: Instant, written: Written) {
        let shared = &context.shared;
        let durable = shared.waits.durable() + ops as Seq;
        let first = shared.waits.durable() + 1;
        if let Some(position) = written.position {
            self.label.position = position;
        }
        self.skipped.extend(written.skipped);
        for row in written.passed {
            self.skipped.remove(&row);
        }
        let refused: HashSet<usize> = written.refused.iter().map(|one| one.offset).collect();
        let mut done = Totals::default();
        let mut unknown = Vec::new();
        for (offset, queued) in self.backlog.drain(..ops).enumerate() {
            done.count(&queued.change);
            match queued.change {
                // A refused body stays pending: memory is the only place it has.
                Change::Add { .. } if refused.contains(&offset) => {}
                Change::Add { row, body, .. } => {
                    // In the cache before it leaves the pending map, so that a
                    // reader finds it in one or the other.
                    shared.cache.keep(row, body);
                    if !shared.pending.forget_add(row) {
                        shared.cache.forget(row);
                    }
                }
                Change::Remove { row, handle } => {
                    shared.pending.forget_removal(&handle);
                    shared.cache.forget(row);
                }
                Change::Unknown { operation, handle } => unknown.push((operation, handle)),
                Change::Snapshot { .. }
                | Change::Flags(_)
                | Change::FlagsVersion(_)
                | Change::Reset { .. } => {}
            }
        }
        shared.queue.lock().release(&done);
        let set_aside: Vec<Seq> = refused.iter().map(|offset| first + *offset as Seq).collect();
        if self.failing.is_some() {
            // Who is told of the commit finds no trouble any more.
            shared.counters.trouble.is_over();
        }
        // Room first: who waited for the number finds it given away.
        shared.grant_room();
        shared.waits.publish(durable, &set_aside);
        let ended = shared.now();
        let duration = ended.saturating_duration_since(started);
        let counters = &shared.counters;
        counters.commits.fetch_add(1, Relaxed);
        counters.last_commit_us.store(duration.as_micros() as u64, Relaxed);
        counters.last_commit_ops.store(ops as u64, Relaxed);
        counters.commit_us.fetch_add(duration.as_micros() as u64, Relaxed);
        counters.commit_ops.fetch_add(ops as u64, Relaxed);
        for (operation, handle) in unknown {
            let handle = String::from_utf8_lossy(&handle);
            warn!(?operation, %handle, "passed over an operation on a shape that was not there");
        }
        for Refused { operation, handle, reason, .. } in written.refused {
            counters.set_aside.fetch_add(1, Relaxed);
            let name = String::from_utf8_lossy(&handle);
            error!(?operation, handle = %name, %reason, "SQLite refused an operation, which was set aside");
            shared.emit(Event::SetAside { operation, handle, reason });
        }
        if let Some(failing) = self.failing.take() {
            let after = ended.saturating_duration_since(failing.since);
            info!(failures = failing.failures, ?after, "the shape store writes again");
            shared.emit(Event::Recovered { failures: failing.failures, after });
        }
        shared.emit(Event::Committed { ops, duration, log: written.log });
        let busy = shared.options.system.busy_writers();
        self.gather_until = Some(ended + gathering_time(&busy));
    }
}

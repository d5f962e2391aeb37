//! The numbers of a store, gathered.

use std::sync::atomic::Ordering::Relaxed;

use super::Store;
use crate::statistics::Statistics;

impl Store {
    /// A look at its numbers.
    pub fn statistics(&self) -> Statistics {
        let shared = &*self.shared;
        let (load, waiting) = {
            let queue = shared.queue.lock();
            (queue.size(), queue.in_line())
        };
        let trouble = shared.counters.trouble.get().unwrap_or_default();
        let counters = &shared.counters;
        Statistics {
            connections: shared.open.load(Relaxed),
            shapes: shared.index.count(),
            index_bytes: shared.index.bytes(),
            pending_ops: load.ops,
            pending_bytes: load.bytes,
            cache_bytes: shared.cache.bytes(),
            cache_hits: shared.cache.hits(),
            cache_misses: shared.cache.misses(),
            commits: counters.commits.load(Relaxed),
            last_commit_ops: counters.last_commit_ops.load(Relaxed),
            last_commit_us: counters.last_commit_us.load(Relaxed),
            durable: shared.waits.durable(),
            faults: counters.faults.load(Relaxed),
            set_aside: counters.set_aside.load(Relaxed),
            epoch: counters.epoch.load(Relaxed),
            lost: counters.lost.load(Relaxed),
            rebuilds: counters.rebuilds.load(Relaxed),
            quarantined: counters.quarantined.load(Relaxed),
            rebuilding: counters.rebuilding.load(Relaxed),
            given_up: counters.given_up.load(Relaxed),
            commit_us: counters.commit_us.load(Relaxed),
            commit_ops: counters.commit_ops.load(Relaxed),
            role: shared.state() as u64,
            role_since_ms: counters.role_since_ms.load(Relaxed),
            found_clean: counters.found_clean.load(Relaxed),
            failing_since_ms: trouble.since_ms,
            committing_since_ms: counters.committing_since_ms.load(Relaxed),
            failures: trouble.failures,
            waiting,
            max_pending_ops: shared.options.max_pending.ops,
            max_pending_bytes: shared.options.max_pending.bytes,
        }
    }
}

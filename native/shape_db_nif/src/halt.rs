//! `System.halt/1` asks nobody, but it does leave through `exit(3)`: what is queued
//! is committed there, for as long as a halt can be held up. Nor are those asked who have
//! the connection that writes: what they have not committed ends with them.

use std::{
    sync::{Arc, Weak},
    thread,
    time::{Duration, Instant},
};

use once_cell::sync::Lazy;
use parking_lot::Mutex;
use shape_store::{State, Store, WRITER_SLOT, WeakStore};

use crate::resource::Lent;

/// How long a halt waits for the disk.
const LONGEST: Duration = Duration::from_secs(5);

struct Watched {
    stores: Vec<(WeakStore, Weak<Lent>)>,
    /// When there are so many, those that are gone are taken out.
    clean_at: usize,
}

static STORES: Lazy<Mutex<Watched>> = Lazy::new(|| {
    // SAFETY: `drain` is an `extern "C"` function of this library, which stays
    // loaded for as long as the process lives: its threads never end. It does not
    // unwind: it takes locks, sends on channels, rolls back and sleeps.
    let _refused = unsafe { libc::atexit(drain) };
    Mutex::new(Watched { stores: Vec::new(), clean_at: 0 })
});

/// Has the store's queue committed when the process exits.
pub(crate) fn watch(store: &Store, lent: &Arc<Lent>) {
    let mut watched = STORES.lock();
    watched.stores.push((store.downgrade(), Arc::downgrade(lent)));
    if watched.stores.len() > watched.clean_at {
        watched.stores.retain(|(store, _)| store.is_there());
        watched.clean_at = watched.stores.len() * 2;
    }
}

extern "C" fn drain() {
    let stores: Vec<_> = STORES
        .lock()
        .stores
        .iter()
        .filter_map(|(store, lent)| Some((store.upgrade()?, lent.clone())))
        .collect();
    // Before: a store that closes does not wait for it with nothing queued, and has its file
    // noted as closed on another connection, if no transaction is in the way.
    stores.iter().for_each(|(_, lent)| revoke(lent));
    stores.iter().for_each(|(store, _)| store.close());
    let until = Instant::now() + LONGEST;
    let busy = |store: &Store| !matches!(store.state(), State::Closed | State::Poisoned);
    while stores.iter().any(|(store, _)| busy(store)) && Instant::now() < until {
        // Each time: it may be lent once more on the way.
        stores.iter().for_each(|(_, lent)| revoke(lent));
        thread::sleep(Duration::from_millis(1));
    }
}

fn revoke(lent: &Weak<Lent>) {
    let lent = lent.upgrade();
    let lease = lent.and_then(|lent| lent.lock().get(&WRITER_SLOT)?.1.upgrade());
    if let Some(lease) = lease {
        lease.revoke();
    }
}

//! `System.halt/1` asks nobody, but it does leave through `exit(3)`: what is queued
//! is committed there, for as long as a halt can be held up.

use std::{
    thread,
    time::{Duration, Instant},
};

use once_cell::sync::Lazy;
use parking_lot::Mutex;
use shape_store::{State, Store, WeakStore};

/// How long a halt waits for the disk.
const LONGEST: Duration = Duration::from_secs(5);

struct Watched {
    stores: Vec<WeakStore>,
    /// When there are so many, those that are gone are taken out.
    clean_at: usize,
}

static STORES: Lazy<Mutex<Watched>> = Lazy::new(|| {
    // SAFETY: `drain` is an `extern "C"` function of this library, which stays
    // loaded for as long as the process lives: its threads never end. It does not
    // unwind: it takes locks, sends on channels and sleeps.
    let _refused = unsafe { libc::atexit(drain) };
    Mutex::new(Watched { stores: Vec::new(), clean_at: 0 })
});

/// Has the store's queue committed when the process exits.
pub(crate) fn watch(store: &Store) {
    let mut watched = STORES.lock();
    watched.stores.push(store.downgrade());
    if watched.stores.len() > watched.clean_at {
        watched.stores.retain(WeakStore::is_there);
        watched.clean_at = watched.stores.len() * 2;
    }
}

extern "C" fn drain() {
    let stores: Vec<Store> = STORES.lock().stores.iter().filter_map(WeakStore::upgrade).collect();
    stores.iter().for_each(Store::close);
    let until = Instant::now() + LONGEST;
    let busy = |store: &Store| !matches!(store.state(), State::Closed | State::Poisoned);
    while stores.iter().any(busy) && Instant::now() < until {
        thread::sleep(Duration::from_millis(1));
    }
}

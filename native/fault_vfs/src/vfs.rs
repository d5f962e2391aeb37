//! The VFS as a test sees it.

use crate::{
    gate::{Gate, Hold},
    images::Images,
    log::{Log, Point},
    operation::{Kinds, Operations},
    plan::Plan,
    room::Room,
    shim,
};
use parking_lot::Mutex;
use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

/// A VFS that counts, fails, stalls, fills up and records, over the platform's default one.
///
/// It takes part only in connections opened with its [`name`](Self::name), as in
/// `Connection::open_with_flags_and_vfs(path, flags, vfs.name())`. Everything can be called from
/// any thread at any time, also while operations are held.
pub struct FaultVfs {
    name: String,
    pub(crate) gate: Gate,
    pub(crate) room: Room,
    pub(crate) recorder: Mutex<Recorder>,
    /// Relaxed everywhere: a switch that guards nothing else.
    pub(crate) skip_syncs: AtomicBool,
}

/// What is known of lasting files.
#[derive(Default)]
pub(crate) struct Recorder {
    pub(crate) log: Option<Log>,
    /// How many handles each name has open.
    pub(crate) open: HashMap<PathBuf, usize>,
}

impl FaultVfs {
    /// Registers a VFS under `name`, not as the default.
    ///
    /// It is never freed: SQLite has no way to tell when the last connection through it is gone.
    ///
    /// # Panics
    /// If the name is taken or holds a zero byte, or if SQLite has no default VFS.
    pub fn register(name: &str) -> Arc<Self> {
        let vfs = Arc::new(Self {
            name: name.to_owned(),
            gate: Gate::default(),
            room: Room::default(),
            recorder: Mutex::default(),
            skip_syncs: AtomicBool::new(false),
        });
        let registered = shim::register(&vfs);
        assert!(registered, "no VFS can be registered as {name:?}: the name is taken or unusable");
        vfs
    }

    /// Registers a VFS under a name of its own, one per test.
    pub fn unique() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        // Relaxed: only the number's uniqueness matters.
        Self::register(&format!("fault-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
    }

    /// The name it is registered under.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes the name away from SQLite: new connections cannot ask for it, open ones go on.
    pub fn unregister(&self) {
        shim::unregister(&self.name);
    }

    /// How many operations passed the gate since registration, failed ones included, held ones
    /// not.
    pub fn operations(&self) -> Operations {
        self.gate.operations()
    }

    /// Fails operations as `plan` says, from now on and in place of any earlier plan.
    pub fn fail(&self, plan: Plan) {
        self.gate.fail(plan);
    }

    /// Ends the current plan. A capacity and a hold stay.
    pub fn heal(&self) {
        self.gate.heal();
    }

    /// How many operations plans have failed since registration.
    pub fn injected(&self) -> u64 {
        self.gate.injected()
    }

    /// Blocks operations of these kinds, besides those held already, from now until the hold is
    /// dropped or [`release`](Self::release) is called, whichever comes first; either releases
    /// all that is held.
    ///
    /// A plan is asked only after the release. Held in a sync, a thread has SQLite's mutex of
    /// its connection, and locks on the file.
    pub fn hold(&self, kinds: Kinds) -> Hold<'_> {
        self.gate.hold(kinds);
        Hold(&self.gate)
    }

    /// Ends all holds and lets every blocked operation go on.
    pub fn release(&self) {
        self.gate.release();
    }

    /// How many operations are blocked now.
    pub fn held(&self) -> usize {
        self.gate.held()
    }

    /// Waits until some operation is blocked; `false` if none was by then.
    pub fn wait_until_held(&self, timeout: Duration) -> bool {
        self.gate.wait_until_held(timeout)
    }

    /// Lets lasting files (database, log, journal) take no more than so many bytes together;
    /// `None` is no bound. A write beyond it does what fits and reports `SQLITE_FULL`.
    ///
    /// Counted are the files that were ever opened through this VFS and not deleted through it.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.room.set_capacity(bytes);
    }

    /// The bytes that count against a capacity now.
    pub fn used(&self) -> u64 {
        self.room.used()
    }

    /// Whether syncs skip the real device, for speed. They are gated and recorded all the same.
    pub fn skip_syncs(&self, skip: bool) {
        self.skip_syncs.store(skip, Ordering::Relaxed);
    }

    /// Starts recording, from nothing. What files hold when first opened counts as durable.
    ///
    /// # Panics
    /// If a lasting file is open through this VFS.
    pub fn record(&self) {
        let mut recorder = self.recorder.lock();
        assert!(recorder.open.is_empty(), "record before opening: {:?}", recorder.open.keys());
        recorder.log = Some(Log::default());
    }

    /// Stops recording and forgets what was recorded.
    pub fn stop_recording(&self) {
        self.recorder.lock().log = None;
    }

    /// This moment in the recording. Taken after an acknowledgement, every image at this point
    /// or a later one must hold what was acknowledged.
    pub fn point(&self) -> Point {
        self.recorder.lock().log.as_ref().map_or(Point(0), Log::point)
    }

    /// The images of what was recorded until now; the recording goes on.
    pub fn images(&self) -> Images {
        Images::new(self.recorder.lock().log.clone().unwrap_or_default())
    }
}

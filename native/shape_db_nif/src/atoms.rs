//! Every atom that crosses the boundary.

use rustler::Atom;
use shape_store::{NotWritable, Operation, Outcome, Snapshot, State};

rustler::atoms! {
    ok, error, nil,
    shape_db,
    // changes
    duplicate_handle, duplicate_shape, unknown, full, too_large, handle_length,
    too_many_relations, index_full, suspicious, other, options,
    add, remove, snapshot_started, snapshot_complete, flags, reset,
    // states
    opening, standby, active, fenced, closing, closed, poisoned,
    // snapshots
    none, started, complete,
    // waits
    durable, set_aside, wait, room,
    // lookups
    ask, body, borrowed, cold, done, gone, here, large, many,
    // connections
    asked, blob,
    // log
    log, warning, info, debug,
    // progress
    shape_db_progress,
    // admin
    sound, unverified, damaged, bodiless, unreadable,
    // events
    opened, open_failed, committed, commit_failed, recovered, pressure_started,
    pressure_ended, rebuilt, rebuild_failed, lost, promoted, verify,
}

pub(crate) fn operation(operation: Operation) -> Atom {
    match operation {
        Operation::Add => add(),
        Operation::Remove => remove(),
        Operation::SnapshotStarted => snapshot_started(),
        Operation::SnapshotComplete => snapshot_complete(),
        Operation::Flags => flags(),
        Operation::Reset => reset(),
    }
}

pub(crate) fn snapshot(snapshot: Snapshot) -> Atom {
    match snapshot {
        Snapshot::None => none(),
        Snapshot::Started => started(),
        Snapshot::Complete => complete(),
    }
}

pub(crate) fn not_writable(reason: NotWritable) -> Atom {
    match reason {
        NotWritable::Standby => standby(),
        NotWritable::Fenced => fenced(),
        NotWritable::Opening => opening(),
        NotWritable::Closed => closed(),
        NotWritable::Poisoned => poisoned(),
        _ => other(),
    }
}

pub(crate) fn outcome(outcome: Outcome) -> Atom {
    match outcome {
        Outcome::Durable => durable(),
        Outcome::SetAside => set_aside(),
        Outcome::Closed => closed(),
        Outcome::Fenced => fenced(),
        Outcome::Poisoned => poisoned(),
    }
}

pub(crate) fn state(state: State) -> Atom {
    match state {
        State::Opening => opening(),
        State::Standby => standby(),
        State::Active => active(),
        State::Fenced => fenced(),
        State::Closing => closing(),
        State::Closed => closed(),
        State::Poisoned => poisoned(),
    }
}

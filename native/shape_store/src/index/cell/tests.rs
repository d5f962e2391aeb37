use super::*;
use crate::entry::{Digest, INLINE_OIDS, Oids};

fn entry(n: u8) -> Entry {
    Entry {
        row: 1 + u64::from(n),
        handle: Handle::from_slice(&[n; INLINE_HANDLE]),
        digest: Digest([n; 32]),
        hash: u32::from_le_bytes([n; 4]),
        snapshot: Snapshot::None,
        flags: n,
        oids: Oids::from_slice(&[u32::from_le_bytes([n; 4]); INLINE_OIDS]),
    }
}

/// A mark that nobody looks at.
fn marked<T>(fill: impl FnOnce(Mark<'_>) -> T) -> T {
    let (stamp, begins, holds) = Default::default();
    fill(Mark { stamp: &stamp, begins: &begins, holds: &holds })
}

fn zeroed() -> Cell {
    Cell { words: SeqLock::new() }
}

#[test]
fn a_look_gives_what_was_filled_in() {
    let cell = zeroed();
    assert!(matches!(cell.look(), Look::Vacant));
    for (handle, oids) in [(1, 0), (7, 1), (8, 2), (26, 1), (INLINE_HANDLE, INLINE_OIDS)] {
        let mut filled = entry(9);
        filled.handle.truncate(handle);
        filled.oids.truncate(oids);
        marked(|mark| cell.fill(&filled, mark, Stamp::NEVER));
        assert!(matches!(cell.look(), Look::Inline(found) if found == filled));
        let oid = entry(9).oids[0];
        match cell.look_for(oid) {
            Look::Inline(found) => assert!(oids > 0 && found == filled.handle),
            Look::Vacant => assert_eq!(oids, 0),
            Look::Overflow { .. } => panic!("it fits"),
        }
        assert!(matches!(cell.look_for(oid + 1), Look::Vacant));
        cell.set_snapshot(Snapshot::Complete);
        filled.snapshot = Snapshot::Complete;
        assert!(matches!(cell.look(), Look::Inline(found) if found == filled));
        assert_eq!(cell.snapshot(), Some(Snapshot::Complete));
        assert_eq!(cell.set_flags(0xa5), 9);
        filled.flags = 0xa5;
        assert!(matches!(cell.look(), Look::Inline(found) if found == filled));
        assert_eq!((cell.flags(), cell.row()), (0xa5, filled.row));
        marked(|mark| cell.vacate(mark));
        assert_eq!(cell.snapshot(), None);
        assert!(matches!(cell.look(), Look::Vacant));
    }
    let large = Entry { handle: Handle::from_slice(&[1; INLINE_HANDLE + 1]), ..entry(3) };
    marked(|mark| cell.fill(&large, mark, Stamp::NEVER));
    assert!(matches!(cell.look(), Look::Overflow { row: 4, snapshot: Snapshot::None, flags: 3 }));
    assert!(matches!(cell.look_for(0), Look::Overflow { row: 4, .. }));
}

/// Short, so that an interpreter that explores weak orderings can run it.
#[test]
fn a_look_at_a_cell_that_changes_gives_one_entry_whole_or_nothing() {
    let rounds = if cfg!(miri) { 20 } else { 50_000 };
    let cell = zeroed();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut newest = 0;
                for _ in 0..rounds {
                    if let Look::Inline(found) = cell.look() {
                        let n = found.handle.first().copied().unwrap_or_default();
                        assert_eq!(Entry { snapshot: Snapshot::None, ..found }, entry(n));
                        newest = n.max(newest);
                    }
                }
                newest
            });
        }
        for round in 0..rounds {
            marked(|mark| cell.fill(&entry((round % 250) as u8), mark, Stamp::NEVER));
            cell.set_snapshot(Snapshot::Started);
            marked(|mark| cell.vacate(mark));
        }
    });
}

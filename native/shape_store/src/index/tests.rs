use super::*;
use crate::entry::Oids;

fn entry(row: RowId, handle: usize) -> Entry {
    Entry {
        row,
        handle: Handle::from_slice(&vec![row as u8; handle]),
        digest: Digest::of(&row.to_le_bytes()),
        hash: row as u32,
        snapshot: Snapshot::None,
        flags: 0,
        oids: Oids::from_slice(&[1, 2 + row as u32 % 2]),
    }
}

fn put(index: &Index, mutator: &mut Mutator, entry: &Entry) -> EntryId {
    index.insert(mutator, entry, |_| {}).map_err(|refusal| format!("{refusal:?}")).unwrap_or(0)
}

#[test]
fn what_is_removed_leaves_nothing_in_any_table() {
    for handle in [8, 200] {
        let (index, mut mutator) = (Index::new(), Mutator::default());
        let one = entry(1, handle);
        let id = put(&index, &mut mutator, &one);
        assert_eq!(index.by_handle(&one.handle), Some((id, one.clone())));
        assert_eq!(index.by_digest(&one.digest), Some((id, one.clone())));
        index.remove(&mut mutator, id, &one);
        assert_eq!((index.by_handle(&one.handle), index.by_digest(&one.digest)), (None, None));
        assert_eq!((index.count(), index.get(id)), (0, None));
        // The cell is filled again, by another.
        let two = entry(2, handle);
        assert_eq!(put(&index, &mut mutator, &two), id);
        assert_eq!(index.by_handle(&one.handle), None);
        assert_eq!(index.by_digest(&two.digest), Some((id, two)));
    }
}

/// A cell passes from one entry to another under the eyes of readers, inline
/// and in the overflow map: each lookup gives its own entry or none.
#[test]
fn a_lookup_never_gives_the_next_entry_of_a_cell() {
    let rounds = if cfg!(miri) { 15 } else { 20_000 };
    let index = Index::new();
    let entries = [entry(3, 8), entry(4, 60), entry(5, 32), entry(6, 33)];
    std::thread::scope(|scope| {
        for wanted in &entries {
            let index = &index;
            scope.spawn(move || {
                for _ in 0..rounds {
                    if let Some((_, found)) = index.by_handle(&wanted.handle) {
                        assert_eq!(found, *wanted);
                    }
                    if let Some((_, found)) = index.by_digest(&wanted.digest) {
                        assert_eq!(found, *wanted);
                    }
                }
            });
        }
        let mut mutator = Mutator::default();
        for _ in 0..rounds {
            for entry in &entries {
                let id = put(&index, &mut mutator, entry);
                index.remove(&mut mutator, id, entry);
            }
        }
    });
    assert_eq!(index.count(), 0);
}

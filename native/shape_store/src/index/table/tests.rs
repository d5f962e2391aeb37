use std::collections::BTreeSet;

use super::*;

const HASHES: EntryId = 30;

/// Few hashes, so that ids collide in their tags, their places and their shards, at both
/// ends of an array.
fn hash(id: EntryId) -> u64 {
    let tag = if id.is_multiple_of(2) { id % 5 } else { u32::MAX - id % 5 };
    u64::from(id % 3) << 32 | u64::from(tag)
}

fn insert(table: &Table, owned: &mut Owned, id: EntryId) {
    let there = |other| (other == id).then_some(());
    let spot = table.seek(owned, hash(id), there);
    assert!(spot.is_ok(), "{id} is there before");
    spot.into_iter().for_each(|spot| spot.fill(id));
    assert!(table.seek(owned, hash(id), there).is_err(), "{id} is there");
}

fn ids(table: &Table, hash: u64) -> BTreeSet<EntryId> {
    let mut found = BTreeSet::new();
    table.find(hash, |id| {
        assert!(found.insert(id), "{id} is there twice");
        None::<()>
    });
    found
}

#[test]
fn a_table_is_a_map_of_sets() {
    let (table, mut owned) = (Table::new(), Owned::default());
    let mut model = BTreeSet::new();
    let mut chance = 1u64;
    for _ in 0..if cfg!(miri) { 300 } else { 20_000 } {
        chance = chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let id = (chance >> 40) as EntryId % 120;
        if model.remove(&id) {
            owned.remove(hash(id), id);
        } else {
            model.insert(id);
            insert(&table, &mut owned, id);
        }
        for hash in (0..HASHES).map(hash) {
            let expected: BTreeSet<_> =
                model.iter().copied().filter(|id| self::hash(*id) == hash).collect();
            assert_eq!(ids(&table, hash), expected);
        }
    }
    assert!(table.bytes() < 100_000, "dead marks are cleared away");
}

#[test]
fn what_stays_is_found_while_others_come_and_go() {
    let rounds = if cfg!(miri) { 60 } else { 20_000 };
    let (table, mut owned) = (Table::new(), Owned::default());
    (0..10).for_each(|id| insert(&table, &mut owned, id));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..rounds {
                let id = round % 10;
                let found = table.find(hash(id), |other| (other == id).then_some(()));
                assert!(found.is_some(), "{id} is not found in round {round}");
            }
        });
        for round in 0..rounds {
            let id = 10 + round % 40;
            insert(&table, &mut owned, id);
            owned.remove(hash(id), id);
            if round % 7 == 0 {
                (100..130).for_each(|id| insert(&table, &mut owned, id));
                (100..130).for_each(|id| owned.remove(hash(id), id));
            }
        }
    });
}

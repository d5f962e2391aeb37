//! The handles of tables, in the order of their bytes, whatever the bytes are: they are
//! sorted by their first eight bytes as numbers, and by the rest where that is not enough.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "a test fails by panicking"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::{Running, Shape, named, open};
use proptest::{prelude::*, sample::Index};
use shape_store::{Location, Oid, Options};

const OIDS: Oid = 5;

/// Short and long, with long beginnings in common, and with NUL bytes where a short
/// one ends.
fn handle() -> impl Strategy<Value = Vec<u8>> {
    let beginning = prop_oneof![
        Just(vec![]),
        Just(vec![0; 7]),
        Just(vec![0; 8]),
        Just(b"1234567".to_vec()),
        Just(b"12345678".to_vec()),
        Just(b"12345678-1736944891394221-12345".to_vec()),
        Just(vec![0xff; 8]),
        Just(vec![b'x'; 190]),
    ];
    let end = prop::collection::vec(prop_oneof![Just(0), Just(b'1'), Just(0xff)], 1..10);
    (beginning, end).prop_map(|(beginning, end)| [beginning, end].concat())
}

#[derive(Clone, Debug)]
enum Step {
    Add(Index, BTreeSet<Oid>),
    Remove(Index),
}

fn step() -> impl Strategy<Value = Step> {
    let oids = prop::collection::btree_set(0..OIDS, 0..=OIDS as usize);
    prop_oneof![
        3 => (any::<Index>(), oids).prop_map(|(handle, oids)| Step::Add(handle, oids)),
        1 => any::<Index>().prop_map(Step::Remove),
    ]
}

type Model = BTreeMap<Vec<u8>, BTreeSet<Oid>>;

fn agree(store: &Running, model: &Model) {
    let lists = (0..OIDS).map(|oid| vec![oid]);
    for oids in lists.chain([vec![], vec![1, 1], vec![3, 0], (0..=OIDS).rev().collect()]) {
        let reads = |read: &BTreeSet<Oid>| oids.iter().any(|oid| read.contains(oid));
        let expected: Vec<_> =
            model.iter().filter(|(_, read)| reads(read)).map(|(handle, _)| &handle[..]).collect();
        let found = store.handles_for_relations(&oids, usize::MAX).unwrap();
        assert!(found.iter().map(|handle| &handle[..]).eq(expected.iter().copied()), "{oids:?}");
        if let [_] = oids[..] {
            assert_eq!(store.handles_for_relations(&oids, found.len()), Some(found));
            let fewer = expected.len().checked_sub(1);
            assert_eq!(fewer.and_then(|limit| store.handles_for_relations(&oids, limit)), None);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128, failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_handles_of_tables_are_those_of_a_map(
        handles in prop::collection::vec(handle(), 1..40),
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let store = open(Options::new(Location::Memory));
        let mut model = Model::new();
        for (n, step) in (0..).zip(&steps) {
            match step {
                Step::Add(handle, oids) => {
                    let handle = handle.get(&handles);
                    let shape = Shape { oids: oids.iter().copied().collect(), ..named(handle, n) };
                    assert_eq!(store.add(&shape).is_ok(), !model.contains_key(handle));
                    model.entry(handle.clone()).or_insert_with(|| oids.clone());
                }
                Step::Remove(handle) => {
                    let handle = handle.get(&handles);
                    assert_eq!(store.remove(handle).is_ok(), model.remove(handle).is_some());
                }
            }
            agree(&store, &model);
        }
        store.close();
    }
}

/// A lookup takes relations in pieces of 512, here of handles whose first bytes say
/// nothing of their order, short and long ones mixed.
#[test]
fn a_table_of_many_pieces_is_whole_and_sorted() {
    let store = open(Options::new(Location::Memory));
    let mut model = Model::new();
    for n in 0..1_300 {
        let digits = n.to_string().repeat(1 + n as usize % 30);
        let shape = named(format!("the same beginning {digits}").as_bytes(), n);
        store.add(&Shape { oids: vec![1], ..shape.clone() }).unwrap();
        model.insert(shape.handle, [1].into());
        if n % 512 < 2 || n % 512 > 508 {
            agree(&store, &model);
        }
    }
    let handles: Vec<_> = model.keys().cloned().collect();
    for handle in handles.iter().step_by(3) {
        store.remove(handle).unwrap();
        model.remove(handle);
    }
    agree(&store, &model);
    store.close();
}

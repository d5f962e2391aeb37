//! The core alone: index, queue and writer, without the BEAM.
//!
//! `cargo bench` runs it. Each figure is of one operation on a store that has
//! the number of shapes in the argument.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "a bench may panic")]

use std::{
    cell::Cell,
    sync::mpsc::{self, Receiver},
};

use divan::{Bencher, black_box, counter::ItemsCount};
use shape_store::{Digest, Event, Location, NewShape, Options, Request, Snapshot, Store, Waiting};
use tempfile::TempDir;

const SIZES: [u32; 3] = [1_000, 20_000, 1_000_000];
const BODY: [u8; 1055] = [7; 1055];

fn main() {
    divan::main();
}

struct Bench {
    store: Store,
    events: Receiver<Event>,
    _dir: TempDir,
}

impl Bench {
    /// A store with this many shapes, all of them committed.
    fn with(shapes: u32, options: impl FnOnce(&mut Options)) -> Self {
        let dir = TempDir::new().unwrap();
        let mut opts = Options::new(Location::File(dir.path().join("bench.sqlite")));
        opts.max_pending.ops = usize::MAX;
        opts.max_pending.bytes = usize::MAX;
        options(&mut opts);
        let (tell, events) = mpsc::channel();
        let tell = move |event| {
            let _ = tell.send(event);
        };
        let store = Store::open(opts, Box::new(tell), Box::new(|_| Err("none".into()))).unwrap();
        let bench = Self { store, events, _dir: dir };
        bench.until(|event| matches!(event, Event::Opened { .. }));
        (0..shapes).for_each(|n| bench.add(n));
        bench.flush();
        bench
    }

    fn add(&self, n: u32) {
        let handle = handle(n);
        let shape = NewShape {
            handle: handle.as_bytes(),
            digest: digest(n),
            hash: n,
            oids: &[10_000 + n % 200],
            flags: 0,
            body: &BODY,
        };
        self.store.add(shape, Request::default()).unwrap();
    }

    fn flush(&self) {
        let (tell, told) = mpsc::channel();
        let last = self.store.last();
        self.store.flush_to(last);
        let notify = move |outcome| tell.send(outcome).unwrap();
        if let Waiting::Until(_) = self.store.wait(last, Box::new(notify)) {
            told.recv().unwrap();
        }
    }

    fn until(&self, wanted: impl Fn(&Event) -> bool) {
        while !wanted(&self.events.recv().unwrap()) {}
    }
}

/// As the service makes them: a hash below 2^27, which tells nothing of the order of
/// the adds, and a time.
fn handle(n: u32) -> String {
    format!("{}-{}", n.wrapping_mul(0x9e37_79b1) >> 5, 1_790_000_000_000_000 + u64::from(n))
}

/// Uniform, as a real digest is, and cheaper to make.
fn digest(n: u32) -> Digest {
    let mut bytes = [0; 32];
    let spread = (u64::from(n) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bytes[..8].copy_from_slice(&spread.to_le_bytes());
    bytes[8..12].copy_from_slice(&n.to_le_bytes());
    Digest(bytes)
}

/// Numbers below `size`, far apart from one to the next.
fn scattered(size: u32) -> impl Fn() -> u32 {
    let next = Cell::new(0u32);
    move || {
        next.set(next.get().wrapping_add(0x9e37_79b1));
        next.get() % size
    }
}

#[divan::bench(args = SIZES, sample_count = 100, sample_size = 1000)]
fn handle_for(bencher: Bencher<'_, '_>, size: u32) {
    let bench = Bench::with(size, |_| {});
    let next = scattered(size);
    bencher
        .with_inputs(|| digest(next()))
        .bench_local_values(|digest| black_box(bench.store.handle_for(&digest)).unwrap());
}

#[divan::bench(args = SIZES, sample_count = 100, sample_size = 1000)]
fn entry(bencher: Bencher<'_, '_>, size: u32) {
    let bench = Bench::with(size, |_| {});
    let next = scattered(size);
    bencher
        .with_inputs(|| handle(next()))
        .bench_local_values(|handle| black_box(bench.store.entry(handle.as_bytes())).unwrap());
}

#[divan::bench(args = SIZES, sample_count = 100, sample_size = 1000)]
fn handles_for_100(bencher: Bencher<'_, '_>, size: u32) {
    let bench = Bench::with(size, |_| {});
    for n in size..size + 100 {
        let handle = handle(n);
        let shape = NewShape {
            handle: handle.as_bytes(),
            digest: digest(n),
            hash: n,
            oids: &[9_999],
            flags: 0,
            body: &BODY,
        };
        bench.store.add(shape, Request::default()).unwrap();
    }
    bencher.bench_local(|| black_box(bench.store.handles_for_relations(&[9_999], 1000)).unwrap());
}

#[divan::bench(args = SIZES, sample_count = 100, sample_size = 1000)]
fn touch(bencher: Bencher<'_, '_>, size: u32) {
    let bench = Bench::with(size, |_| {});
    let next = scattered(size);
    bencher
        .with_inputs(|| handle(next()))
        .bench_local_values(|handle| assert!(bench.store.touch(handle.as_bytes(), 1)));
}

/// In no order of time; the same time for all, as after a start; and each before the one
/// that was looked at before it.
#[divan::bench(args = [(1_000_000, "scattered"), (1_000_000, "same"), (1_000_000, "falling"), (200_000, "scattered")], sample_count = 20, sample_size = 1)]
fn least_recently_read_100(bencher: Bencher<'_, '_>, (size, order): (u32, &str)) {
    let bench = Bench::with(size, |_| {});
    for n in 0..size {
        let time = match order {
            "same" => 1,
            "falling" => size - n,
            _ => n.wrapping_mul(0x9e37_79b1),
        };
        assert!(bench.store.touch(handle(n).as_bytes(), i64::from(time)));
    }
    bencher.bench_local(|| {
        let coldest = black_box(bench.store.least_recently_read(100, 0));
        assert_eq!(coldest.handles.len(), 100);
    });
}

#[divan::bench(sample_count = 100, sample_size = 1000)]
fn count_by_flags(bencher: Bencher<'_, '_>) {
    let bench = Bench::with(20_000, |_| {});
    bencher.bench_local(|| black_box(bench.store.count_by_flags(4, 0)));
}

/// The caller's part of an add: the writer is held.
#[divan::bench(args = SIZES, sample_count = 100, sample_size = 200)]
fn add(bencher: Bencher<'_, '_>, size: u32) {
    let bench = Bench::with(size, |options| options.manual_flush = true);
    let next = Cell::new(size);
    bencher.bench_local(|| {
        next.set(next.get() + 1);
        bench.add(next.get());
    });
}

#[divan::bench(args = SIZES, sample_count = 100, sample_size = 200)]
fn mark(bencher: Bencher<'_, '_>, size: u32) {
    let bench = Bench::with(size, |options| options.manual_flush = true);
    let next = scattered(size);
    bencher.with_inputs(|| handle(next())).bench_local_values(|handle| {
        bench.store.mark(handle.as_bytes(), Snapshot::Complete, Request::default()).unwrap()
    });
}

/// The writer's part of 20,000 adds.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn commit_20k(bencher: Bencher<'_, '_>) {
    let bench = Bench::with(0, |options| options.manual_flush = true);
    let next = Cell::new(0);
    bencher
        .counter(ItemsCount::new(20_000u32))
        .with_inputs(|| {
            (0..20_000).for_each(|_| {
                next.set(next.get() + 1);
                bench.add(next.get());
            });
        })
        .bench_local_values(|()| bench.flush());
}

/// Opening a file of 100,000 shapes.
#[divan::bench(sample_count = 10, sample_size = 1)]
fn open_100k(bencher: Bencher<'_, '_>) {
    let bench = Bench::with(100_000, |_| {});
    let path = bench._dir.path().join("bench.sqlite");
    bench.store.close();
    bench.until(|event| matches!(event, Event::Closed { .. }));
    bencher.bench_local(|| {
        let (tell, events) = mpsc::channel();
        let tell = move |event| {
            let _ = tell.send(event);
        };
        let options = Options::new(Location::File(path.clone()));
        let store = Store::open(options, Box::new(tell), Box::new(|_| Err("none".into()))).unwrap();
        while !matches!(events.recv().unwrap(), Event::Opened { .. }) {}
        store
    });
}

//! Plays histories, and says what happened in them.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "a tool for whoever tests")]

use std::{
    collections::BTreeMap,
    process::ExitCode,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use simulate::{
    failure::{self, Class, Failure},
    history::History,
    world,
};

/// A history that takes longer hangs: a store waits for itself.
const HANGS: Duration = Duration::from_secs(60);

/// How many failures of one family are told.
const TOLD: u64 = 1;

struct Arguments {
    seeds: u64,
    first: u64,
    one: Option<u64>,
    whole: bool,
    threads: usize,
}

fn arguments() -> Arguments {
    let mut arguments = Arguments {
        seeds: 1000,
        first: 0,
        one: None,
        whole: false,
        threads: thread::available_parallelism().map_or(1, |n| n.get()),
    };
    let mut given = std::env::args().skip(1);
    while let Some(name) = given.next() {
        if name == "--whole" {
            arguments.whole = true;
            continue;
        }
        if name == "--operations" {
            world::trace_operations();
            continue;
        }
        let value = given.next();
        if name == "--ignore" {
            let families = value.unwrap_or_default();
            failure::ignore(families.split(',').map(str::to_owned).collect());
            continue;
        }
        let value = value.and_then(|value| value.parse::<u64>().ok());
        match (name.as_str(), value) {
            ("--seeds", Some(value)) => arguments.seeds = value,
            ("--first", Some(value)) => arguments.first = value,
            ("--seed", Some(value)) => arguments.one = Some(value),
            ("--threads", Some(value)) => arguments.threads = value as usize,
            _ => panic!(
                "simulate [--seeds N] [--first N] [--threads N] [--ignore FAMILY,…] | --seed N [--whole] [--operations]: not {name}"
            ),
        }
    }
    arguments
}

#[derive(Default)]
struct Totals {
    histories: u64,
    counts: BTreeMap<&'static str, u64>,
    failures: BTreeMap<Class, u64>,
    families: BTreeMap<&'static str, (u64, Vec<u64>)>,
}

fn main() -> ExitCode {
    // Panics are caught where they matter, and told with their history.
    std::panic::set_hook(Box::new(|_| {}));
    let arguments = arguments();
    if let Some(seed) = arguments.one {
        return show(seed, arguments.whole);
    }
    let totals = Mutex::new(Totals::default());
    let next = AtomicU64::new(arguments.first);
    let end = arguments.first + arguments.seeds;
    let playing: Vec<Mutex<Option<(u64, Instant)>>> =
        (0..arguments.threads).map(|_| Mutex::new(None)).collect();
    thread::scope(|scope| {
        for mine in &playing {
            let (next, totals) = (&next, &totals);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= end {
                        break;
                    }
                    *mine.lock().unwrap_or_else(|e| e.into_inner()) = Some((seed, Instant::now()));
                    play(seed, totals, mine);
                }
                *mine.lock().unwrap_or_else(|e| e.into_inner()) = None;
            });
        }
        scope.spawn(|| watch(&playing, &next, end));
    });
    summary(&totals.into_inner().unwrap_or_else(|e| e.into_inner()))
}

fn play(seed: u64, totals: &Mutex<Totals>, mine: &Mutex<Option<(u64, Instant)>>) {
    let notes = History::of(seed).play(false);
    let first = {
        let mut totals = totals.lock().unwrap_or_else(|e| e.into_inner());
        totals.histories += 1;
        for (what, count) in notes.counts {
            *totals.counts.entry(what).or_default() += count;
        }
        let Some(failure) = notes.failures.first() else { return };
        *totals.failures.entry(failure.class).or_default() += 1;
        let (count, seeds) = totals.families.entry(failure.what).or_default();
        *count += 1;
        if seeds.len() < 10 {
            seeds.push(seed);
        }
        (*count <= TOLD).then(|| failure.clone())
    };
    if let Some(failure) = first {
        // Shrinking takes its time.
        *mine.lock().unwrap_or_else(|e| e.into_inner()) = None;
        tell(seed, &failure);
    }
}

/// Ends the program when a history hangs: it cannot be stopped.
fn watch(playing: &[Mutex<Option<(u64, Instant)>>], next: &AtomicU64, end: u64) {
    loop {
        thread::sleep(Duration::from_millis(200));
        let mut any = false;
        for one in playing {
            let playing = *one.lock().unwrap_or_else(|e| e.into_inner());
            any |= playing.is_some();
            if let Some((seed, since)) = playing
                && since.elapsed() > HANGS
            {
                println!("seed {seed} hangs: something waits that nobody can end");
                println!("simulate: histories=0 stuck=1");
                std::process::exit(1);
            }
        }
        if !any && next.load(Relaxed) >= end {
            return;
        }
    }
}

fn tell(seed: u64, failure: &Failure) {
    let history = History::of(seed);
    let short = history.shrink(failure.what, Duration::from_secs(20));
    let notes = short.play(true);
    let mut text = format!(
        "--- seed {seed}: {:?}: {} ({} of {} steps)\n    {}\n    {:?}\n",
        failure.class,
        failure.what,
        short.len(),
        history.len(),
        failure.text,
        history.config(),
    );
    for line in notes.log {
        text += &line;
        text.push('\n');
    }
    println!("{text}");
}

/// Plays one, and prints it.
fn show(seed: u64, whole: bool) -> ExitCode {
    let history = History::of(seed);
    let notes = history.play(true);
    match notes.failures.first() {
        Some(failure) if !whole => tell(seed, failure),
        _ => {
            println!("{:?}", history.config());
            for line in &notes.log {
                println!("{line}");
            }
        }
    }
    match notes.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn summary(totals: &Totals) -> ExitCode {
    for (what, count) in &totals.counts {
        println!("{what}: {count}");
    }
    for (what, (count, seeds)) in &totals.families {
        println!("failed {count} times: {what}: seeds {seeds:?}");
    }
    let count = |what| totals.counts.get(what).copied().unwrap_or(0);
    let failed = |class| totals.failures.get(&class).copied().unwrap_or(0);
    let broken = [Class::Lost, Class::Wrong, Class::Unanswered, Class::Stuck].map(failed);
    println!(
        "simulate: histories={} steps={} kills={} promotions={} replacements={} lost={} wrong={} unanswered={} stuck={}",
        totals.histories,
        count("steps"),
        count("kills"),
        count("promotions"),
        count("replacements"),
        broken[0],
        broken[1],
        broken[2],
        broken[3],
    );
    match broken.iter().all(|count| *count == 0) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

//! The values of a file's rows: entries, bodies, changes, ages and what is in `meta`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shape_store::fuzzing::rows(bytes));

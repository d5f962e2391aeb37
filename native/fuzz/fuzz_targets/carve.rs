//! The pages of a damaged file, from which rows are carved.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| shape_store::fuzzing::carve(bytes));

//! Plays whole stores on a simulated disk, under a simulated clock, from a seed.
//!
//! A *history* has up to three *processes*, each with a store, on one *platform*: a disk, a
//! clock, and the lives of the processes. All run on one thread. SQLite reaches the disk by a
//! VFS (`vfs.rs`), the store's own code by a system (`system.rs`), and every operation of
//! either passes the platform's gate, where others may run before it goes on.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test of its own: what it does not expect is to end it"
)]

pub mod chance;
pub mod content;
pub mod disk;
pub mod locks;
pub mod names;
pub mod platform;
pub mod shared_memory;
pub mod system;
pub mod vfs;

pub mod action;
mod calls;
pub mod config;
mod events;
pub mod failure;
mod foreign;
pub mod history;
mod instance;
mod lives;
mod looks;
mod machines;
pub mod model;
mod operator;
mod perform;
mod promise;
mod reads;
mod reign;
mod settle;
pub mod world;

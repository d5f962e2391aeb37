//! The store as NIFs: terms in, a call of the core, terms out.
//!
//! A function without a schedule runs on a normal scheduler and touches memory
//! only. Those that may touch the disk are `DirtyIo`, those that walk the whole
//! index `DirtyCpu`. Nothing waits in here: what takes its time answers by a
//! message `{ref, answer}` to the caller, sent by the messenger thread.

mod admin;
mod atoms;
mod buffered;
mod changes;
mod connections;
mod events;
mod halt;
mod items;
mod listing;
mod logging;
mod lookups;
mod messenger;
mod parser;
mod resource;
mod waiting;

rustler::init!("Elixir.Electric.ShapeCache.ShapeStatus.ShapeDb.Native");

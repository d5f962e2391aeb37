//! The store as NIFs: terms in, a call of the core, terms out.
//!
//! A function without a schedule runs on a normal scheduler and touches memory
//! only. Those that may touch the disk are `DirtyIo`, those that walk the whole
//! index `DirtyCpu`. Nothing waits in here: what takes its time answers by a
//! message `{ref, answer}` to the caller.

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
mod meta;
mod parser;
mod resource;
mod stacks;
mod storable;
mod take_back;
mod terms;
mod waiting;

use rustler::{Env, Nif, Term, codegen_runtime::inventory};

/// For whoever wonders which version a file is of, and what [`load`] goes by.
#[used]
static VERSION: &str = concat!("electric_shape_db NIF ", env!("CARGO_PKG_VERSION"), " end");

/// Refuses a module of another version, or with more functions than are here. One with fewer
/// the VM refuses itself.
fn load(_env: Env<'_>, expected: Term<'_>) -> bool {
    let Ok((version, functions)) = expected.decode::<(String, usize)>() else { return false };
    // As the file has it, not as the compiler knows it.
    let here = std::hint::black_box(VERSION);
    here == format!("electric_shape_db NIF {version} end")
        && functions == inventory::iter::<Nif>().count()
}

rustler::init!("Elixir.Electric.ShapeCache.ShapeStatus.ShapeDb.Internal.Native", load = load);

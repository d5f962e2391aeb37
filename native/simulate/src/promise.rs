//! Who is to be told what, once.

use crate::world::World;

/// What somebody waits for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Awaited {
    Durable(u64),
    Room,
    Reader,
    Writer,
    /// The bodies of these shapes, by what the store was then known to have.
    Bodies(Vec<(String, Option<usize>)>),
    Promotion,
}

/// Somebody who waits.
#[derive(Debug)]
pub(crate) struct Promise {
    /// For which store.
    pub(crate) store: usize,
    /// For what.
    pub(crate) awaited: Awaited,
    /// How often it was told.
    pub(crate) told: usize,
    /// Whether it is not to be told: it was taken back, or its process died.
    pub(crate) void: bool,
}

/// Where an answer goes. A store may let it go without a word: that shows at the end.
pub(crate) struct Teller(pub(crate) usize);

impl Teller {
    /// Tells.
    pub(crate) fn tell(self, tell: impl FnOnce(&World, usize)) {
        if let Some(world) = World::current() {
            tell(&world, self.0);
        }
    }
}

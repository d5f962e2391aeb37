//! The memory of a `-shm` file: its regions, and the locks on its slots.

use std::{cell::UnsafeCell, rc::Rc};

use crate::disk::Holder;

/// The size of a region, in words.
const WORDS: usize = 4096;

/// The size of a region, in bytes: what SQLite asks for.
pub const REGION: usize = WORDS * 8;

/// A piece of memory that connections share.
pub struct Region(Box<UnsafeCell<[u64; WORDS]>>);

impl std::fmt::Debug for Region {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Region")
    }
}

impl Region {
    fn new() -> Rc<Self> {
        Rc::new(Self(Box::new(UnsafeCell::new([0; WORDS]))))
    }

    /// Where it is, as long as it lives.
    pub fn place(&self) -> *mut u8 {
        self.0.get().cast()
    }

    /// A copy of it.
    pub fn copy(&self) -> Box<[u64; WORDS]> {
        // SAFETY: SQLite changes it in calls of its own only, all on this one thread, and
        // none of them is running code of its own now.
        Box::new(unsafe { *self.0.get() })
    }

    /// Makes it what a copy was.
    pub fn restore(&self, copy: &[u64; WORDS]) {
        // SAFETY: as above.
        unsafe { *self.0.get() = *copy };
    }
}

/// Who uses it, and which slots each has.
#[derive(Debug)]
struct User {
    holder: Holder,
    shared: u32,
    alone: u32,
}

/// The memory behind a `-shm`.
#[derive(Default, Debug)]
pub struct SharedMemory {
    regions: Vec<Rc<Region>>,
    users: Vec<User>,
}

impl SharedMemory {
    /// A connection joins. Who finds nobody there begins anew, since what is in the file
    /// may be of before a crash.
    pub fn join(&mut self, holder: Holder) {
        if self.users.is_empty() {
            self.regions.clear();
        }
        self.users.push(User { holder, shared: 0, alone: 0 });
    }

    /// A connection leaves.
    pub fn leave(&mut self, holder: Holder) {
        self.users.retain(|user| user.holder != holder);
    }

    /// The same for all for whom this is true.
    pub fn drop_users(&mut self, of: impl Fn(Holder) -> bool) {
        self.users.retain(|user| !of(user.holder));
    }

    /// A region; none when it is not there and not to be made.
    pub fn region(&mut self, number: usize, make: bool) -> Option<Rc<Region>> {
        while make && self.regions.len() <= number {
            self.regions.push(Region::new());
        }
        self.regions.get(number).map(Rc::clone)
    }

    /// Takes slots; false when others are in the way.
    pub fn lock(&mut self, holder: Holder, mask: u32, alone: bool) -> bool {
        let in_the_way = |user: &User| {
            let theirs = if alone { user.alone | user.shared } else { user.alone };
            user.holder != holder && theirs & mask != 0
        };
        if self.users.iter().any(in_the_way) {
            return false;
        }
        if let Some(user) = self.users.iter_mut().find(|user| user.holder == holder) {
            *if alone { &mut user.alone } else { &mut user.shared } |= mask;
        }
        true
    }

    /// Gives slots up.
    pub fn unlock(&mut self, holder: Holder, mask: u32) {
        if let Some(user) = self.users.iter_mut().find(|user| user.holder == holder) {
            user.alone &= !mask;
            user.shared &= !mask;
        }
    }
}

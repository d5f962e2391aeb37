//! Files without regard to their names: what they hold, and who holds them.

use super::{Disk, Holder, Inode, Key};
use crate::{
    chance::Chance,
    content::{Content, Loss},
};

impl Disk {
    /// An inode.
    pub fn inode(&self, key: Key) -> &Inode {
        &self.inodes[key]
    }

    /// An inode.
    pub fn inode_mut(&mut self, key: Key) -> &mut Inode {
        &mut self.inodes[key]
    }

    /// A file without a name, held once.
    pub fn nameless(&mut self) -> Key {
        let key = self.new_inode(false);
        self.hold(key);
        key
    }

    /// Somebody more holds it open.
    pub fn hold(&mut self, key: Key) {
        self.inodes[key].holders += 1;
    }

    /// Somebody holds it open no more.
    pub fn let_go(&mut self, key: Key) {
        self.inodes[key].holders -= 1;
        self.free_if_unused(key);
    }

    /// Drops all locks of those for whom this is true, on every file.
    pub fn drop_locks(&mut self, of: impl Fn(Holder) -> bool) {
        for inode in &mut self.inodes {
            inode.locks.drop_all(&of);
            inode.memory.drop_users(&of);
        }
    }

    pub(super) fn new_inode(&mut self, folder: bool) -> Key {
        let key = self.inodes.len();
        // The lowest that is free, so that numbers come again as soon as they can.
        let mut number = 1;
        while self.numbers.contains_key(&number) {
            number += 1;
        }
        self.numbers.insert(number, key);
        self.inodes.push(Inode { number, folder, ..Inode::default() });
        key
    }

    pub(super) fn link(&mut self, path: &str, key: Key) {
        self.names.change(&[(path, Some(key))]);
        self.inodes[key].links += 1;
    }

    pub(super) fn unlink(&mut self, key: Key) {
        self.inodes[key].links -= 1;
        self.free_if_unused(key);
    }

    pub(super) fn free_if_unused(&mut self, key: Key) {
        let inode = &mut self.inodes[key];
        if inode.links == 0 && inode.holders == 0 && inode.number != 0 {
            self.used -= inode.content.bytes().len() as u64;
            self.numbers.remove(&inode.number);
            inode.number = 0;
        }
    }

    // --- content

    /// Reads from an offset, and says how much was there.
    pub fn read(&self, key: Key, offset: usize, buffer: &mut [u8]) -> usize {
        let bytes = self.inodes[key].content.bytes();
        let there = bytes.get(offset..).unwrap_or_default();
        let n = there.len().min(buffer.len());
        buffer[..n].copy_from_slice(&there[..n]);
        n
    }

    /// Writes as much as there is room for, and says how much that was.
    pub fn write(&mut self, key: Key, offset: usize, data: &[u8]) -> usize {
        let size = self.inodes[key].content.bytes().len();
        let grown = (offset + data.len()).saturating_sub(size) as u64;
        let excess = match self.capacity {
            Some(capacity) => (self.used + grown).saturating_sub(capacity).min(grown),
            None => 0,
        };
        let fits = data.len().saturating_sub(excess as usize);
        if fits > 0 {
            self.inodes[key].content.write(offset, &data[..fits]);
            self.used += self.inodes[key].content.bytes().len() as u64 - size as u64;
        }
        fits
    }

    /// Gives a file a size.
    pub fn cut(&mut self, key: Key, size: usize) {
        let content = &mut self.inodes[key].content;
        self.used = self.used - content.bytes().len() as u64 + size as u64;
        content.cut(size);
    }

    /// What a file holds survives, and the name it was made under, if it is this one.
    pub fn sync(&mut self, key: Key, path: &str) {
        self.inodes[key].content.sync();
        self.names.sync_name(path, key);
    }

    /// The bytes that all files take.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Bounds what all files may take together.
    pub fn set_capacity(&mut self, bytes: Option<u64>) {
        self.capacity = bytes;
    }

    // --- the end of everybody

    /// The power is lost. Nobody may hold a file open any more.
    pub fn lose_power(&mut self, chance: &mut Chance) {
        let loss = Loss::draw(chance);
        self.names.lose_power(loss, chance);
        for inode in &mut self.inodes {
            inode.links = 0;
        }
        let mut taken = std::mem::take(&mut self.numbers);
        taken.clear();
        self.used = 0;
        for (_, key) in self.names.all() {
            let inode = &mut self.inodes[key];
            inode.links += 1;
            if inode.links > 1 {
                continue;
            }
            inode.content.lose_power(loss, chance);
            self.used += inode.content.bytes().len() as u64;
            // One that was gone, and whose number another has by now.
            while inode.number == 0 || taken.contains_key(&inode.number) {
                inode.number += 1;
            }
            taken.insert(inode.number, key);
        }
        self.numbers = taken;
        for inode in &mut self.inodes {
            if inode.links == 0 {
                inode.number = 0;
                inode.content = Content::default();
            }
        }
    }
}

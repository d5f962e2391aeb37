//! How the words of a cell have an entry.

use crate::entry::{Brief, Digest, Entry, Handle, INLINE_HANDLE, INLINE_OIDS, Oid, Oids, Snapshot};

pub(super) const WORDS: usize = 11;
pub(super) const ROW: usize = 0;
pub(super) const META: usize = 1;
pub(super) const HANDLE: usize = 2;
pub(super) const OIDS: usize = 6;
/// Last: a look for a table takes the words before it.
const DIGEST: usize = 7;

// The meta word: hash in the low half, then one byte each; that of the snapshot has what the
// file is to have in its low half, and what is known in memory alone above.
pub(super) const SNAPSHOT_SHIFT: u32 = 32;
pub(super) const IN_MEMORY_SHIFT: u32 = 36;
pub(super) const HANDLE_LEN_SHIFT: u32 = 40;
const OID_COUNT_SHIFT: u32 = 48;
pub(super) const OVERFLOW_BIT: u64 = 1 << 55;
pub(super) const FLAGS_SHIFT: u32 = 56;

/// What a look at a cell gave: all of its entry, or a part.
pub(crate) enum Look<T> {
    Vacant,
    Inline(T),
    /// An entry whose handle or oids did not fit: the overflow map has it whole,
    /// under this row id, but for what changes.
    Overflow {
        row: u64,
        snapshot: Snapshot,
        flags: u8,
    },
}

pub(super) fn encode(entry: &Entry) -> [u64; WORDS] {
    let mut words = [0u64; WORDS];
    let mut meta = u64::from(entry.hash)
        | (entry.snapshot as u64) << SNAPSHOT_SHIFT
        | u64::from(entry.flags) << FLAGS_SHIFT;
    let [row, meta_word, rest @ ..] = &mut words;
    *row = entry.row;
    let (handle, rest) = rest.split_at_mut(OIDS - HANDLE);
    let (oids, digest) = rest.split_at_mut(DIGEST - OIDS);
    pack_bytes(&entry.digest.0, digest);
    if entry.fits_inline() {
        meta |= (entry.handle.len() as u64) << HANDLE_LEN_SHIFT;
        meta |= (entry.oids.len() as u64) << OID_COUNT_SHIFT;
        pack_bytes(&entry.handle, handle);
        for (shift, oid) in [0, 32].into_iter().zip(&entry.oids) {
            for word in oids.iter_mut() {
                *word |= u64::from(*oid) << shift;
            }
        }
    } else {
        meta |= OVERFLOW_BIT;
    }
    *meta_word = meta;
    words
}

pub(super) fn decode(words: [u64; WORDS]) -> Look<Entry> {
    let [row, meta, h0, h1, h2, h3, oids, d0, d1, d2, d3] = words;
    look(row, meta, || Entry {
        row,
        handle: unpack_handle(meta, [h0, h1, h2, h3]),
        digest: Digest(unpack_bytes([d0, d1, d2, d3])),
        hash: meta as u32,
        snapshot: snapshot(meta),
        flags: flags(meta),
        oids: unpack_oids(meta, oids),
    })
}

pub(super) fn decode_for(oid: Oid, words: [u64; DIGEST]) -> Look<Handle> {
    let [row, meta, h0, h1, h2, h3, oids] = words;
    if meta & OVERFLOW_BIT == 0 && !unpack_oids(meta, oids).contains(&oid) {
        return Look::Vacant;
    }
    look(row, meta, || unpack_handle(meta, [h0, h1, h2, h3]))
}

pub(super) fn decode_placed(words: [u64; DIGEST]) -> Look<(Handle, Oid)> {
    let [row, meta, h0, h1, h2, h3, oids] = words;
    let table = unpack_oids(meta, oids).first().copied().unwrap_or_default();
    look(row, meta, || (unpack_handle(meta, [h0, h1, h2, h3]), table))
}

pub(super) fn look<T>(row: u64, meta: u64, inline: impl FnOnce() -> T) -> Look<T> {
    if row == 0 {
        Look::Vacant
    } else if meta & OVERFLOW_BIT != 0 {
        Look::Overflow { row, snapshot: snapshot(meta), flags: flags(meta) }
    } else {
        Look::Inline(inline())
    }
}

pub(super) fn brief(meta: u64) -> Brief {
    Brief { hash: meta as u32, snapshot: snapshot(meta) }
}

pub(super) fn snapshot(meta: u64) -> Snapshot {
    part(meta, SNAPSHOT_SHIFT).max(part(meta, IN_MEMORY_SHIFT))
}

pub(super) fn part(meta: u64, shift: u32) -> Snapshot {
    Snapshot::from_number(meta >> shift & 0xf)
}

pub(super) fn flags(meta: u64) -> u8 {
    (meta >> FLAGS_SHIFT) as u8
}

fn unpack_handle(meta: u64, words: [u64; OIDS - HANDLE]) -> Handle {
    let len = (meta >> HANDLE_LEN_SHIFT & 0xff) as usize;
    Handle::from_buf_and_len(unpack_bytes(words), len.min(INLINE_HANDLE))
}

fn unpack_oids(meta: u64, word: u64) -> Oids {
    let count = (meta >> OID_COUNT_SHIFT & 0x7f) as usize;
    Oids::from_buf_and_len([word as u32, (word >> 32) as u32], count.min(INLINE_OIDS))
}

pub(super) fn pack_bytes(bytes: &[u8], words: &mut [u64]) {
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut padded = [0u8; 8];
        for (to, from) in padded.iter_mut().zip(chunk) {
            *to = *from;
        }
        *word = u64::from_le_bytes(padded);
    }
}

fn unpack_bytes(words: [u64; 4]) -> [u8; 32] {
    bytemuck::cast(words.map(u64::to_le))
}

/// The words of a handle as numbers in the order of handles: they have the bytes in the other
/// order.
pub(super) fn in_order(word: u64) -> u64 {
    word.swap_bytes()
}

const _: () = assert!(INLINE_HANDLE == 32 && INLINE_OIDS == 2);

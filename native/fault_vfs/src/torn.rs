//! What a power loss may leave of a file's unsynced changes.

use crate::log::Change;
use std::{collections::BTreeMap, ops::Range};

/// The unit a disk writes whole.
const SECTOR: usize = 512;

/// Small, seeded and the same everywhere (splitmix64), so that a seed in a failure's message is
/// enough to see it again.
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// How the losses of one file hang together.
enum Style {
    /// The first so many changes survive, as if the disk kept their order.
    Ordered,
    /// Each write survives whole or not at all, whatever became of earlier ones.
    Reordered,
    /// Each sector for itself.
    Torn,
}

/// The content of a file of which `durable` is safe and `pending` is not.
///
/// The cache above a disk holds one state of each sector, the latest, and writes it out when it
/// likes. So each sector ends as some prefix of the changes to it left it, and so does the size;
/// a truncate is a barrier, since what it cut off never comes back once the size is on disk.
pub(crate) fn torn(durable: &[u8], pending: &[&Change], chance: &mut Chance) -> Vec<u8> {
    let style = match chance.below(3) {
        0 => Style::Ordered,
        1 => Style::Reordered,
        _ => Style::Torn,
    };
    let sized = chance.below(pending.len() + 1);
    let survives: Vec<bool> = pending.iter().map(|_| chance.below(2) == 0).collect();
    let barriers = barriers(pending, sized);

    let mut size = durable.len();
    let mut longest = size;
    let mut final_size = size;
    for (i, change) in pending.iter().enumerate() {
        size = change.size_after(size);
        longest = longest.max(size);
        if i + 1 == sized {
            final_size = size;
        }
    }

    let mut touched: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (i, change) in pending.iter().enumerate() {
        for sector in sectors(change, longest) {
            touched.entry(sector).or_default().push(i);
        }
    }
    // For each sector, how many of all changes have reached it.
    let mut reached: BTreeMap<usize, usize> = BTreeMap::new();
    for (sector, changes) in &touched {
        let prefix = match style {
            Style::Ordered => sized,
            Style::Reordered => {
                let last = changes.iter().rev().find(|&&i| survives.get(i) == Some(&true));
                last.map_or(0, |i| i + 1)
            }
            Style::Torn => match chance.below(changes.len() + 1) {
                0 => 0,
                n => changes.get(n - 1).map_or(0, |i| i + 1),
            },
        };
        reached.insert(*sector, prefix.clamp(barriers.start, barriers.end));
    }

    let mut content = durable.to_vec();
    content.resize(longest, 0);
    for (i, change) in pending.iter().enumerate() {
        for sector in sectors(change, longest) {
            if reached.get(&sector).is_some_and(|&reached| i < reached) {
                apply_to_sector(&mut content, change, sector);
            }
        }
    }
    content.truncate(final_size);
    content
}

/// The changes between the truncates around the one that set the size.
fn barriers(pending: &[&Change], sized: usize) -> Range<usize> {
    let cuts = |change: &&Change| matches!(change, Change::Truncate { .. });
    let (before, after) = pending.split_at(sized);
    let start = before.iter().rposition(cuts).map_or(0, |i| i + 1);
    let end = after.iter().position(cuts).map_or(pending.len(), |i| sized + i);
    start..end
}

fn sectors(change: &Change, longest: usize) -> Range<usize> {
    let bytes = bytes(change, longest);
    bytes.start / SECTOR..bytes.end.div_ceil(SECTOR)
}

/// The bytes a change sets; a truncate clears all from its size on.
fn bytes(change: &Change, longest: usize) -> Range<usize> {
    match change {
        Change::Write { offset, data } => *offset as usize..*offset as usize + data.len(),
        Change::Truncate { size } => (*size as usize).min(longest)..longest,
    }
}

fn apply_to_sector(content: &mut [u8], change: &Change, sector: usize) {
    let all = bytes(change, content.len());
    let from = all.start.max(sector * SECTOR);
    let to = all.end.min((sector + 1) * SECTOR);
    let Some(place) = content.get_mut(from..to) else { return };
    match change {
        Change::Write { data, .. } => {
            if let Some(data) = data.get(from - all.start..to - all.start) {
                place.copy_from_slice(data);
            }
        }
        Change::Truncate { .. } => place.fill(0),
    }
}

//! What a file holds: now, and after a loss of power.

use crate::chance::Chance;

/// The unit that a disk writes whole.
const SECTOR: usize = 512;

/// A change of a file that was not synced.
#[derive(Clone, Debug)]
enum Change {
    Write { offset: usize, data: Box<[u8]> },
    Cut { size: usize },
}

/// How the losses of one disk hang together at a loss of power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// All that was not synced.
    All,
    /// Nothing.
    Nothing,
    /// The last so many changes of a file.
    Last,
    /// Any changes, each whole.
    Some,
    /// Any sectors.
    Sectors,
}

impl Loss {
    /// One of them.
    pub fn draw(chance: &mut Chance) -> Self {
        chance.pick(&[Self::All, Self::Nothing, Self::Last, Self::Some, Self::Sectors])
    }
}

/// The bytes of a file, live and durable.
#[derive(Clone, Default, Debug)]
pub struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// From `durable` to `live`, in order.
    pending: Vec<Change>,
}

impl Content {
    /// The bytes that everybody sees.
    pub fn bytes(&self) -> &[u8] {
        &self.live
    }

    /// Puts bytes at an offset.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[offset..end].copy_from_slice(data);
        self.pending.push(Change::Write { offset, data: data.into() });
    }

    /// Gives it a size.
    pub fn cut(&mut self, size: usize) {
        if size != self.live.len() {
            self.live.resize(size, 0);
            self.pending.push(Change::Cut { size });
        }
    }

    /// Turns a byte over on the medium itself.
    pub fn flip(&mut self, at: usize, mask: u8) {
        for bytes in [&mut self.live, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= mask;
            }
        }
        for change in &mut self.pending {
            if let Change::Write { offset, data } = change
                && let Some(byte) = at.checked_sub(*offset).and_then(|at| data.get_mut(at))
            {
                *byte ^= mask;
            }
        }
    }

    /// What happened so far survives.
    pub fn sync(&mut self) {
        // Cheaper than the changes when they are more than the whole.
        let bytes: usize = self.pending.iter().map(Change::len).sum();
        if bytes > self.live.len() {
            self.durable.clone_from(&self.live);
            self.pending.clear();
        }
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Whether all of it survives.
    pub fn is_synced(&self) -> bool {
        self.pending.is_empty()
    }

    /// The power is lost: what is left is both live and durable.
    pub fn lose_power(&mut self, loss: Loss, chance: &mut Chance) {
        match loss {
            Loss::All => self.live.clone_from(&self.durable),
            Loss::Nothing => {}
            _ => self.live = self.torn(loss, chance),
        }
        self.durable.clone_from(&self.live);
        self.pending.clear();
    }

    /// The cache above a disk holds one state of each sector, the latest, and writes it
    /// out when it likes. So each sector ends as some prefix of the changes to it left it,
    /// and so does the size; a cut is a barrier, since what it cut off never comes back
    /// once the size is on the disk.
    fn torn(&self, loss: Loss, chance: &mut Chance) -> Vec<u8> {
        let changes = &self.pending;
        let sized = chance.below(changes.len() + 1);
        let is_cut = |change: &Change| matches!(change, Change::Cut { .. });
        let first = changes[..sized].iter().rposition(is_cut).map_or(0, |i| i + 1);
        let last = changes[sized..].iter().position(is_cut).map_or(changes.len(), |i| sized + i);

        let mut size = self.durable.len();
        let (mut longest, mut final_size) = (size, size);
        for (i, change) in changes.iter().enumerate() {
            size = change.size_after(size);
            longest = longest.max(size);
            if i + 1 == sized {
                final_size = size;
            }
        }
        // For each sector, how many of all changes have reached it.
        let mut reached = vec![0; longest.div_ceil(SECTOR)];
        let mut touched = vec![0; reached.len()];
        for (i, change) in changes.iter().enumerate() {
            let survives = chance.one_in(2);
            for sector in change.sectors(longest) {
                touched[sector] += 1;
                let reaches = match loss {
                    Loss::Last => i < sized,
                    Loss::Some => survives,
                    // Each prefix as likely as any other.
                    _ => chance.below(touched[sector] + 1) == 0,
                };
                if reaches {
                    reached[sector] = i + 1;
                }
            }
        }
        let mut content = self.durable.clone();
        content.resize(longest, 0);
        for (i, change) in changes.iter().enumerate() {
            for sector in change.sectors(longest) {
                if i < reached[sector].clamp(first, last) {
                    change.apply_to(&mut content, sector * SECTOR, (sector + 1) * SECTOR);
                }
            }
        }
        content.truncate(final_size);
        content
    }
}

impl From<Vec<u8>> for Content {
    /// A file that is there, durably.
    fn from(bytes: Vec<u8>) -> Self {
        Self { durable: bytes.clone(), live: bytes, pending: Vec::new() }
    }
}

impl Change {
    fn len(&self) -> usize {
        match self {
            Self::Write { data, .. } => data.len(),
            Self::Cut { .. } => 0,
        }
    }

    fn apply(&self, content: &mut Vec<u8>) {
        content.resize(self.size_after(content.len()), 0);
        if let Self::Write { offset, data } = self {
            content[*offset..*offset + data.len()].copy_from_slice(data);
        }
    }

    fn size_after(&self, before: usize) -> usize {
        match self {
            Self::Write { offset, data } => before.max(offset + data.len()),
            Self::Cut { size } => *size,
        }
    }

    /// The bytes it sets; a cut clears all from its size on.
    fn range(&self, longest: usize) -> std::ops::Range<usize> {
        match self {
            Self::Write { offset, data } => *offset..offset + data.len(),
            Self::Cut { size } => (*size).min(longest)..longest,
        }
    }

    fn sectors(&self, longest: usize) -> std::ops::Range<usize> {
        let range = self.range(longest);
        range.start / SECTOR..range.end.div_ceil(SECTOR)
    }

    fn apply_to(&self, content: &mut [u8], from: usize, to: usize) {
        let all = self.range(content.len());
        let (from, to) = (all.start.max(from), all.end.min(to));
        if from >= to {
            return;
        }
        match self {
            Self::Write { data, .. } => {
                content[from..to].copy_from_slice(&data[from - all.start..to - all.start]);
            }
            Self::Cut { .. } => content[from..to].fill(0),
        }
    }
}

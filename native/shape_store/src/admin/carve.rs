//! Rows that no tree leads to any more: from the leaves themselves.
//!
//! When an inner page of a tree is damaged, SQLite reaches none of the leaves below it, which
//! are as they were. They are recognised page by page
//! (<https://sqlite.org/fileformat2.html#b_tree_pages>), and what they say is believed only
//! with a body whose checksum it has. Pages that the file lists as free are passed over: what
//! is in them was removed. When the first page was damaged too, that list is gone with it,
//! and what was removed may come back.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    os::unix::fs::FileExt as _,
    path::Path,
};

mod record;

use self::record::{body, narrow, number2, number4, varint};
use super::row::{Condition, Row};
use crate::{cache::body::checksum, file::schema};

const PAGE: usize = schema::PAGE_SIZE as usize;
const LEAF: u8 = 0x0d;
const HEADER: usize = 100;

/// More is no body of ours: SQLite's own bound.
const LARGEST: usize = 1_000_000_000;

pub(super) struct Carving {
    file: File,
    pages: u32,
    free: HashSet<u32>,
    next: u32,
    /// Rows that lack a body.
    wanted: HashMap<i64, Row>,
}

impl Carving {
    /// Looks for rows with ids in these ranges, which are in order, and for the bodies of
    /// these rows.
    pub(super) fn begin(
        path: &Path,
        ranges: &[(i64, i64)],
        unread: Vec<Row>,
    ) -> std::io::Result<Self> {
        let file = File::open(path)?;
        let pages = u32::try_from(file.metadata()?.len() / PAGE as u64).unwrap_or(u32::MAX);
        let wanted = unread.into_iter().map(|row| (row.id, row)).collect();
        let mut carving = Self { file, pages, free: HashSet::new(), next: 1, wanted };
        carving.free = carving.free_pages();
        for number in 1..=pages {
            carving.cells(number, |carving, id, payload| {
                let lost = covers(ranges, id);
                if let Some(row) = lost.then(|| narrow(id, &payload)).flatten() {
                    carving.wanted.entry(id).or_insert(row);
                }
            });
        }
        Ok(carving)
    }

    /// The next rows that are whole, from at least one more page; none when that was all.
    pub(super) fn next(&mut self, limit: usize) -> Vec<Row> {
        let mut found = Vec::new();
        while found.len() < limit && self.next <= self.pages && !self.wanted.is_empty() {
            let number = self.next;
            self.next += 1;
            self.cells(number, |carving, id, payload| {
                let Some(row) = carving.wanted.get(&id) else { return };
                let Some((stored, body)) = body(&payload) else { return };
                let sound = row.entry(id).is_some_and(|entry| checksum(&entry, body) == stored);
                if sound && let Some(row) = carving.wanted.remove(&id) {
                    found.push(Row { body: body.to_vec(), condition: Condition::Sound, ..row });
                }
            });
        }
        found
    }

    /// Those whose bodies are nowhere.
    pub(super) fn rest(self) -> Vec<Row> {
        self.wanted.into_values().collect()
    }

    fn page(&self, number: u32) -> Option<Vec<u8>> {
        if number == 0 || number > self.pages {
            return None;
        }
        let mut page = vec![0; PAGE];
        let at = u64::from(number - 1) * PAGE as u64;
        self.file.read_exact_at(&mut page, at).ok()?;
        Some(page)
    }

    /// The pages that the file has no use for, as far as its list of them can be read.
    fn free_pages(&self) -> HashSet<u32> {
        let mut free = HashSet::new();
        let mut trunk = self.page(1).and_then(|page| number4(&page, 32)).unwrap_or(0);
        while let Some(page) = self.page(trunk).filter(|_| free.insert(trunk)) {
            let leaves = number4(&page, 4).unwrap_or(0) as usize;
            let numbers = (0..leaves.min(PAGE / 4 - 2)).filter_map(|n| number4(&page, 8 + 4 * n));
            free.extend(numbers.filter(|number| (1..=self.pages).contains(number)));
            trunk = number4(&page, 0).unwrap_or(0);
        }
        free
    }

    /// Each cell of a page, if it is a leaf of a table: its row id and record.
    fn cells(&mut self, number: u32, mut each: impl FnMut(&mut Self, i64, Vec<u8>)) {
        let Some(page) = self.page(number).filter(|_| !self.free.contains(&number)) else {
            return;
        };
        let start = if number == 1 { HEADER } else { 0 };
        if page.get(start) != Some(&LEAF) {
            return;
        }
        let count = number2(&page, start + 3).unwrap_or(0);
        for cell in 0..usize::from(count) {
            let at = number2(&page, start + 8 + 2 * cell).map(usize::from);
            if let Some((id, payload)) = at.and_then(|at| self.cell(&page, at)) {
                each(self, id, payload);
            }
        }
    }

    fn cell(&self, page: &[u8], at: usize) -> Option<(i64, Vec<u8>)> {
        let mut bytes = page.get(at..)?;
        let len = usize::try_from(varint(&mut bytes)?).ok().filter(|len| *len <= LARGEST)?;
        let id = varint(&mut bytes)? as i64;
        // How much of it is in the leaf: https://sqlite.org/fileformat2.html#cell_payload
        let (most, least) = (PAGE - 35, (PAGE - 12) * 32 / 255 - 23);
        if len <= most {
            return Some((id, bytes.get(..len)?.to_vec()));
        }
        let some = least + (len - least) % (PAGE - 4);
        let local = if some <= most { some } else { least };
        let mut payload = bytes.get(..local)?.to_vec();
        let mut next = number4(bytes, local)?;
        while payload.len() < len {
            let page = self.page(next)?;
            next = number4(&page, 0)?;
            let more = (len - payload.len()).min(PAGE - 4);
            payload.extend_from_slice(page.get(4..4 + more)?);
        }
        Some((id, payload))
    }
}

/// Whether an id is in one of the ranges, which are in order.
pub(super) fn covers(ranges: &[(i64, i64)], id: i64) -> bool {
    let after = ranges.partition_point(|(from, _)| *from <= id);
    let range = after.checked_sub(1).and_then(|at| ranges.get(at));
    range.is_some_and(|(_, to)| id <= *to)
}

/// Carves a file with these bytes in some of its pages: each run is a page, a place in it, a
/// length, and so many bytes.
#[cfg(fuzzing)]
pub fn carve_pages(runs: &[u8]) {
    use std::io::Write as _;

    const PAGES: usize = 6;
    let mut pages = vec![0; PAGES * PAGE];
    let mut rest = runs;
    while let Some(([page, high, low, len], after)) = rest.split_first_chunk() {
        let place = usize::from(u16::from_be_bytes([*high, *low])) % PAGE;
        let (run, after) = after.split_at(after.len().min(usize::from(*len)));
        let there = pages.iter_mut().skip(usize::from(*page) % PAGES * PAGE + place);
        there.zip(run).for_each(|(there, byte)| *there = *byte);
        rest = after;
    }
    let Ok(mut file) = tempfile::NamedTempFile::new_in("/dev/shm") else { return };
    let Ok(()) = file.write_all(&pages) else { return };
    let Ok(mut carving) = Carving::begin(file.path(), &[(i64::MIN, i64::MAX)], Vec::new()) else {
        return;
    };
    let mut count = 0;
    loop {
        let found = carving.next(16);
        if found.is_empty() && carving.next > carving.pages {
            break;
        }
        for row in found {
            count += 1;
            assert!(row.entry(row.id).is_some_and(|entry| !entry.handle.is_empty()), "{row:?}");
        }
        if carving.wanted.is_empty() {
            break;
        }
    }
    assert!(count <= PAGES * PAGE);
    drop(carving.rest());
}

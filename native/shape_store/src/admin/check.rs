//! Whether a file is what was written: SQLite's whole check, and what only we know of.

use std::{collections::HashSet, path::Path};

use rusqlite::Connection;

use super::{Access, AdminError, Condition, Progress, Row, rows::Rows, source::Source};
use crate::{error_text::worded, system::System};

/// How many examples of a problem are named.
const EXAMPLES: usize = 10;

/// How many rows are read at a time.
const PIECE: usize = 512;

/// A kind of problem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// A word for it.
    pub kind: &'static str,
    /// How often it is there.
    pub count: u64,
    /// Where, some of them: handles, as far as there is one.
    pub examples: Vec<Vec<u8>>,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Checked {
    /// The schema of the file.
    pub version: i64,
    /// Shapes that were read.
    pub shapes: u64,
    /// What SQLite's `integrity_check` says, if not `ok`.
    pub sqlite: Vec<String>,
    /// What else is wrong.
    pub problems: Vec<Problem>,
}

impl Checked {
    /// Whether nothing is wrong.
    pub fn is_sound(&self) -> bool {
        self.sqlite.is_empty() && self.problems.is_empty()
    }

    fn note(&mut self, kind: &'static str, count: u64, example: Option<&[u8]>) {
        if count == 0 {
            return;
        }
        let there = self.problems.iter().position(|problem| problem.kind == kind);
        let at = there.unwrap_or_else(|| {
            self.problems.push(Problem { kind, count: 0, examples: Vec::new() });
            self.problems.len() - 1
        });
        if let Some(problem) = self.problems.get_mut(at) {
            problem.count += count;
            let example = example.filter(|_| problem.examples.len() < EXAMPLES);
            problem.examples.extend(example.map(<[u8]>::to_vec));
        }
    }
}

/// Checks a file, in one moment of it. Whether bodies are shapes is for the host to say.
pub fn check(
    system: &dyn System,
    path: &Path,
    access: Access,
    progress: Progress<'_>,
) -> Result<Checked, AdminError> {
    let source = Source::open(system, path, access)?;
    let conn = &*source.conn.unchecked_transaction().map_err(source.failed())?;
    let mut checked = Checked { version: source.version, ..Checked::default() };
    checked.sqlite = integrity(conn).unwrap_or_else(|error| vec![worded(&error).to_string()]);
    let total = count(conn, "SELECT count(*) FROM shapes NOT INDEXED").unwrap_or(0);
    let (mut handles, mut digests) = (HashSet::new(), HashSet::new());
    let mut rows = Rows::of(&source);
    loop {
        let piece = rows.next(conn, PIECE).map_err(source.failed())?;
        if piece.is_empty() && rows.is_done() {
            break;
        }
        for row in piece {
            look_at(&row, &mut checked);
            if !handles.insert(row.handle.clone()) {
                checked.note("handle twice", 1, Some(&row.handle));
            }
            if !digests.insert(row.digest.clone()) {
                checked.note("shape twice", 1, Some(&row.handle));
            }
            checked.shapes += 1;
        }
        progress(checked.shapes, total.max(checked.shapes));
    }
    checked.note("rows that cannot be read", rows.unreadable_ids, None);
    match source.is_old() {
        true => between_old(conn, &mut checked),
        false => between_new(conn, &mut checked),
    }
    Ok(checked)
}

fn integrity(conn: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut statement = conn.prepare("PRAGMA main.integrity_check(100)")?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let lines: Vec<_> = lines.collect::<rusqlite::Result<_>>()?;
    Ok(if lines == ["ok"] { Vec::new() } else { lines })
}

fn look_at(row: &Row, checked: &mut Checked) {
    let kind = match row.condition {
        Condition::Sound | Condition::Unverified => match row.entry(row.id) {
            Some(_) => None,
            None => Some("row out of bounds"),
        },
        Condition::Damaged => Some("not what was written"),
        Condition::Bodiless => Some("no definition"),
        Condition::Unreadable => Some("definition that cannot be read"),
    };
    if let Some(kind) = kind {
        checked.note(kind, 1, Some(&row.handle));
    }
    if !row.oids.is_sorted_by(|a, b| a < b) {
        checked.note("tables not in order", 1, Some(&row.handle));
    }
}

/// What ties the tables of schema 5 together.
fn between_new(conn: &Connection, checked: &mut Checked) {
    let orphans = "SELECT count(*) FROM bodies WHERE id NOT IN (SELECT id FROM shapes)";
    let counted = [
        ("definition without a row", orphans),
        (
            "row id that may be given again",
            "SELECT count(*) FROM shapes WHERE id >= \
          (SELECT next_row FROM changes ORDER BY batch DESC LIMIT 1)",
        ),
        ("no label", "SELECT count(*) <> 3 FROM meta WHERE key IN ('identity', 'epoch', 'clean')"),
    ];
    tally(conn, checked, &counted);
}

/// What ties those of schema 4 together.
fn between_old(conn: &Connection, checked: &mut Checked) {
    let counted = [
        (
            "relation without a shape",
            "SELECT count(*) FROM relations WHERE handle NOT IN (SELECT handle FROM shapes)",
        ),
        (
            "shape without a relation",
            "SELECT count(*) FROM shapes WHERE handle NOT IN (SELECT handle FROM relations)",
        ),
        (
            "count that is not the number of shapes",
            "SELECT coalesce((SELECT count FROM shape_count WHERE id = 1), -1) \
             <> (SELECT count(*) FROM shapes)",
        ),
    ];
    tally(conn, checked, &counted);
}

fn tally(conn: &Connection, checked: &mut Checked, counted: &[(&'static str, &str)]) {
    for (kind, sql) in counted {
        match count(conn, sql) {
            Ok(found) => checked.note(kind, found, None),
            Err(error) => {
                checked.note(
                    "could not be looked for",
                    1,
                    Some(format!("{kind}: {error}").as_bytes()),
                );
            }
        }
    }
}

fn count(conn: &Connection, sql: &str) -> rusqlite::Result<u64> {
    conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

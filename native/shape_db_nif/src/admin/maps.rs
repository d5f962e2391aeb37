//! What an operator's work gave, as maps.

use rustler::{Atom, Env, NifMap, Term};
use shape_store::admin::{
    Checked, Condition, Copied, Label, Problem, Restored, Row, Salvaged, Summary,
};

use crate::{atoms, resource::binary};

#[derive(NifMap)]
pub(super) struct LabelMap<'a> {
    stack: String,
    epoch: i64,
    batch: i64,
    next_row: i64,
    clean: bool,
    identity: Term<'a>,
}

#[derive(NifMap)]
pub(super) struct SummaryMap<'a> {
    version: i64,
    label: Option<LabelMap<'a>>,
    shapes: u64,
    started: u64,
    complete: u64,
    relations: u64,
    tables: Vec<(u32, u64)>,
    body_bytes: u64,
    largest_body: u64,
    page_size: u64,
    pages: u64,
    free_pages: u64,
}

fn label(env: Env<'_>, label: Label) -> LabelMap<'_> {
    let Label { stack, epoch, batch, next_row, clean, identity } = label;
    LabelMap { stack, epoch, batch, next_row, clean, identity: binary(env, &identity) }
}

pub(super) fn summed_up(env: Env<'_>, done: Summary) -> SummaryMap<'_> {
    SummaryMap {
        version: done.version,
        label: done.label.map(|said| label(env, said)),
        shapes: done.shapes,
        started: done.started,
        complete: done.complete,
        relations: done.relations,
        tables: done.tables,
        body_bytes: done.body_bytes,
        largest_body: done.largest_body,
        page_size: done.page_size,
        pages: done.pages,
        free_pages: done.free_pages,
    }
}

#[derive(NifMap)]
pub(super) struct RowMap<'a> {
    id: i64,
    handle: Term<'a>,
    digest: Term<'a>,
    hash: i64,
    snapshot: i64,
    oids: Vec<u32>,
    body: Term<'a>,
    condition: Atom,
}

pub(super) fn row<'a>(env: Env<'a>, row: &Row) -> RowMap<'a> {
    RowMap {
        id: row.id,
        handle: binary(env, &row.handle),
        digest: binary(env, &row.digest),
        hash: row.hash,
        snapshot: row.snapshot,
        oids: row.oids.clone(),
        body: binary(env, &row.body),
        condition: match row.condition {
            Condition::Sound => atoms::sound(),
            Condition::Unverified => atoms::unverified(),
            Condition::Damaged => atoms::damaged(),
            Condition::Bodiless => atoms::bodiless(),
            Condition::Unreadable => atoms::unreadable(),
        },
    }
}

#[derive(NifMap)]
pub(super) struct CheckedMap<'a> {
    version: i64,
    shapes: u64,
    sqlite: Vec<String>,
    /// `{kind, count, examples}`
    problems: Vec<(String, u64, Vec<Term<'a>>)>,
}

pub(super) fn checked(env: Env<'_>, done: Checked) -> CheckedMap<'_> {
    let problem = |problem: Problem| {
        let examples = problem.examples.iter().map(|example| binary(env, example)).collect();
        (problem.kind.to_owned(), problem.count, examples)
    };
    CheckedMap {
        version: done.version,
        shapes: done.shapes,
        sqlite: done.sqlite,
        problems: done.problems.into_iter().map(problem).collect(),
    }
}

#[derive(NifMap)]
pub(super) struct CopiedMap<'a> {
    version: i64,
    shapes: u64,
    bytes: u64,
    kept: Option<Term<'a>>,
}

pub(super) fn copied<'a>(done: Copied) -> CopiedMap<'a> {
    CopiedMap { version: done.version, shapes: done.shapes, bytes: done.bytes, kept: None }
}

pub(super) fn restored(env: Env<'_>, done: Restored) -> CopiedMap<'_> {
    let kept = done.kept.map(|kept| binary(env, kept.as_os_str().as_encoded_bytes()));
    CopiedMap { kept, ..copied(done.copied) }
}

#[derive(NifMap)]
pub(super) struct SalvagedMap<'a> {
    shapes: u64,
    damaged: u64,
    unreadable: u64,
    bodiless: u64,
    left_out: u64,
    repeated: u64,
    unreadable_ids: u64,
    kept: Option<Term<'a>>,
}

pub(super) fn salvaged(env: Env<'_>, done: Salvaged) -> SalvagedMap<'_> {
    SalvagedMap {
        shapes: done.shapes,
        damaged: done.damaged,
        unreadable: done.unreadable,
        bodiless: done.bodiless,
        left_out: done.left_out,
        repeated: done.repeated,
        unreadable_ids: done.unreadable_ids,
        kept: done.kept.map(|kept| binary(env, kept.as_os_str().as_encoded_bytes())),
    }
}

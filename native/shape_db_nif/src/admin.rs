//! What an operator does with files: `{:ok, result} | {:error, {what, text}}`. What takes long
//! tells a process how far it is, by `{:shape_db_progress, done, total}`.

mod maps;

use std::collections::HashSet;

use parking_lot::Mutex;
use rustler::{
    Atom, Binary, Encoder, Env, Error, LocalPid, NifResult, Resource, ResourceArc, Term,
};
use shape_store::{
    Digest, Native, System as _,
    admin::{self, Access, AdminError, Reader},
};

use self::maps::{checked, copied, restored, row, salvaged, summed_up};
use crate::{
    atoms,
    items::Items,
    messenger,
    resource::{StoreArg, path},
};

/// An open file. Nobody else gets it meanwhile, if that was asked for.
struct ReaderResource(Mutex<Option<Reader>>);

#[rustler::resource_impl]
impl Resource for ReaderResource {}

impl Drop for ReaderResource {
    fn drop(&mut self) {
        // This may be a scheduler, and to close a file touches the disk.
        if let Some(reader) = self.0.get_mut().take() {
            Native.background(Box::new(move || drop(reader)));
        }
    }
}

fn answer<'a>(env: Env<'a>, result: Result<impl Encoder, AdminError>) -> NifResult<Term<'a>> {
    Ok(match result {
        Ok(result) => (atoms::ok(), result).encode(env),
        Err(error) => {
            let what = Atom::from_str(env, error.name())?;
            (atoms::error(), (what, error.to_string())).encode(env)
        }
    })
}

fn access(live: bool) -> Access {
    if live { Access::Live } else { Access::Alone }
}

fn teller(to: Option<LocalPid>) -> impl FnMut(u64, u64) {
    move |done, total| {
        if let Some(pid) = to {
            messenger::send(pid, move |env| (atoms::shape_db_progress(), done, total).encode(env));
        }
    }
}

/// What does not succeed at present: `nil | {since_ms, failures, reason}`.
#[rustler::nif]
fn trouble<'a>(env: Env<'a>, store: StoreArg<'_>) -> Term<'a> {
    match store.store.trouble() {
        None => atoms::nil().encode(env),
        Some(there) => (there.since_ms, there.failures, there.reason).encode(env),
    }
}

/// Who has a file: `{:ok, nil | text}`.
#[rustler::nif(schedule = "DirtyIo")]
fn admin_holder<'a>(env: Env<'a>, file: Binary<'_>) -> NifResult<Term<'a>> {
    answer(env, admin::holder(&Native, &path(&file)))
}

/// The room on a disk: `{:ok, {total, available}}`.
#[rustler::nif(schedule = "DirtyIo")]
fn admin_room<'a>(env: Env<'a>, place: Binary<'_>) -> NifResult<Term<'a>> {
    answer(env, admin::room(&path(&place)).map(|room| (room.total, room.available)))
}

/// Opens a file to be read; with `damaged` also one whose first page is.
#[rustler::nif(schedule = "DirtyIo")]
fn admin_open<'a>(
    env: Env<'a>,
    file: Binary<'_>,
    live: bool,
    damaged: bool,
) -> NifResult<Term<'a>> {
    let opened = match damaged {
        true => Reader::open_damaged(&Native, &path(&file)),
        false => Reader::open(&Native, &path(&file), access(live)),
    };
    answer(env, opened.map(|reader| ResourceArc::new(ReaderResource(Mutex::new(Some(reader))))))
}

#[rustler::nif(schedule = "DirtyIo")]
fn admin_close(reader: ResourceArc<ReaderResource>) -> Atom {
    let reader = reader.0.lock().take();
    drop(reader);
    atoms::ok()
}

/// The numbers of an open file.
#[rustler::nif(schedule = "DirtyIo")]
fn admin_summary<'a>(env: Env<'a>, reader: ResourceArc<ReaderResource>) -> NifResult<Term<'a>> {
    let Some(summary) = reader.0.lock().as_ref().map(Reader::summary) else {
        return Ok(atoms::closed().encode(env));
    };
    answer(env, summary.map(|done| summed_up(env, done)))
}

/// The next rows of an open file, none after the last; and at how many ids nothing could be
/// read so far: `{:ok, {rows, unreadable_ids}}`.
#[rustler::nif(schedule = "DirtyIo")]
fn admin_rows<'a>(
    env: Env<'a>,
    reader: ResourceArc<ReaderResource>,
    limit: u16,
) -> NifResult<Term<'a>> {
    let mut reader = reader.0.lock();
    let Some(reader) = reader.as_mut() else { return Ok(atoms::closed().encode(env)) };
    let rows = reader.next(usize::from(limit));
    let rows = rows.map(|rows| rows.iter().map(|one| row(env, one)).collect::<Vec<_>>());
    answer(env, rows.map(|rows| (rows, reader.unreadable_ids())))
}

#[rustler::nif(schedule = "DirtyIo")]
fn admin_check<'a>(
    env: Env<'a>,
    file: Binary<'_>,
    live: bool,
    to: Option<LocalPid>,
) -> NifResult<Term<'a>> {
    let done = admin::check(&Native, &path(&file), access(live), &mut teller(to));
    answer(env, done.map(|done| checked(env, done)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn admin_backup<'a>(
    env: Env<'a>,
    from: Binary<'_>,
    to: Binary<'_>,
    live: bool,
    teller_to: Option<LocalPid>,
) -> NifResult<Term<'a>> {
    let (from, to) = (path(&from), path(&to));
    let done = admin::backup(&Native, &from, &to, access(live), &mut teller(teller_to));
    answer(env, done.map(copied))
}

#[rustler::nif(schedule = "DirtyIo")]
fn admin_restore<'a>(
    env: Env<'a>,
    from: Binary<'_>,
    to: Binary<'_>,
    teller_to: Option<LocalPid>,
) -> NifResult<Term<'a>> {
    let done = admin::restore(&Native, &path(&from), &path(&to), &mut teller(teller_to));
    answer(env, done.map(|done| restored(env, done)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn admin_move<'a>(
    env: Env<'a>,
    from: Binary<'_>,
    to: Binary<'_>,
    teller_to: Option<LocalPid>,
) -> NifResult<Term<'a>> {
    let done = admin::relocate(&Native, &path(&from), &path(&to), &mut teller(teller_to));
    answer(env, done.map(|done| restored(env, done)))
}

fn ids(items: Items<i64>) -> HashSet<i64> {
    items.0.into_iter().collect()
}

/// Writes what can be read into a new file, without the rows of these ids.
#[rustler::nif(schedule = "DirtyIo")]
fn admin_salvage<'a>(
    env: Env<'a>,
    from: Binary<'_>,
    to: Binary<'_>,
    leave_out: Items<i64>,
    teller_to: Option<LocalPid>,
) -> NifResult<Term<'a>> {
    let (from, to) = (path(&from), path(&to));
    let done = admin::salvage(&Native, &from, &to, &ids(leave_out), &mut teller(teller_to));
    answer(env, done.map(|done| salvaged(env, done)))
}

#[rustler::nif(schedule = "DirtyIo")]
fn admin_repair<'a>(
    env: Env<'a>,
    file: Binary<'_>,
    leave_out: Items<i64>,
    teller_to: Option<LocalPid>,
) -> NifResult<Term<'a>> {
    let done = admin::repair(&Native, &path(&file), &ids(leave_out), &mut teller(teller_to));
    answer(env, done.map(|done| salvaged(env, done)))
}

/// Writes a file of the replaced design, without the rows of these ids, and with other
/// digests for some: `{id, digest}`. `{:ok, {shapes, left_out, unreadable_ids}}`
#[rustler::nif(schedule = "DirtyIo")]
fn admin_export<'a>(
    env: Env<'a>,
    from: Binary<'_>,
    to: Binary<'_>,
    live: bool,
    leave_out: Items<i64>,
    digests: Items<(i64, Binary<'_>)>,
    teller_to: Option<LocalPid>,
) -> NifResult<Term<'a>> {
    let digest = |bytes: &[u8]| bytes.try_into().map(Digest).map_err(|_| Error::BadArg);
    let digests = digests.0.iter().map(|(id, bytes)| Ok((*id, digest(bytes)?)));
    let digests = digests.collect::<NifResult<_>>()?;
    let exceptions = admin::Exceptions { leave_out: ids(leave_out), digests };
    let (from, to) = (path(&from), path(&to));
    let mut teller = teller(teller_to);
    let done = admin::export(&Native, &from, &to, access(live), &exceptions, &mut teller);
    answer(env, done.map(|done| (done.shapes, done.left_out, done.unreadable_ids)))
}

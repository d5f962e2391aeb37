//! The file that was written takes its place, and what it has and lacks is told.

use std::{path::PathBuf, sync::atomic::Ordering::Relaxed};

use tracing::{error, info, warn};

use crate::{
    entry::{Entry, Handle},
    error::OpenError,
    event::Event,
    file::{
        self, Label, Opened,
        connection::{self, prepare_to_write},
        draft::{self, BodySource, Draft},
        fault::Fault,
        handle_list::write_list,
        open_labelled,
    },
    index::slab::EntryId,
    shared::Shared,
};

/// What another file in place of the one before has and lacks.
pub(in crate::writer) struct Replaced {
    pub(super) quarantined: Option<PathBuf>,
    pub(super) shapes: usize,
    pub(super) lost: Vec<(EntryId, Entry)>,
}

/// Writes the file anew and puts it in place, in turn.
pub(in crate::writer) fn put_anew(
    shared: &Shared,
    label: Label,
    source: &BodySource<'_>,
) -> Result<(Replaced, Opened), ReplaceError> {
    put_in_place(shared, draft::write_draft(shared, shared.path(), label, source)?)
}

pub(super) fn put_in_place(
    shared: &Shared,
    draft: Draft,
) -> Result<(Replaced, Opened), ReplaceError> {
    let system = &*shared.options.system;
    file::begin_replacement(system, shared.path())?;
    let quarantined = file::finish_replacement(system, shared.path())?;
    let opened = open_in_place(shared)?;
    Ok((Replaced { quarantined, shapes: draft.shapes, lost: draft.lost }, opened))
}

pub(super) fn open_in_place(shared: &Shared) -> Result<Opened, Fault> {
    let (options, path) = (&shared.options, shared.path());
    let open = || connection::open_to_write(path, options);
    let opened = open_labelled(&*options.system, path, open)?;
    prepare_to_write(&opened.conn, options)?;
    Ok(opened)
}

impl Replaced {
    /// Takes what is lost out of the index, and tells of it all.
    pub(in crate::writer) fn tell(self, shared: &Shared, problem: String) {
        let Self { quarantined, shapes, lost } = self;
        for (id, entry) in &lost {
            let mut queue = shared.queue.lock();
            // It may have been removed meanwhile, and its cell filled again.
            if shared.index.get(*id).is_some_and(|now| now.row == entry.row) {
                shared.index.remove(&mut queue.mutator, *id, entry);
            }
        }
        let counters = &shared.counters;
        counters.rebuilds.fetch_add(1, Relaxed);
        counters.quarantined.fetch_add(u64::from(quarantined.is_some()), Relaxed);
        counters.lost.fetch_add(lost.len() as u64, Relaxed);
        let lost: Vec<Handle> = lost.into_iter().map(|(_, entry)| entry.handle).collect();
        let list = list_lost(shared, &lost);
        let path = list.as_ref().map(|path| path.display().to_string());
        match lost.is_empty() {
            true => info!(shapes, "wrote the shape database anew"),
            false => error!(
                shapes,
                lost = lost.len(),
                list = path.as_deref().unwrap_or("none"),
                "wrote the shape database anew, without shapes whose definitions were lost"
            ),
        }
        shared.emit(Event::Rebuilt { reason: problem, quarantined, shapes, lost, list });
    }
}

fn list_lost(shared: &Shared, lost: &[Handle]) -> Option<PathBuf> {
    if lost.is_empty() {
        return None;
    }
    let lines = lost.iter().map(|handle| ("lost", handle.clone()));
    write_list(&*shared.options.system, shared.path(), "lost", lines)
        .inspect_err(|error| warn!(reason = %error, "could not list the shapes that were lost"))
        .ok()
}

/// Why there is no other file yet.
#[derive(Debug, thiserror::Error)]
pub(in crate::writer) enum ReplaceError {
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("{0}")]
    Open(#[from] OpenError),
    #[error("{}", crate::error_text::system(.0))]
    Io(#[from] std::io::Error),
}

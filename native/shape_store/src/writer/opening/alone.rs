//! The file is made ready and read by who is alone with it.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use rusqlite::Connection;
use tracing::warn;

use crate::{
    error::OpenError,
    error_text::worded,
    event::Event,
    file::{
        Label, Unopened, connection,
        epoch::{note_in_use, take_over_file},
        fault::is_damage,
        import::Verify,
        integrity::Made,
        load::Loader,
        open::{self, Ready},
        open_labelled, schema,
    },
    options::Options,
    shared::Shared,
    writer::{Role, context::Context, own_file::OwnFile, writing::Writing},
};

/// Makes the file ready, reads it and becomes its writer. One that passed for sound and
/// cannot be loaded is moved aside after all.
pub(super) fn open_alone(
    context: &mut Context,
    path: &Path,
    verify: &mut Verify,
) -> Result<(Role, Event), OpenError> {
    let shared = Arc::clone(&context.shared);
    let options = &shared.options;
    let named = |source| OpenError::Sqlite { path: path.to_path_buf(), source };
    let Ready { mut made, imported, mut quarantined } = open::prepare(options, path, verify)?;
    warn_of_another_stack(&made.conn, options, path);
    let label = match load(&shared, &made.conn) {
        Ok(label) => label,
        Err(error) if is_damage(&error) => {
            drop(made);
            Loader::of(&shared).clear();
            let (empty, aside) = open::start_empty(options, path, &worded(&error).to_string())?;
            made = empty;
            quarantined = quarantined.or(Some(aside));
            load(&shared, &made.conn).map_err(named)?
        }
        Err(error) => return Err(named(error)),
    };
    let Made { conn, anchor } = made;
    let file = OwnFile::of(anchor);
    // Somebody may have exchanged the file while it was made ready.
    let open = || connection::open_to_read(path, options);
    let path = path.to_path_buf();
    match open_labelled(&*options.system, &path, open) {
        Ok(there)
            if there.id == file.anchor.id()
                && there.label.identity == label.identity
                && there.label.epoch == label.epoch => {}
        Err(Unopened::Io(source)) => return Err(OpenError::Io { what: "look at", path, source }),
        Err(Unopened::Sqlite(source)) if !is_damage(&source) => {
            return Err(OpenError::Sqlite { path, source });
        }
        _ => return Err(OpenError::Exchanged { path }),
    }
    let mut writing = Writing::new(context, conn, Some(file), label);
    writing.found_clean = shared.counters.found_clean.load(Relaxed) == 1;
    let shapes = shared.index.count();
    let opened = Event::Opened { shapes, standby: false, imported, quarantined };
    Ok((Role::Writing(Box::new(writing)), opened))
}

/// Loads the index and makes the file this store's to write.
fn load(shared: &Shared, conn: &Connection) -> rusqlite::Result<Label> {
    let options = &shared.options;
    let second = || match options.exclusive {
        true => None,
        false => connection::open_to_read(shared.path(), options).ok(),
    };
    let loaded = Loader::of(shared).load(conn, &second)?;
    // Before it is noted that the file is in use.
    let clean = schema::read_meta_number(conn, "clean")? == 1;
    shared.counters.found_clean.store(u64::from(clean), Relaxed);
    if options.exclusive {
        note_in_use(conn, options)?;
    }
    let label = take_over_file(conn, options, 0)?;
    if loaded.batch != label.position.batch {
        // Somebody wrote it in between, who could not be seen and writes no more.
        Loader::of(shared).clear();
        Loader::of(shared).load(conn, &second)?;
    }
    Loader::of(shared).start_rows_at(label.position.next_row);
    Ok(label)
}

/// To move or to restore a file is allowed, and to do so by mistake is to be seen.
fn warn_of_another_stack(conn: &Connection, options: &Options, path: &Path) {
    let Ok(Some(noted)) = schema::read_meta_bytes(conn, "stack") else { return };
    let noted = String::from_utf8_lossy(&noted);
    if !noted.is_empty() && !options.stack.is_empty() && noted != options.stack {
        warn!(
            path = %path.display(), was = %noted, is = %options.stack,
            "the shape database was another stack's"
        );
    }
}

//! What others want of the writer: its connection for a while, and bodies of its file.

use std::time::Instant;

use super::{context::Context, writing::Writing};
use crate::{
    cache::body::Body,
    entry::Entry,
    error::ReadError,
    file::{
        Label,
        fault::Fault,
        row::{self, Stored},
    },
    store::stored_bodies::MISSING,
};

/// So many shapes that are gone of those that are read together are not named one by one:
/// the file is written anew, with a list of what is lost.
const MANY: usize = 32;

impl Writing {
    /// Lends the connection to whoever wants it, and reads what was asked for.
    pub(super) fn serve(&mut self, context: &mut Context, now: Instant) -> Result<(), Fault> {
        while let Some(mut asked) = context.reads.pop_front() {
            if !(asked.request.asker.is_wanting)() {
                continue;
            }
            let read = self.reopen(context).map_err(ReadError::from).and_then(|()| {
                self.own.use_now(now);
                context.shared.read_bodies(self.own.get(), &asked.request.entries)
            });
            // What cannot be read for the file's sake is read again when that was looked
            // into, and replaced if it has to be.
            if read.is_err() && (self.damage.is_some() || !asked.again) {
                context.doubted = self.damage.is_none();
                asked.again = true;
                context.reads.push_front(asked);
                break;
            }
            if let (Ok(bodies), None) = (&read, &self.damage) {
                let lost = self.lose_missing(context, &asked.request.entries, bodies);
                if let (Err(fault), false) = (lost, asked.again) {
                    asked.again = true;
                    context.reads.push_front(asked);
                    return Err(fault);
                }
            }
            asked.request.reply.send(read);
        }
        if self.damage.is_none() && context.doubted {
            return Ok(());
        }
        let next = context.shared.writer_line.lock().pop();
        let Some(notify) = next else { return Ok(()) };
        match self.reopen(context) {
            Ok(()) => {
                // Whatever is done with it.
                self.found_clean = false;
                self.own.lend(notify);
            }
            Err(fault) => {
                context.doubted = true;
                notify(Err(ReadError::from(fault).into()));
            }
        }
        Ok(())
    }

    /// Gives up those of the shapes that were read whose bodies are gone, if the file is as
    /// this writer left it. In that of another one they are gone because that one removed
    /// them, or it has others in their place. Where they are many the file is not to be saved.
    fn lose_missing(
        &self,
        context: &Context,
        entries: &[Entry],
        bodies: &[Option<Body>],
    ) -> Result<(), Fault> {
        let shared = &context.shared;
        let missing: Vec<_> = shared.missing(entries, bodies).collect();
        let (false, Some(conn)) = (missing.is_empty(), self.own.get()) else { return Ok(()) };
        let tx = conn.unchecked_transaction()?;
        let there = Label::read(&tx)?;
        self.label.check_writer(&there)?;
        // What an unsure batch did to the file is found out with the next one.
        if self.unsure.is_some() {
            return Ok(());
        }
        self.label.check_position(&there)?;
        let mut lost = Vec::new();
        for entry in missing {
            if matches!(row::read_body(&tx, entry)?, Stored::Gone) {
                lost.push(entry);
            }
        }
        drop(tx);
        if lost.len() >= MANY && self.file.is_some() {
            return Err(Fault::NotOurs(format!(
                "the definitions of {} shapes are gone from it",
                lost.len()
            )));
        }
        lost.into_iter().for_each(|entry| shared.lose(entry, MISSING));
        Ok(())
    }
}

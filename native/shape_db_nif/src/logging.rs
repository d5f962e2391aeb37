//! What a writer traces, as messages to the owner: `{:shape_db, :log,
//! {level, target, message}}`.

use std::{cell::Cell, fmt::Write as _};

use once_cell::sync::Lazy;
use rustler::{Atom, Encoder, LocalPid};
use tracing::{
    Dispatch, Event, Level, Metadata, Subscriber,
    dispatcher::with_default,
    field::{Field, Visit},
    span,
};

use crate::{atoms, messenger};

/// One for all stores: to make one more takes time for each one that there is.
static TO_OWNER: Lazy<Dispatch> = Lazy::new(|| Dispatch::new(ToOwner));

thread_local! {
    /// Whose store it is that this thread works for.
    static OWNER: Cell<Option<LocalPid>> = const { Cell::new(None) };
}

/// Takes a turn of a writer with its traces going to `owner`.
pub(crate) fn within(owner: LocalPid, turn: &mut dyn FnMut()) {
    OWNER.set(Some(owner));
    with_default(&TO_OWNER, turn);
    OWNER.set(None);
}

/// Events only: the store opens no spans.
struct ToOwner;

impl Subscriber for ToOwner {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::INFO
    }

    fn event(&self, event: &Event<'_>) {
        let Some(owner) = OWNER.get() else { return };
        let mut text = Text::default();
        event.record(&mut text);
        let level = level(event.metadata().level());
        let target = event.metadata().target();
        let message = text.message + &text.fields;
        messenger::send(owner, move |env| {
            (atoms::shape_db(), atoms::log(), (level, target, message)).encode(env)
        });
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}
    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}
    fn enter(&self, _span: &span::Id) {}
    fn exit(&self, _span: &span::Id) {}
}

fn level(level: &Level) -> Atom {
    match *level {
        Level::ERROR => atoms::error(),
        Level::WARN => atoms::warning(),
        Level::INFO => atoms::info(),
        _ => atoms::debug(),
    }
}

/// `message key=value …`
#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

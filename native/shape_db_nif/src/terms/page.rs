//! A page: an environment with the terms of shapes that were written to it one after another.

use std::sync::Arc;

use parking_lot::Mutex;
use rustler::{Env, OwnedEnv, Term, sys};
use shape_store::{BodyKey, Oid};

use crate::parser::{Limits, Parser};

/// What is left behind stays on the page. To build a map takes no more than to put two
/// values into another.
const ON_A_PAGE: Limits = Limits { modelled: 16 << 10, patched: 1 };

/// What a page and a shape on it take besides the terms: the environment, and places in
/// the table and the list of keys.
const PAGE_OVERHEAD: usize = 2048;
const SHAPE_OVERHEAD: usize = 80;

/// A term on a page.
#[derive(Clone)]
pub(crate) struct Kept {
    #[expect(dead_code, reason = "it has the memory of the term")]
    page: Arc<Page>,
    term: sys::ErlNifTerm,
    /// The bytes of its body.
    pub(crate) len: usize,
}

/// Behind a lock that is taken once, as the environment may be used by one at a time. To
/// copy out of it is to use the other environment.
struct Page(Mutex<OwnedEnv>);

/// A page and what is on it.
pub(super) struct Written {
    page: Arc<Page>,
    pub(super) keys: Vec<BodyKey>,
    pub(super) bytes: usize,
}

/// The page that is written to.
pub(super) struct Open {
    pub(super) written: Written,
    /// Lives in the environment of the page, which `written` keeps.
    pub(super) parser: Parser<'static>,
}

// SAFETY: a parser is not `Send` as it has an environment that others could use at the same
// time. This one is that of the page beside it, in which nobody else makes terms, and both
// are behind the lock of `Terms::pages`.
unsafe impl Send for Open {}

impl Open {
    pub(super) fn new() -> Self {
        let page = Arc::new(Page(Mutex::new(OwnedEnv::new())));
        let parser = page.0.lock().run(|env| Parser::within(env, ON_A_PAGE));
        Self { written: Written { page, keys: Vec::new(), bytes: PAGE_OVERHEAD }, parser }
    }

    pub(super) fn write(&mut self, key: BodyKey, table: Oid, body: &[u8]) -> Option<Kept> {
        let before = self.parser.words();
        let term = self.parser.parse(table, body);
        let words = self.parser.words() - before;
        self.written.bytes += words * size_of::<sys::ErlNifTerm>() + SHAPE_OVERHEAD;
        let term = term?.as_c_arg();
        self.written.keys.push(key);
        Some(Kept { page: Arc::clone(&self.written.page), term, len: body.len() })
    }
}

impl Kept {
    pub(crate) fn copy<'a>(&self, env: Env<'a>) -> Term<'a> {
        // SAFETY: the term is whole until its page is freed, which `self` prevents. Several
        // threads may copy it at once, and another may write to the page: copying reads the
        // words of the term, which nobody writes to any more, and counts references to
        // binaries atomically, as for a lookup in an ETS table. It would write to a binary
        // that can be appended to, but a parsed one cannot.
        unsafe { Term::new(env, sys::enif_make_copy(env.as_c_arg(), self.term)) }
    }
}

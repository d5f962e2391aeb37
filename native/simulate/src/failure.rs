//! What went wrong in a history.

use std::sync::OnceLock;

static IGNORED: OnceLock<Vec<String>> = OnceLock::new();

/// Passes over families of failures that are known, so that others are found behind them.
pub fn ignore(families: Vec<String>) {
    let _ = IGNORED.set(families);
}

/// What kind of promise was broken.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Class {
    /// What was acknowledged as durable is gone.
    Lost,
    /// An answer that is not true.
    Wrong,
    /// Somebody was not answered, or twice.
    Unanswered,
    /// Something does not come to its end.
    Stuck,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of which kind.
    pub class: Class,
    /// Which one, the same for all failures of a family.
    pub what: &'static str,
    /// What was found.
    pub text: String,
}

impl Failure {
    /// Whether it is one of those that are passed over.
    pub fn is_ignored(&self) -> bool {
        IGNORED.get().is_some_and(|known| known.iter().any(|known| self.what.contains(known)))
    }

    /// A promise that was broken.
    pub fn new(class: Class, what: &'static str, text: impl Into<String>) -> Self {
        Self { class, what, text: text.into() }
    }
}

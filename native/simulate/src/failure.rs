//! What went wrong in a history.

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
    /// A promise that was broken.
    pub fn new(class: Class, what: &'static str, text: impl Into<String>) -> Self {
        Self { class, what, text: text.into() }
    }
}

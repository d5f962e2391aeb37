//! The thread that sends messages into the VM.
//!
//! A message may fall due anywhere: in a turn of a writer, in a destructor, in a
//! call of somebody else. From a scheduler thread one cannot be sent with an
//! environment of its own, so they are handed to this thread. It does nothing that
//! takes long, so it is never late, and one order for all keeps the order of each.
//! Only the word that a body is there is sent by who read it ([`Caller::send`]).

use crossbeam_channel::{Sender, unbounded};
use once_cell::sync::OnceCell;
use rustler::{Encoder, Env, LocalPid, OwnedEnv, Reference, Term, env::SavedTerm};

type Letter = Box<dyn FnOnce() + Send>;

static LETTERS: OnceCell<Sender<Letter>> = OnceCell::new();

/// Has the thread do what must not be done here, and takes it little time.
pub(crate) fn post(letter: impl FnOnce() + Send + 'static) {
    if let Some(letters) = LETTERS.get() {
        let _ = letters.send(Box::new(letter));
    }
}

/// Starts the thread, unless it runs. Where the system gives none it is tried again by the
/// next store that opens.
pub(crate) fn start() -> std::io::Result<()> {
    LETTERS.get_or_try_init(run).map(drop)
}

fn run() -> std::io::Result<Sender<Letter>> {
    let (send, receive) = unbounded::<Letter>();
    let thread = std::thread::Builder::new().name("shape_db_messenger".into());
    thread.spawn(move || {
        for letter in receive {
            // A letter that cannot be written is lost; the next ones are not.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(letter));
        }
    })?;
    Ok(send)
}

/// Sends what `write` makes. A process that is gone gets nothing.
pub(crate) fn send(to: LocalPid, write: impl for<'a> FnOnce(Env<'a>) -> Term<'a> + Send + 'static) {
    post(move || {
        let _ = OwnedEnv::new().send_and_clear(&to, write);
    });
}

/// Somebody who waits for one answer under a reference of their own making.
pub(crate) struct Caller {
    pid: LocalPid,
    env: OwnedEnv,
    reference: SavedTerm,
}

impl Caller {
    pub(crate) fn new(env: Env<'_>, reference: Reference<'_>) -> Self {
        let own = OwnedEnv::new();
        let reference = own.save(*reference);
        Self { pid: env.pid(), env: own, reference }
    }

    /// Whether anybody would read the answer.
    pub(crate) fn is_alive(&self) -> bool {
        self.env.run(|env| self.pid.is_alive(env))
    }

    /// Sends `{reference, answer}`.
    pub(crate) fn answer(
        mut self,
        write: impl for<'a> FnOnce(Env<'a>) -> Term<'a> + Send + 'static,
    ) {
        post(move || self.send(write));
    }

    /// Sends `{reference, answer}` from here, which is a thread that the VM does not know.
    pub(crate) fn send(&mut self, write: impl for<'a> FnOnce(Env<'a>) -> Term<'a>) {
        let reference = &self.reference;
        let _ =
            self.env.send_and_clear(&self.pid, |env| (reference.load(env), write(env)).encode(env));
    }
}

/// Whether the VM does not know this thread. Its own have no name that Rust knows.
pub(crate) fn is_ours() -> bool {
    std::thread::current().name().is_some_and(|name| name.starts_with("shape_db_"))
}

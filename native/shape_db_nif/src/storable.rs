//! What means nothing after a restart: processes, ports and references.
//!
//! To walk each term that is added would take some hundredths of the time of an add. In
//! the external term format each of these begins with a tag and a byte that seldom
//! follows that tag in text, which is quick to look for. Only where such a pair is found
//! the term is walked. Functions are no matter: hosts have them in their shapes, and a
//! release that has their modules reads them again.
//! <https://www.erlang.org/doc/apps/erts/erl_ext_dist>

use multiversion::multiversion;

const VERSION: u8 = 131;
const NEW_FLOAT: u8 = 70;
const BIT_BINARY: u8 = 77;
const NEW_PID: u8 = 88;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const FLOAT: u8 = 99;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const NIL: u8 = 106;
const STRING: u8 = 107;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const SMALL_BIG: u8 = 110;
const LARGE_BIG: u8 = 111;
const NEW_FUN: u8 = 112;
const EXPORT: u8 = 113;
const MAP: u8 = 116;
const ATOM_UTF8: u8 = 118;
const SMALL_ATOM_UTF8: u8 = 119;

/// What the tags 88 (`NEW_PID`), 89 (`NEW_PORT`), 90 (`NEWER_REFERENCE`) and 120 (`V4_PORT`)
/// have in common.
const TAG_BITS: u8 = !0b10_0011;

/// Whether there may be such a thing in a serialised term. There is none if not.
pub(crate) fn is_suspicious(bytes: &[u8]) -> bool {
    has_pair(bytes) && !is_plain(bytes)
}

/// Whether a pair is in there that such a thing begins with, or one of the few that are
/// not worth telling from those.
#[multiversion(targets("x86_64+avx2"))]
fn has_pair(bytes: &[u8]) -> bool {
    let seconds = bytes.get(1..).unwrap_or_default();
    // Without an early end, and with no comparison but of the least, so that many are looked
    // at in one instruction.
    let least = bytes.iter().zip(seconds).fold(u8::MAX, |least, (first, second)| {
        // 0 for the tags of a process, a port and a reference, and four others.
        let tag = (first & TAG_BITS) ^ NEW_PID;
        // 0 for an atom, the name of a node, whose tags differ in the last bit; or for the
        // higher byte of the number of a reference's words.
        let next = ((second & !1) ^ ATOM_UTF8).min(*second);
        least.min(tag | next)
    });
    least == 0
}

/// Whether the term, all of it, has nothing but what is understood here.
fn is_plain(bytes: &[u8]) -> bool {
    let mut walk = Walk(bytes);
    walk.number::<1>() == Some(VERSION.into()) && walk.terms().is_some() && walk.0.is_empty()
}

/// What is left to walk.
struct Walk<'b>(&'b [u8]);

impl Walk<'_> {
    /// Passes a term. None when it has something else in it.
    fn terms(&mut self) -> Option<()> {
        let mut left: usize = 1;
        while left > 0 {
            let more = match self.tag()? {
                NIL => 0,
                SMALL_INTEGER => self.skip(1, 0)?,
                INTEGER => self.skip(4, 0)?,
                NEW_FLOAT => self.skip(8, 0)?,
                FLOAT => self.skip(31, 0)?,
                SMALL_ATOM_UTF8 => self.sized::<1>(0)?,
                ATOM_UTF8 | STRING => self.sized::<2>(0)?,
                BINARY => self.sized::<4>(0)?,
                BIT_BINARY => self.sized::<4>(1)?,
                SMALL_BIG => self.sized::<1>(1)?,
                LARGE_BIG => self.sized::<4>(1)?,
                SMALL_TUPLE => self.number::<1>()?,
                LARGE_TUPLE => self.number::<4>()?,
                // And the tail.
                LIST => self.number::<4>()?.checked_add(1)?,
                MAP => self.number::<4>()?.checked_mul(2)?,
                // Module, function and arity.
                EXPORT => 3,
                NEW_FUN => self.function()?,
                _ => return None,
            };
            left = (left - 1).checked_add(more)?;
        }
        Some(())
    }

    /// Passes all of a function but what it took along; how many terms that is. The
    /// process that made it is in there, and does not matter.
    fn function(&mut self) -> Option<usize> {
        // Its size and arity, a digest of its module, its index.
        self.skip(4 + 1 + 16 + 4, 0)?;
        let taken = self.number::<4>()?;
        self.atom()?;
        for _ in ["old index", "old digest"] {
            match self.tag()? {
                SMALL_INTEGER => self.skip(1, 0)?,
                INTEGER => self.skip(4, 0)?,
                _ => return None,
            };
        }
        (self.tag()? == NEW_PID).then_some(())?;
        self.atom()?;
        self.skip(12, taken)
    }

    fn atom(&mut self) -> Option<usize> {
        match self.tag()? {
            SMALL_ATOM_UTF8 => self.sized::<1>(0),
            ATOM_UTF8 => self.sized::<2>(0),
            _ => None,
        }
    }

    fn tag(&mut self) -> Option<u8> {
        let (tag, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*tag)
    }

    /// Passes what a size of so many bytes says, and `more`.
    fn sized<const SIZE: usize>(&mut self, more: usize) -> Option<usize> {
        let size = self.number::<SIZE>()?.checked_add(more)?;
        self.skip(size, 0)
    }

    fn skip(&mut self, bytes: usize, terms: usize) -> Option<usize> {
        self.0 = self.0.get(bytes..)?;
        Some(terms)
    }

    fn number<const SIZE: usize>(&mut self) -> Option<usize> {
        let (bytes, rest) = self.0.split_first_chunk::<SIZE>()?;
        self.0 = rest;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }
}

//! One body, taken apart beside the parts of its model.

use rustler::{Encoder, Env, Term, types::tuple::make_tuple};

use crate::{atoms, resource::binary};

pub(super) const VERSION: u8 = 131;
const SMALL_INTEGER: u8 = 97;
const INTEGER: u8 = 98;
const SMALL_TUPLE: u8 = 104;
const LARGE_TUPLE: u8 = 105;
const LIST: u8 = 108;
const BINARY: u8 = 109;
const MAP: u8 = 116;

/// Containers deeper than this are left to the VM, whose parser needs no stack.
const DEEPEST: usize = 64;

/// So many keys has a small map. The keys of a larger one are in the order of hashes:
/// mostly the same in all, and where it is not, the map is built anew.
const MOST_PASSED: usize = 32;

/// The words of a map besides keys and values, and of a binary besides its bytes.
const MAP_WORDS: usize = 4;
const BINARY_WORDS: usize = 2;

/// A part of a body that was parsed, where it is among the bytes.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    start: usize,
    end: usize,
    /// How many parts these are, with all that it contains.
    parts: usize,
    term: Term<'a>,
}

/// One body on its way.
pub(super) struct Parse<'m, 'a> {
    pub(super) env: Env<'a>,
    pub(super) words: &'m mut usize,
    pub(super) most_patched: usize,
    /// The body. Written to for a moment when the VM is to parse a part.
    pub(super) bytes: &'m mut [u8],
    /// Where the next part starts.
    pub(super) at: usize,
    pub(super) depth: usize,
    /// Keys and values of the maps it is in.
    pub(super) stack: &'m mut Vec<Term<'a>>,
    /// The bytes of the model.
    pub(super) model: &'m [u8],
    /// The parts, when the body is to be a model.
    pub(super) made: Option<Vec<Part<'a>>>,
}

/// The parts of the model that correspond to those of one container.
struct Alike<'m, 'a>(&'m [Part<'a>]);

impl<'m, 'a> Alike<'m, 'a> {
    /// The next, with all that it contains; none when the model has fewer.
    fn next(&mut self) -> &'m [Part<'a>] {
        let parts = self.0.first().map_or(0, |part| part.parts);
        let (next, rest) = self.0.split_at_checked(parts).unwrap_or_default();
        self.0 = rest;
        next
    }
}

/// The keys and values of a map of the model that are not yet taken.
struct Pairs<'m, 'a> {
    rest: Alike<'m, 'a>,
    /// Passed over: the keys of the model come in another order.
    passed: Vec<[&'m [Part<'a>]; 2]>,
}

impl<'m, 'a> Parse<'m, 'a> {
    /// The next part, and whether it is the one of the model. `like` is that one and
    /// all that it contains, or empty.
    pub(super) fn part(&mut self, like: &'m [Part<'a>]) -> Option<(Term<'a>, bool)> {
        if let Some(term) = self.same(like) {
            return Some((term, true));
        }
        let start = self.at;
        let place = self.made.as_mut().map(|made| {
            let term = atoms::nil().encode(self.env);
            made.push(Part { start, end: start, parts: 1, term });
            made.len() - 1
        });
        self.depth += 1;
        let (term, same) = self.build(like)?;
        self.depth -= 1;
        if let (Some(made), Some(place)) = (&mut self.made, place) {
            let parts = made.len() - place;
            *made.get_mut(place)? = Part { start, end: self.at, parts, term };
        }
        Some((term, same))
    }

    /// The model's term, when the bytes are the same.
    fn same(&mut self, like: &[Part<'a>]) -> Option<Term<'a>> {
        if self.is_next(like) { self.take(like) } else { None }
    }

    /// Whether the bytes of a part of the model come next: a term ends where its bytes
    /// say.
    fn is_next(&self, like: &[Part<'a>]) -> bool {
        let there = like.first().and_then(|part| self.model.get(part.start..part.end));
        let next = self.bytes.get(self.at..).unwrap_or_default();
        there.is_some_and(|there| next.starts_with(there))
    }

    /// The term of a part of the model whose bytes come next.
    fn take(&mut self, like: &[Part<'a>]) -> Option<Term<'a>> {
        let part = like.first()?;
        if let Some(made) = &mut self.made {
            let moved = |at: usize| at - part.start + self.at;
            made.extend(like.iter().map(|part| Part {
                start: moved(part.start),
                end: moved(part.end),
                ..*part
            }));
        }
        self.at += part.end - part.start;
        Some(part.term)
    }

    /// The next part from its bytes, and whether it is the one of the model after all.
    fn build(&mut self, like: &'m [Part<'a>]) -> Option<(Term<'a>, bool)> {
        let alike = Alike(like.get(1..).unwrap_or_default());
        let start = self.at;
        let term = match self.number::<1>()? as u8 {
            MAP if self.depth < DEEPEST => return self.map(like.first(), alike),
            LIST if self.depth < DEEPEST => self.list(alike),
            SMALL_TUPLE if self.depth < DEEPEST => self.tuple::<1>(alike),
            LARGE_TUPLE if self.depth < DEEPEST => self.tuple::<4>(alike),
            SMALL_INTEGER => Some(self.number::<1>()?.encode(self.env)),
            INTEGER => Some((self.number::<4>()? as i32).encode(self.env)),
            BINARY => {
                let len = self.number::<4>()? as usize;
                let end = self.at.checked_add(len)?;
                let term = binary(self.env, self.bytes.get(self.at..end)?);
                self.at = end;
                *self.words += BINARY_WORDS + len.div_ceil(8);
                Some(term)
            }
            _ => self.other(start),
        };
        Some((term?, false))
    }

    /// A map with the keys of the model's, in whatever order, is the model's, with other
    /// values, and shares its keys.
    fn map(&mut self, like: Option<&Part<'a>>, alike: Alike<'m, 'a>) -> Option<(Term<'a>, bool)> {
        let arity = self.number::<4>()?;
        let base = self.stack.len();
        let mut pairs = Pairs { rest: alike, passed: Vec::new() };
        let mut known = true;
        // Where the values are that the model's map does not have.
        let mut changed = Vec::new();
        for _ in 0..arity {
            let (key, value) = match self.pair(&mut pairs) {
                Some([key, value]) => {
                    let (key, (value, same_value)) = (self.take(key)?, self.part(value)?);
                    if !same_value {
                        changed.push(self.stack.len());
                    }
                    (key, value)
                }
                None => {
                    known = false;
                    (self.part(&[])?.0, self.part(&[])?.0)
                }
            };
            self.stack.extend([key, value]);
        }
        // What is left of the model are keys that this one lacks.
        known &= pairs.rest.0.is_empty() && pairs.passed.is_empty();
        let is_map = |part: &&Part<'a>| self.model.get(part.start) == Some(&MAP);
        let model = like.filter(|_| known).filter(is_map).map(|part| part.term);
        let same = model.is_some() && changed.is_empty();
        let patched = model.filter(|_| changed.len() <= self.most_patched).and_then(|map| {
            let pair = |at: usize| self.stack.get(at..)?.first_chunk::<2>();
            changed.iter().try_fold(map, |map, at| {
                let [key, value] = pair(*at)?;
                *self.words += MAP_WORDS + arity as usize;
                map.map_update(*key, *value).ok()
            })
        });
        let map = patched.or_else(|| {
            let pairs = self.stack.get(base..)?;
            let [keys, values] = [0, 1].map(|i| pairs.iter().skip(i).step_by(2).copied());
            let (keys, values): (Vec<_>, Vec<_>) = (keys.collect(), values.collect());
            *self.words += MAP_WORDS + 2 * keys.len();
            Term::map_from_term_arrays(self.env, &keys, &values).ok()
        });
        self.stack.truncate(base);
        // A key that is there twice is an error, which not every OTP finds in a large map.
        let map = map.filter(|map| map.map_size().is_ok_and(|size| size == arity as usize));
        Some((map?, same))
    }

    /// The pair of the model whose key comes next.
    fn pair(&self, pairs: &mut Pairs<'m, 'a>) -> Option<[&'m [Part<'a>]; 2]> {
        if let Some(at) = pairs.passed.iter().position(|[key, _]| self.is_next(key)) {
            return Some(pairs.passed.swap_remove(at));
        }
        while pairs.passed.len() < MOST_PASSED {
            let [key, value] = [pairs.rest.next(), pairs.rest.next()];
            if key.is_empty() || self.is_next(key) {
                return (!key.is_empty()).then_some([key, value]);
            }
            pairs.passed.push([key, value]);
        }
        None
    }

    fn tuple<const SIZE: usize>(&mut self, mut alike: Alike<'m, 'a>) -> Option<Term<'a>> {
        let arity = self.number::<SIZE>()?;
        let elements = (0..arity).map(|_| Some(self.part(alike.next())?.0));
        let elements = elements.collect::<Option<Vec<_>>>()?;
        *self.words += 1 + elements.len();
        Some(make_tuple(self.env, &elements))
    }

    fn list(&mut self, mut alike: Alike<'m, 'a>) -> Option<Term<'a>> {
        let len = self.number::<4>()?;
        let items = (0..len).map(|_| Some(self.part(alike.next())?.0));
        let items = items.collect::<Option<Vec<_>>>()?;
        let (tail, _) = self.part(alike.next())?;
        *self.words += 2 * items.len();
        Some(items.into_iter().rev().fold(tail, Term::list_prepend))
    }

    /// What the VM parses: the version goes before it for as long as that takes.
    fn other(&mut self, start: usize) -> Option<Term<'a>> {
        let before = start.checked_sub(1)?;
        let kept = std::mem::replace(self.bytes.get_mut(before)?, VERSION);
        let parsed = self.env.binary_to_term(self.bytes.get(before..)?);
        *self.bytes.get_mut(before)? = kept;
        let (term, size) = parsed?;
        self.at = before + size;
        if !term.is_atom() {
            // A string has two words a byte, all else less than one.
            *self.words += 2 * size;
        }
        Some(term)
    }

    /// A number of so many bytes.
    fn number<const SIZE: usize>(&mut self) -> Option<u32> {
        let bytes = self.bytes.get(self.at..)?.first_chunk::<SIZE>()?;
        self.at += SIZE;
        Some(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }
}

//! Parses many bodies into terms that share what they have in common.
//!
//! The shapes of a table differ in little: a constant of the where-clause, say. So a
//! body is parsed beside one that was parsed before, its *model*. A *part* with the
//! same bytes as the part in the same place of the model is the same term, which is
//! used again instead of being built again, and what is new is built around it.
//!
//! That is worth its lines: with the VM's parser in its place a list of 20,000 shapes takes
//! 2.7 times as long, 2.9 times the processor time and 2.4 times the memory, and a fold 2.3,
//! 3.2 and 2.6 times (medians of eleven alternations on two cores). Pages of terms
//! (`terms.rs`) have room for many more shapes by the same sharing.
//!
//! Bodies are in the external term format,
//! <https://www.erlang.org/doc/apps/erts/erl_ext_dist>. Its containers are taken apart
//! here, whatever else there is, the VM parses.

mod body;

use std::collections::HashMap;

use rustler::{Env, Term};
use shape_store::Oid;

use self::body::{Parse, Part, VERSION};

/// A larger body is no variation on another.
const LARGEST: usize = 65_536;

/// How far a parser goes to have terms share what they have in common.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// How many bytes all models may have together. Their parts take some times as much.
    pub(crate) modelled: usize,
    /// A map with more values than this that are not the model's is built anew. Each that is
    /// put into a map leaves a copy of the others behind.
    pub(crate) patched: usize,
}

/// Maps that are left behind in a list are collected.
const FOR_A_LIST: Limits = Limits { modelled: 1 << 20, patched: 4 };

/// Parses into one environment, which has the terms.
pub(crate) struct Parser<'a> {
    env: Env<'a>,
    /// What all that was parsed takes there, in words.
    words: usize,
    limits: Limits,
    /// The first body of each table.
    models: HashMap<Oid, Model<'a>>,
    /// The bytes of all models, and their parts.
    modelled: usize,
    parts: usize,
    /// The table of the last model, beside which the first body of another is parsed.
    last: Oid,
    /// Memory that each body uses again.
    bytes: Vec<u8>,
    stack: Vec<Term<'a>>,
}

struct Model<'a> {
    bytes: Box<[u8]>,
    /// Each before those it contains.
    parts: Vec<Part<'a>>,
}

impl<'a> Parser<'a> {
    pub(crate) fn new(env: Env<'a>) -> Self {
        Self::within(env, FOR_A_LIST)
    }

    pub(crate) fn within(env: Env<'a>, limits: Limits) -> Self {
        Self {
            env,
            words: 0,
            limits,
            models: HashMap::new(),
            modelled: 0,
            parts: 0,
            last: 0,
            bytes: Vec::new(),
            stack: Vec::new(),
        }
    }

    /// The term of a body, as `:erlang.binary_to_term/1` would give it. `None` when it
    /// is not one, and when only that function can tell: here no atom is made, and
    /// nothing decompressed. Bodies of one table are likely to be alike.
    pub(crate) fn parse(&mut self, table: Oid, body: &[u8]) -> Option<Term<'a>> {
        self.parse_alike(table, body).or_else(|| {
            self.words += body.len();
            Some(self.env.binary_to_term(body)?.0)
        })
    }

    /// About how many words the terms take that were made so far: each is counted once,
    /// however many share it.
    pub(crate) fn words(&self) -> usize {
        self.words
    }

    /// What it takes in memory to parse others beside what was parsed.
    pub(crate) fn model_bytes(&self) -> usize {
        self.modelled + self.parts * size_of::<Part<'_>>()
    }

    fn parse_alike(&mut self, table: Oid, body: &[u8]) -> Option<Term<'a>> {
        if body.len() > LARGEST || body.first() != Some(&VERSION) {
            return None;
        }
        let own = self.models.get(&table);
        let is_model = own.is_none() && self.modelled + body.len() <= self.limits.modelled;
        let model = own.or_else(|| self.models.get(&self.last));
        let (model, like) = model.map_or((&[][..], &[][..]), |model| (&model.bytes, &model.parts));
        self.bytes.clear();
        self.bytes.extend_from_slice(body);
        self.stack.clear();
        let mut parse = Parse {
            env: self.env,
            words: &mut self.words,
            most_patched: self.limits.patched,
            bytes: &mut self.bytes,
            at: 1,
            depth: 0,
            stack: &mut self.stack,
            model,
            made: is_model.then(|| Vec::with_capacity(like.len() + 16)),
        };
        let (term, _) = parse.part(like)?;
        if let Some(parts) = parse.made {
            self.parts += parts.capacity();
            self.models.insert(table, Model { bytes: body.into(), parts });
            self.modelled += body.len();
            self.last = table;
        }
        Some(term)
    }
}

//! The names on the disk, live and durable.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    chance::Chance,
    content::Loss,
    disk::{Key, parent},
};

/// All names.
#[derive(Default, Debug)]
pub struct Names {
    live: BTreeMap<String, Key>,
    durable: BTreeMap<String, Key>,
    /// From `durable` to `live`, in order. What is in one change survives together.
    pending: Vec<Change>,
}

type Change = Vec<(String, Option<Key>)>;

impl Names {
    /// What a name leads to.
    pub fn get(&self, path: &str) -> Option<Key> {
        self.live.get(path).copied()
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = (&str, Key)> {
        self.live.iter().map(|(name, key)| (name.as_str(), *key))
    }

    /// The names below a folder.
    pub fn within(&self, folder: &str) -> Vec<String> {
        let prefix = format!("{}/", folder.trim_end_matches('/'));
        let below = self.live.range(prefix.clone()..);
        let below = below.take_while(|(name, _)| name.starts_with(&prefix));
        below.map(|(name, _)| name.clone()).filter(|name| *name != prefix).collect()
    }

    /// Changes names, in one instant.
    pub fn change(&mut self, change: &[(&str, Option<Key>)]) {
        let change: Change = change.iter().map(|(name, key)| ((*name).into(), *key)).collect();
        apply(&mut self.live, &change);
        self.pending.push(change);
    }

    /// The names in a folder survive, with what they hang together with.
    pub fn sync_folder(&mut self, folder: &str) {
        let mut names = BTreeSet::new();
        for (name, _) in self.pending.iter().flatten() {
            if parent(name) == folder {
                names.insert(name.clone());
            }
        }
        self.sync(names, self.pending.len());
    }

    /// A file that is synced can be found again under the name it was made under, as the
    /// usual file systems have it.
    pub fn sync_name(&mut self, path: &str, key: Key) {
        let made = (path.to_owned(), Some(key));
        if let Some(at) = self.pending.iter().rposition(|change| change.contains(&made)) {
            self.sync([path.to_owned()].into(), at + 1);
        }
    }

    /// The changes below `end` of these names survive, and those before them that these
    /// hang on.
    fn sync(&mut self, mut names: BTreeSet<String>, end: usize) {
        let mut survives = vec![false; self.pending.len()];
        for (change, survives) in self.pending.iter().zip(&mut survives).take(end).rev() {
            if change.iter().any(|(name, _)| names.contains(name)) {
                names.extend(change.iter().map(|(name, _)| name.clone()));
                *survives = true;
            }
        }
        let mut survives = survives.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let done = survives.next().unwrap_or(false);
            if done {
                apply(durable, change);
            }
            !done
        });
    }

    /// The power is lost. Of the changes of each name a first part survives.
    pub fn lose_power(&mut self, loss: Loss, chance: &mut Chance) {
        let pending = std::mem::take(&mut self.pending);
        let kept = match loss {
            Loss::All => 0,
            Loss::Last => chance.below(pending.len() + 1),
            _ => pending.len(),
        };
        let mut cut = BTreeSet::new();
        for change in pending.into_iter().take(kept) {
            let torn = matches!(loss, Loss::Some | Loss::Sectors);
            if torn && (chance.one_in(4) || change.iter().any(|(name, _)| cut.contains(name))) {
                cut.extend(change.into_iter().map(|(name, _)| name));
            } else {
                apply(&mut self.durable, &change);
            }
        }
        // A name without its folder is none.
        let folders = self.durable.clone();
        self.durable.retain(|name, _| folders.contains_key(parent(name)));
        self.live.clone_from(&self.durable);
    }
}

fn apply(names: &mut BTreeMap<String, Key>, change: &Change) {
    for (name, key) in change {
        match key {
            Some(key) => names.insert(name.clone(), *key),
            None => names.remove(name),
        };
    }
}

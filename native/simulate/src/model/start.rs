//! A reign begins: what its store found is held against what the file may hold.

use std::collections::BTreeSet;

use super::{Found, Held, Model, Reign, Trust, View};
use crate::failure::{Class, Failure};

impl Model {
    /// A store became the writer, and found this. `tampers` is how often the file had been
    /// replaced or damaged when it began to look, and `begun` how many reigns had begun.
    pub fn begin(
        &mut self,
        store: usize,
        found: Found,
        tampers: u64,
        begun: usize,
    ) -> (usize, Vec<Failure>) {
        let Found { epoch, view: found, version, base } = found;
        let mut failures = Vec::new();
        let before = self.reigns.get(self.heir).map_or(0, |reign| reign.epoch);
        // Another took the file over while this one, which could not lock it or whose lock files
        // were removed, still opened it.
        let late = self.trust == Trust::Sound && epoch < before && begun <= self.heir;
        // Somebody laid hands on the file while this one became its writer, and the one before
        // has written it anew since: both have a file of their own in mind.
        let overtaken = self.trust == Trust::Sound && self.tampers != tampers && !late;
        match self.trust {
            _ if late || overtaken => {}
            Trust::Sound => self.check_sound(&found, version.as_deref(), &mut failures),
            Trust::Rolled => self.check_rolled(&found, &mut failures),
            Trust::Wild => {}
        }
        if !self.ever_shaken && epoch == before {
            failures.push(Failure::new(
                Class::Wrong,
                "two reigns under one epoch",
                format!("store {store} writes under epoch {epoch}, as another did"),
            ));
        }
        if overtaken {
            self.trust = Trust::Wild;
        }
        let shaken = self.trust == Trust::Wild;
        if !self.damaged && self.tampers == tampers {
            self.trust = Trust::Sound;
        }
        // Who comes takes what is there.
        self.mendable = false;
        self.reigns.push(Reign {
            store,
            epoch,
            now: found.clone(),
            start: found,
            version,
            base,
            changes: Vec::new(),
            durable: base,
            last: base,
            open: true,
            closing: false,
            handed_over: late.then_some(base),
            rebuilt: false,
            shaken,
        });
        if !late {
            self.heir = self.reigns.len() - 1;
        }
        (self.reigns.len() - 1, failures)
    }

    fn check_sound(&mut self, found: &View, version: Option<&str>, failures: &mut Vec<Failure>) {
        let Some(reign) = self.reigns.get_mut(self.heir) else {
            if !found.is_empty() {
                failures.push(Failure::new(
                    Class::Wrong,
                    "a new file is not empty",
                    format!("{found:?}"),
                ));
            }
            return;
        };
        let (from, to) = (reign.durable, reign.last);
        let mut handles: BTreeSet<&String> = reign.handles();
        handles.extend(found.keys());
        let mut amiss = false;
        for handle in handles {
            let (allowed, there) = (reign.allowed(handle, from, to), found.get(handle).copied());
            if allowed.contains(&there) {
                continue;
            }
            amiss = true;
            let class = if there.is_none() { Class::Lost } else { Class::Wrong };
            let what = match there {
                None => "a durable shape is gone",
                Some(_) => "a start finds what it should not",
            };
            failures.push(Failure::new(
                class,
                what,
                format!("{handle}: found {there:?}, and should be one of {allowed:?} (numbers {from} to {to} of store {})", reign.store),
            ));
        }
        let versions = reign.versions(from, to);
        if !versions.contains(&version) {
            failures.push(Failure::new(
                Class::Wrong,
                "a start finds another meaning of the flags",
                format!("{version:?}, and should be one of {versions:?}"),
            ));
        }
        let states = reign.states(from, to);
        let matches = |(_, state): &&(u64, View)| {
            // The add of what was removed by the time of its commit is left out.
            let left_out = |(handle, held): (&String, &Held)| {
                !found.contains_key(handle)
                    && reign.now.get(handle).map(|now| now.shape) != Some(held.shape)
            };
            found.iter().all(|(handle, held)| state.get(handle) == Some(held))
                && state.iter().all(|it| found.contains_key(it.0) || left_out(it))
        };
        let matching = states.iter().filter(matches).map(|(at, _)| *at).max();
        if reign.rebuilt {
            reign.handed_over = None;
        } else if let Some(at) = matching {
            reign.handed_over = Some(at);
        } else if !amiss && reign.changes.iter().all(|done| done.first == done.last) {
            failures.push(Failure::new(
                Class::Wrong,
                "what a start finds is no first part of the changes",
                format!("found {found:?} of {:?}", reign.changes),
            ));
        }
    }

    fn check_rolled(&self, found: &View, failures: &mut Vec<Failure>) {
        let possible = found.is_empty()
            || self.reigns.iter().any(|reign| {
                reign.rebuilt
                    || reign.shaken
                    || reign.states(reign.base, reign.last).iter().any(|(_, state)| state == found)
            });
        if !possible {
            failures.push(Failure::new(
                Class::Wrong,
                "after a loss of power the file is in no state it was ever in",
                format!("found {found:?}"),
            ));
        }
    }
}

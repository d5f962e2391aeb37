//! What the host keeps of shapes in eight bits each.

use super::{Request, Store};
use crate::{
    entry::{Handle, sort_handles},
    error::ChangeError,
    queue::{Change, Seq},
};

impl Store {
    /// Sets all flags of a shape.
    pub fn set_flags(
        &self,
        handle: &[u8],
        flags: u8,
        request: Request<'_>,
    ) -> Result<Seq, ChangeError> {
        self.change_known(handle, request, |shared, queue, id, entry| {
            shared.index.set_flags(&mut queue.mutator, id, flags);
            Change::Flags([(entry.row, flags)].into())
        })
    }

    /// Sets the flags of several shapes, as one change, of those that are there and have
    /// others. Not held up by a full queue: what makes all flags anew has to end.
    pub fn set_many_flags(&self, flags: &[(&[u8], u8)]) -> Result<Seq, ChangeError> {
        let index = &self.shared.index;
        let seq = {
            let mut queue = self.shared.queue.lock();
            self.shared.state().writable()?;
            let mut changed = Vec::new();
            for (handle, flags) in flags {
                let known =
                    index.known(&queue.mutator, handle).filter(|(_, entry)| entry.flags != *flags);
                if let Some((id, entry)) = known {
                    index.set_flags(&mut queue.mutator, id, *flags);
                    changed.push((entry.row, *flags));
                }
            }
            match changed.is_empty() {
                true => queue.last(),
                false => queue.push(Change::Flags(changed.into()), false),
            }
        };
        self.shared.mail.wake();
        Ok(seq)
    }

    /// How many shapes have this value under this mask. For a mask of one bit a look at a
    /// counter.
    pub fn count_by_flags(&self, mask: u8, value: u8) -> usize {
        let flags = &self.shared.index.flags;
        flags.count_by_bit(mask, value).unwrap_or_else(|| {
            let _mutator = self.shared.queue.lock();
            flags.count(mask, value)
        })
    }

    /// Their handles, sorted. Looks at all.
    pub fn handles_by_flags(&self, mask: u8, value: u8) -> Vec<Handle> {
        let ids = self.shared.queue.lock().mutator.used();
        let entries = ids.filter_map(|id| self.shared.index.get(id));
        let wanted = entries.filter(|entry| entry.flags & mask == value);
        let mut handles: Vec<_> = wanted.map(|entry| entry.handle).collect();
        sort_handles(&mut handles);
        handles
    }

    /// What the flags in the file mean, if somebody said.
    pub fn flags_version(&self) -> Option<String> {
        self.shared.index.flags.version()
    }

    /// Says what the flags mean, all of which were set before. Not held up either.
    pub fn set_flags_version(&self, version: &str) -> Result<Seq, ChangeError> {
        let seq = {
            let mut queue = self.shared.queue.lock();
            self.shared.state().writable()?;
            self.shared.index.flags.set_version(Some(version.into()));
            queue.push(Change::FlagsVersion(version.into()), false)
        };
        self.shared.mail.wake();
        Ok(seq)
    }
}

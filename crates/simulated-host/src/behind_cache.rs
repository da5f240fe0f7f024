//! Stores of guests whose caches are off, while the hypervisor's cache holds the line.

use std::collections::BTreeMap;

use guest_addr::HostPhysRange;

/// The size of a cache line.
const LINE_BYTES: u64 = 64;

/// Words in memory that differ from those in the cache, by address.
#[derive(Debug, Default)]
pub(crate) struct BehindCache(BTreeMap<u64, u64>);

impl BehindCache {
    /// Stores a word in memory alone.
    pub(crate) fn store(&mut self, address: u64, word: u64) {
        self.0.insert(address, word);
    }

    /// Forgets the words in the lines that have a byte of `range`, and returns them: the cache and memory have
    /// one content from now on.
    pub(crate) fn take(&mut self, range: HostPhysRange) -> Vec<(u64, u64)> {
        let first = range.start().as_u64() & !(LINE_BYTES - 1);
        let last = range.last().as_u64() | (LINE_BYTES - 1);
        let taken: Vec<_> = self.0.range(first..=last).map(|(a, w)| (*a, *w)).collect();
        for (address, _) in &taken {
            self.0.remove(address);
        }
        taken
    }
}

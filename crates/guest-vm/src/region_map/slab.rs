//! Nodes of a tree in few allocations, each taken before it is needed.

use alloc::collections::TryReserveError;
use alloc::vec::Vec;

use crate::error::VmError;

/// How many nodes one allocation has at most, so that no growth moves more than these.
const BLOCK: usize = 32;

/// Nodes that are known by their number. [`take`](Self::take) and [`put_back`](Self::put_back) never allocate.
#[derive(Debug)]
pub(super) struct Slab<T> {
    blocks: Vec<Vec<T>>,
    /// The nodes that are not in use. It has room for all of them.
    free: Vec<u32>,
}

impl<T: Default> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            blocks: Vec::new(),
            free: Vec::new(),
        }
    }

    /// Whether there was no node yet.
    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Makes sure that `count` calls of [`take`](Self::take) succeed.
    #[inline]
    pub(super) fn reserve(&mut self, count: usize) -> Result<(), VmError> {
        match self.free.len() >= count {
            true => Ok(()),
            false => self.grow(count),
        }
    }

    #[cold]
    fn grow(&mut self, count: usize) -> Result<(), VmError> {
        while self.free.len() < count {
            self.add()?;
        }
        Ok(())
    }

    /// Adds one node that is not in use.
    fn add(&mut self) -> Result<(), VmError> {
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.try_reserve(1).map_err(no_memory)?;
            self.blocks.push(Vec::new());
        }
        let full = self.blocks.len().saturating_sub(1);
        let Some(block) = self.blocks.last_mut() else {
            return Ok(());
        };
        let nodes = full.saturating_mul(BLOCK).saturating_add(block.len());
        let number = u32::try_from(nodes).map_err(|_| VmError::NoBookkeepingMemory)?;
        // Doubles, so that a machine with few regions has few nodes.
        let more = block.len().clamp(1, BLOCK.saturating_sub(block.len()));
        block.try_reserve_exact(more).map_err(no_memory)?;
        // Room for all nodes, this one included.
        let missing = nodes.saturating_add(1).saturating_sub(self.free.len());
        self.free.try_reserve(missing).map_err(no_memory)?;
        block.push(T::default());
        self.free.push(number);
        Ok(())
    }

    /// A node that was not in use, with its default contents; none if none was reserved.
    pub(super) fn take(&mut self) -> Option<u32> {
        self.free.pop()
    }

    /// Takes back a node from [`take`](Self::take), and clears it.
    pub(super) fn put_back(&mut self, number: u32) {
        if let Some(node) = self.get_mut(number) {
            *node = T::default();
            self.free.push(number);
        }
    }

    #[inline]
    pub(super) fn get(&self, number: u32) -> Option<&T> {
        let number = number as usize;
        self.blocks.get(number / BLOCK)?.get(number % BLOCK)
    }

    #[inline]
    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        let number = number as usize;
        self.blocks.get_mut(number / BLOCK)?.get_mut(number % BLOCK)
    }
}

fn no_memory(_: TryReserveError) -> VmError {
    VmError::NoBookkeepingMemory
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "small numbers of a test")]
impl<T> Slab<T> {
    pub(super) fn in_use(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum::<usize>() - self.free.len()
    }
}

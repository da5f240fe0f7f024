//! The result of one walk: what it found and which entries it read.

use core::fmt;
use core::ops::Deref;

use guest_addr::{GuestPhysAddr, HostPhysAddr};

use crate::access::Permissions;

/// The most entries that any walk reads: Sv57x4, and EPT or NPT with five levels.
pub const MAX_STEPS: usize = 5;

/// One walk: the outcome, and the entries in the order in which they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Walk<A, F> {
    /// Where the access goes, or why it faults.
    pub outcome: Result<Translation<A>, F>,
    /// Every entry that was read, from the root down. An entry where there was no memory is not
    /// among them.
    pub steps: Steps,
}

/// Where an access goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation<A> {
    /// The host address of the byte that was asked for; of the first byte in a
    /// [`Region`](crate::Region).
    pub address: HostPhysAddr,
    /// The size in bytes of the page that the leaf maps: a power of two.
    pub page_size: u64,
    /// The accesses that the tables grant. Accessed and dirty bits are no part of this.
    pub permissions: Permissions,
    /// The memory type in the architecture's own bits.
    pub attributes: A,
    /// The same, as far as it can be told without knowing the architecture.
    pub kind: MemoryKind,
    /// The accessed bit of the leaf before this access; `None` when the hardware does not keep one.
    pub accessed: Option<bool>,
    /// The dirty bit of the leaf before this access; `None` when the hardware does not keep one.
    pub dirty: Option<bool>,
}

impl<A> Translation<A> {
    /// The same page at `address`, which lies in it: the offset in the page is carried over.
    pub(crate) fn at(self, address: GuestPhysAddr) -> Self {
        let page = !(self.page_size.wrapping_sub(1));
        let host = (self.address.as_u64() & page) | (address.as_u64() & !page);
        Self {
            address: HostPhysAddr::new(host),
            ..self
        }
    }
}

/// A memory type, as far as the nested tables alone decide it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryKind {
    /// Normal memory, write-back. The guest's own tables may still ask for less.
    WriteBack,
    /// Normal memory that is not cached: Normal Non-cacheable, PBMT NC.
    Uncached,
    /// Device memory: any Device type of the Arm architecture, PBMT IO.
    Device,
    /// EPT type UC, which serves for devices and for uncached memory alike.
    Uncacheable,
    /// PBMT PMA: the platform's physical memory attributes decide.
    Platform,
    /// Another type, or one that the guest's own tables decide.
    Other,
}

/// One entry that a walker read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// The level of the table, as the architecture numbers it.
    pub level: u8,
    /// The host address of the entry.
    pub entry: HostPhysAddr,
    /// The entry as it was read.
    pub value: u64,
    /// What the hardware writes back when it manages accessed and dirty bits: `None` when nothing
    /// changes, or when the access faults.
    pub update: Option<u64>,
}

/// The entries that a walk read, as a slice of at most [`MAX_STEPS`].
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Steps {
    steps: [Step; MAX_STEPS],
    length: usize,
}

impl Steps {
    const UNUSED: Step = Step {
        level: 0,
        entry: HostPhysAddr::ZERO,
        value: 0,
        update: None,
    };

    pub(crate) const fn new() -> Self {
        Self {
            steps: [Self::UNUSED; MAX_STEPS],
            length: 0,
        }
    }

    pub(crate) fn push(&mut self, level: u8, entry: HostPhysAddr, value: u64) {
        if let Some(slot) = self.steps.get_mut(self.length) {
            *slot = Step {
                level,
                entry,
                value,
                update: None,
            };
            self.length += 1;
        }
    }

    /// Says for every entry what the hardware makes of it: `new_value(value, is_leaf)`.
    pub(crate) fn record_updates(&mut self, new_value: impl Fn(u64, bool) -> u64) {
        let length = self.length;
        for (index, step) in self.steps.iter_mut().take(length).enumerate() {
            let new = new_value(step.value, index + 1 == length);
            step.update = (new != step.value).then_some(new);
        }
    }
}

impl Deref for Steps {
    type Target = [Step];

    fn deref(&self) -> &[Step] {
        self.steps.get(..self.length).unwrap_or_default()
    }
}

impl fmt::Debug for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

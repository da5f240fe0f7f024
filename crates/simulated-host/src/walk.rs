//! A walk as a value: what a page walker read, and what it concluded.

use std::fmt;

use guest_addr::{GuestPhysAddr, HostPhysAddr};

/// What an access needs, or a translation permits: a set of [`READ`](Self::READ) and its siblings.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Permissions(u8);

impl Permissions {
    /// No access.
    pub const NONE: Self = Self(0);
    /// Loads.
    pub const READ: Self = Self(1);
    /// Stores.
    pub const WRITE: Self = Self(2);
    /// Instruction fetches in the guest's privileged mode.
    pub const EXECUTE: Self = Self(4);
    /// Instruction fetches in the guest's user mode.
    pub const EXECUTE_USER: Self = Self(8);

    /// The elements of both sets.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether every element of `other` is in this set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (bit, letter) in [(1, "r"), (2, "w"), (4, "x"), (8, "u")] {
            f.write_str(if self.0 & bit == 0 { "-" } else { letter })?;
        }
        Ok(())
    }
}

/// One entry that a walker read.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    /// Where the entry stands.
    pub address: HostPhysAddr,
    /// The bits that were read.
    pub value: u64,
    /// The level of the entry: 0 maps 4 KiB, 1 maps 2 MiB, and so on upwards.
    pub level: u8,
}

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (address, value) = (self.address.as_u64(), self.value);
        write!(f, "level {} at {address:#x}: {value:#x}", self.level)
    }
}

/// What a walk yields for the region that its last entry decides about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Translation {
    /// The host-physical address of the region's first byte.
    pub host: HostPhysAddr,
    /// What the guest may do.
    pub permissions: Permissions,
    /// The memory type, in whatever numbers the walker uses: only compared.
    pub memory_type: u64,
}

/// The end of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// A page or block.
    Translation(Translation),
    /// An entry that is not present.
    Absent,
    /// Anything else that ends in a fault: a reserved encoding, a misconfiguration, an access flag
    /// that is clear, an entry in memory that does not exist.
    Fault,
}

/// One walk: the entries from the root down to the one that decided, and the outcome.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Walk {
    root_register: u64,
    gpa: u64,
    size: u64,
    count: usize,
    steps: [Step; Self::MAX_STEPS],
    outcome: Outcome,
}

impl Walk {
    /// The most entries that a walk reads: no architecture has more levels.
    pub const MAX_STEPS: usize = 5;

    /// A walk from the table that `root_register` (hgatp, VTTBR_EL2, EPTP, N_CR3) selects. The last of
    /// `steps` decides about the `size` bytes around `gpa`, a power of two; the ones before it are
    /// table entries. Steps past [`MAX_STEPS`](Self::MAX_STEPS) are dropped.
    #[must_use]
    pub fn new(
        root_register: u64,
        gpa: GuestPhysAddr,
        size: u64,
        steps: &[Step],
        outcome: Outcome,
    ) -> Self {
        let unused = Step {
            address: HostPhysAddr::ZERO,
            value: 0,
            level: 0,
        };
        let mut walk = Self {
            root_register,
            gpa: gpa.as_u64() & !size.saturating_sub(1),
            size: size.max(1),
            count: 0,
            steps: [unused; Self::MAX_STEPS],
            outcome,
        };
        for (slot, step) in walk.steps.iter_mut().zip(steps) {
            *slot = *step;
            walk.count += 1;
        }
        walk
    }

    /// The register value that selected the table.
    #[must_use]
    pub const fn root_register(&self) -> u64 {
        self.root_register
    }

    /// The first byte of the region that the walk decided about.
    #[must_use]
    pub const fn gpa(&self) -> GuestPhysAddr {
        GuestPhysAddr::new(self.gpa)
    }

    /// The size of that region in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The last byte of that region.
    #[must_use]
    pub const fn last(&self) -> GuestPhysAddr {
        GuestPhysAddr::new(self.gpa.saturating_add(self.size - 1))
    }

    /// The entries that were read, from the root down.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        self.steps.get(..self.count).unwrap_or_default()
    }

    /// The entries that point to tables: all but the last.
    #[must_use]
    pub fn table_steps(&self) -> &[Step] {
        self.steps
            .get(..self.count.saturating_sub(1))
            .unwrap_or_default()
    }

    /// What was concluded.
    #[must_use]
    pub const fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The level of the last entry that was read, 0 if none was.
    #[must_use]
    pub fn level(&self) -> u8 {
        self.steps().last().map_or(0, |step| step.level)
    }

    /// The outcome for the single byte at `gpa`, with its host-physical address.
    pub(crate) fn outcome_at(&self, gpa: u64) -> Outcome {
        match self.outcome {
            Outcome::Translation(translation) => {
                let host = translation.host.as_u64().wrapping_add(gpa - self.gpa);
                Outcome::Translation(Translation {
                    host: HostPhysAddr::new(host),
                    ..translation
                })
            }
            other => other,
        }
    }
}

impl fmt::Debug for Walk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (gpa, size) = (self.gpa, self.size);
        write!(f, "{gpa:#x}+{size:#x} -> {:?} by ", self.outcome)?;
        f.debug_list().entries(self.steps()).finish()
    }
}

/// The page walker of one architecture: reads entries through `read` and concludes.
///
/// It must read every entry through `read` exactly where it stands, and keep no state: the machine
/// replays walks with cached entries in place of the ones in memory.
pub trait Walker: Send + Sync {
    /// The width of guest-physical addresses in bits.
    fn input_bits(&self) -> u32;

    /// The walk for `gpa` in the table that `root_register` selects. `read` answers `None` where no
    /// memory is.
    fn walk(
        &self,
        read: &dyn Fn(HostPhysAddr) -> Option<u64>,
        root_register: u64,
        gpa: GuestPhysAddr,
    ) -> Walk;
}

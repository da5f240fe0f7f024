//! What one machine can do, and which controls its hypervisor uses.

use nested_page_table::Level;

use crate::mode::Mode;

/// What the execute bits of an entry mean: a choice of the hypervisor, made in the VM-execution
/// control "mode-based execute control for EPT" (MBEC). The tables have to follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum ExecuteControl {
    /// The control is 0. Bit 2 allows execution in both modes; bit 10 is ignored.
    #[default]
    Single,
    /// The control is 1: bit 2 is for supervisor mode, bit 10 for user mode. `EXECUTE` sets both.
    BothModes,
    /// The control is 1, and `USER` decides: memory with `EXECUTE` and `USER` can be executed in both
    /// modes, memory with `EXECUTE` alone in supervisor mode only.
    ///
    /// While a guest's paging is off (CR0.PG is 0), all it does counts as user mode.
    ByUser,
}

impl ExecuteControl {
    /// The one that asks for less.
    const fn plainer(self, other: Self) -> Self {
        match (self, other) {
            (Self::Single, _) | (_, Self::Single) => Self::Single,
            (Self::BothModes, _) | (_, Self::BothModes) => Self::BothModes,
            (Self::ByUser, Self::ByUser) => Self::ByUser,
        }
    }
}

/// What a machine can do, as far as EPT depends on it.
///
/// [`detect`](Self::detect) asks the processor; [`from_registers`](Self::from_registers) takes what
/// was read elsewhere. What is a choice of the hypervisor stays off until the builder turns it on:
/// mode-based execute control, the tracking of accesses, and the suppression of #VE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Capabilities {
    largest_mode: Mode,
    physical_address_bits: u32,
    largest_leaf: Level,
    execute_only: bool,
    execute_control: ExecuteControl,
    accessed_dirty_tracking: bool,
    single_context_invept: bool,
    suppress_ve: bool,
    large_executable_leaves: bool,
}

impl Capabilities {
    /// The least that EPT guarantees: 4 levels, leaves of 4 KiB, INVEPT of all contexts, and the 36
    /// bits of physical address that a processor has if it does not say. Guests execute from leaves
    /// of 4 KiB only.
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            largest_mode: Mode::Ept4,
            physical_address_bits: 36,
            largest_leaf: Level::PAGE_4K,
            execute_only: false,
            execute_control: ExecuteControl::Single,
            accessed_dirty_tracking: false,
            single_context_invept: false,
            suppress_ve: false,
            large_executable_leaves: false,
        }
    }

    /// What a tool assumes of a machine it cannot ask: both modes, 52 bits of physical address, leaves
    /// up to 1 GiB, also for execution, execute-only memory and single-context INVEPT; no tracking,
    /// no MBEC.
    #[inline]
    #[must_use]
    pub const fn common() -> Self {
        Self::new()
            .with_largest_mode(Mode::Ept5)
            .with_physical_address_bits(52)
            .with_largest_leaf(Level::BLOCK_1G)
            .with_execute_only(true)
            .with_single_context_invept(true)
            .with_large_executable_leaves(true)
    }

    /// Sets the largest mode. A machine that has 5 levels has 4 as well.
    #[inline]
    #[must_use]
    pub const fn with_largest_mode(self, largest_mode: Mode) -> Self {
        Self {
            largest_mode,
            ..self
        }
    }

    /// Sets MAXPHYADDR, the width of a host-physical address: 32 to 52 bits. Higher bits of an entry
    /// are reserved.
    #[inline]
    #[must_use]
    pub const fn with_physical_address_bits(self, physical_address_bits: u32) -> Self {
        Self {
            physical_address_bits,
            ..self
        }
    }

    /// Sets the level of the largest leaf: 4 KiB, 2 MiB or 1 GiB.
    #[inline]
    #[must_use]
    pub const fn with_largest_leaf(self, largest_leaf: Level) -> Self {
        Self {
            largest_leaf,
            ..self
        }
    }

    /// Sets whether memory can be executed but not read. Such an entry is a misconfiguration
    /// otherwise.
    #[inline]
    #[must_use]
    pub const fn with_execute_only(self, execute_only: bool) -> Self {
        Self {
            execute_only,
            ..self
        }
    }

    /// Sets what the execute bits mean.
    #[inline]
    #[must_use]
    pub const fn with_execute_control(self, execute_control: ExecuteControl) -> Self {
        Self {
            execute_control,
            ..self
        }
    }

    /// Sets whether the hardware tracks accesses: EPTP bit 6 is set, and leaves begin with A and D
    /// clear. The processor must have it (IA32_VMX_EPT_VPID_CAP bit 21), or VM entry fails; and an
    /// access of the processor to the guest's own page tables then counts as a write. A root that was
    /// used without tracking needs an INVEPT before it is used with it.
    #[inline]
    #[must_use]
    pub const fn with_accessed_dirty_tracking(self, accessed_dirty_tracking: bool) -> Self {
        Self {
            accessed_dirty_tracking,
            ..self
        }
    }

    /// Sets whether INVEPT can invalidate a single context. Otherwise it invalidates all.
    #[inline]
    #[must_use]
    pub const fn with_single_context_invept(self, single_context_invept: bool) -> Self {
        Self {
            single_context_invept,
            ..self
        }
    }

    /// Sets whether absent entries and leaves suppress virtualization exceptions (bit 63): for a hypervisor
    /// that turns the VM-execution control "EPT-violation #VE" on. Without it, every violation would then go
    /// to the guest as #VE, and none to the hypervisor.
    #[inline]
    #[must_use]
    pub const fn with_suppress_ve(self, suppress_ve: bool) -> Self {
        Self {
            suppress_ve,
            ..self
        }
    }

    /// Sets whether guests may execute from leaves above 4 KiB.
    ///
    /// On many processors without IF_PSCHANGE_MC_NO (IA32_ARCH_CAPABILITIES bit 6), a guest that
    /// executes from a large leaf can change the size of the page in its own tables and so raise a
    /// machine check that stops the whole machine (CVE-2018-12207, "iTLB multihit"). Not every
    /// processor that lacks the bit is affected: for one that Intel lists as safe, or for guests that
    /// are trusted, turn this on.
    #[inline]
    #[must_use]
    pub const fn with_large_executable_leaves(self, large_executable_leaves: bool) -> Self {
        Self {
            large_executable_leaves,
            ..self
        }
    }

    /// What every CPU of a machine has, where `self` and `other` are those of two of its CPUs: the
    /// narrower of each width, the smaller of each size, and each feature that both have. So guests
    /// execute from large leaves only if no CPU takes a machine check for it.
    ///
    /// The controls (execute control, tracking, suppression of #VE) are the hypervisor's choice, the
    /// same for all CPUs: make it after the last intersection. Of two execute controls the plainer one
    /// stays.
    #[must_use]
    pub const fn intersect(self, other: Self) -> Self {
        Self {
            largest_mode: match self.largest_mode.input_bits() < other.largest_mode.input_bits() {
                true => self.largest_mode,
                false => other.largest_mode,
            },
            physical_address_bits: match self.physical_address_bits < other.physical_address_bits {
                true => self.physical_address_bits,
                false => other.physical_address_bits,
            },
            largest_leaf: match self.largest_leaf.shift() < other.largest_leaf.shift() {
                true => self.largest_leaf,
                false => other.largest_leaf,
            },
            execute_only: self.execute_only && other.execute_only,
            execute_control: self.execute_control.plainer(other.execute_control),
            accessed_dirty_tracking: self.accessed_dirty_tracking && other.accessed_dirty_tracking,
            single_context_invept: self.single_context_invept && other.single_context_invept,
            suppress_ve: self.suppress_ve && other.suppress_ve,
            large_executable_leaves: self.large_executable_leaves && other.large_executable_leaves,
        }
    }

    /// The largest mode of the machine.
    #[inline]
    #[must_use]
    pub const fn largest_mode(&self) -> Mode {
        self.largest_mode
    }

    /// The width of a host-physical address in bits.
    #[inline]
    #[must_use]
    pub const fn physical_address_bits(&self) -> u32 {
        self.physical_address_bits
    }

    /// The level of the largest leaf.
    #[inline]
    #[must_use]
    pub const fn largest_leaf(&self) -> Level {
        self.largest_leaf
    }

    /// Whether memory can be executed but not read.
    #[inline]
    #[must_use]
    pub const fn execute_only(&self) -> bool {
        self.execute_only
    }

    /// What the execute bits mean.
    #[inline]
    #[must_use]
    pub const fn execute_control(&self) -> ExecuteControl {
        self.execute_control
    }

    /// Whether the hardware sets accessed and dirty bits.
    #[inline]
    #[must_use]
    pub const fn accessed_dirty_tracking(&self) -> bool {
        self.accessed_dirty_tracking
    }

    /// Whether INVEPT can invalidate a single context.
    #[inline]
    #[must_use]
    pub const fn single_context_invept(&self) -> bool {
        self.single_context_invept
    }

    /// Whether absent entries and leaves suppress virtualization exceptions.
    #[inline]
    #[must_use]
    pub const fn suppress_ve(&self) -> bool {
        self.suppress_ve
    }

    /// Whether guests may execute from leaves above 4 KiB.
    #[inline]
    #[must_use]
    pub const fn large_executable_leaves(&self) -> bool {
        self.large_executable_leaves
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::new()
    }
}

//! From registers to capabilities.

use nested_page_table::Level;

use crate::capabilities::Capabilities;
use crate::mode::Mode;

/// Bits of IA32_VMX_EPT_VPID_CAP. (SDM 3D, appendix "VPID and EPT Capabilities".)
mod ept_vpid_cap {
    pub(super) const EXECUTE_ONLY: u32 = 0;
    pub(super) const WALK_LENGTH_5: u32 = 7;
    pub(super) const LEAF_2M: u32 = 16;
    pub(super) const LEAF_1G: u32 = 17;
    pub(super) const INVEPT_SINGLE_CONTEXT: u32 = 25;
}

/// IF_PSCHANGE_MC_NO, a bit of IA32_ARCH_CAPABILITIES: the processor takes no machine check when the
/// size of a page changes that it fetches instructions from. (SDM 4, "Architectural MSRs".)
const IF_PSCHANGE_MC_NO: u32 = 6;

/// What a processor says of itself, as far as EPT depends on it.
///
/// [`Capabilities::detect`] reads them; other programs fill them in, beginning with
/// [`default`](Self::default), where every register is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub struct Registers {
    /// The MSR IA32_VMX_EPT_VPID_CAP (0x48c).
    pub ept_vpid_cap: u64,
    /// The MSR IA32_ARCH_CAPABILITIES (0x10a), or 0 where CPUID.(EAX=7,ECX=0):EDX\[29\] is 0: the
    /// processor then does not have it, and reading it traps.
    pub arch_capabilities: u64,
    /// MAXPHYADDR (CPUID.80000008H:EAX\[7:0\]).
    pub physical_address_bits: u32,
}

impl Capabilities {
    /// What `registers` say.
    #[must_use]
    pub const fn from_registers(registers: &Registers) -> Self {
        let cap = registers.ept_vpid_cap;
        let largest_mode = match has(cap, ept_vpid_cap::WALK_LENGTH_5) {
            true => Mode::Ept5,
            false => Mode::Ept4,
        };
        let leaves_of_2m_and_1g = (
            has(cap, ept_vpid_cap::LEAF_2M),
            has(cap, ept_vpid_cap::LEAF_1G),
        );
        let largest_leaf = match leaves_of_2m_and_1g {
            (true, true) => Level::BLOCK_1G,
            (true, false) => Level::BLOCK_2M,
            (false, _) => Level::PAGE_4K,
        };
        Self::new()
            .with_largest_mode(largest_mode)
            .with_physical_address_bits(registers.physical_address_bits)
            .with_largest_leaf(largest_leaf)
            .with_execute_only(has(cap, ept_vpid_cap::EXECUTE_ONLY))
            .with_single_context_invept(has(cap, ept_vpid_cap::INVEPT_SINGLE_CONTEXT))
            .with_large_executable_leaves(has(registers.arch_capabilities, IF_PSCHANGE_MC_NO))
    }
}

const fn has(register: u64, bit: u32) -> bool {
    register >> bit & 1 == 1
}

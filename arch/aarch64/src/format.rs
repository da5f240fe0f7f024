//! Stage-2 descriptors as a table format.
#![expect(unsafe_code, reason = "vouches for the laws of `Format`")]

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags, MemoryType};
use nested_page_table::{Entry, Format, Geometry, Leaf, Level, UpdateRules};

use crate::capabilities::Capabilities;
use crate::descriptor::{
    ACCESS_FLAG, ADDRESS, DIRTY_BIT_MODIFIER, EXECUTE_EL1_ONLY, EXECUTE_NEVER, EXECUTE_NEVER_SHIFT,
    EXECUTE_NOWHERE, INNER_SHAREABLE, MEM_ATTR, MEM_ATTR_DEVICE, MEM_ATTR_FORCED_WRITE_BACK,
    MEM_ATTR_NON_CACHEABLE, MEM_ATTR_NORMAL, MEM_ATTR_WRITE_BACK, PERMISSIONS, READ,
    SOFTWARE_DEVICE, SOFTWARE_DIRTY, SOFTWARE_UNCACHED, SOFTWARE_USER, TABLE_OR_PAGE, VALID, WRITE,
};
use crate::mode::{Mode, ModeError};
use crate::{hardware, registers};

/// READ and WRITE are `S2AP`.
const ACCESS_SHIFT: u32 = 6;
const _: () = assert!((MappingFlags::READ_WRITE.bits() as u64) << ACCESS_SHIFT == READ | WRITE);
/// DBM, where it stands for WRITE.
const DIRTY_SHIFT: u32 = 50;
const _: () = assert!((MappingFlags::WRITE.bits() as u64) << DIRTY_SHIFT == DIRTY_BIT_MODIFIER);
/// The upper bit of `XN`, inverted, and the software bits have the order of the flags EXECUTE, USER, DEVICE and
/// UNCACHED.
const UPPER_SHIFT: u32 = 52;
const UPPER_FLAGS: MappingFlags = MappingFlags::EXECUTE
    .union(MappingFlags::USER)
    .union(MappingFlags::MEMORY_TYPE);
const _: () = {
    let bits = EXECUTE_NOWHERE | SOFTWARE_USER | SOFTWARE_DEVICE | SOFTWARE_UNCACHED;
    assert!((UPPER_FLAGS.bits() as u64) << UPPER_SHIFT == bits);
    assert!((MappingFlags::EXECUTE.bits() as u64) << UPPER_SHIFT == EXECUTE_NOWHERE);
    assert!((MappingFlags::USER.bits() as u64) << UPPER_SHIFT == SOFTWARE_USER);
    assert!((MappingFlags::DEVICE.bits() as u64) << UPPER_SHIFT == SOFTWARE_DEVICE);
};

/// The AArch64 stage-2 format of one mode with the capabilities of one machine: VMSAv8-64, 4 KiB
/// granule, leaves of 4 KiB, 2 MiB and (from `ipa35` on) 1 GiB.
#[derive(Clone, Copy, Debug)]
pub struct Stage2 {
    mode: Mode,
    capabilities: Capabilities,
    geometry: Geometry,
    /// What all leaves have in common.
    leaf: u64,
    /// The memory type of write-back leaves.
    write_back: u64,
    /// What makes a leaf writable when it is encoded.
    writable: u64,
    /// Where an executable leaf without `USER` executes.
    execute_without_user: u64,
    /// [`ADDRESS`], for loops over leaves: a constant of 64 bits takes a register.
    address: u64,
}

impl Stage2 {
    /// The format of `mode` on a machine with `capabilities`.
    ///
    /// # Errors
    ///
    /// - [`ModeError::NoGranule4K`]: the machine has no 4 KiB granule at stage 2.
    /// - [`ModeError::ExceedsPhysicalAddressRange`]: the mode's input is wider than the machine's
    ///   physical addresses, which the architecture forbids. (A start at level 0 also needs 44 bits
    ///   of physical address; the modes that start there have at least as many bits of input.)
    pub const fn new(mode: Mode, capabilities: Capabilities) -> Result<Self, ModeError> {
        if !capabilities.granule_4k() {
            return Err(ModeError::NoGranule4K);
        }
        let geometry = match mode.geometry(capabilities.physical_address_range()) {
            Ok(geometry) => geometry,
            Err(error) => return Err(error),
        };
        let dirty_tracking = capabilities.dirty_tracking();
        let preset = choose(capabilities.accessed_tracking(), 0, ACCESS_FLAG);
        Ok(Self {
            mode,
            capabilities,
            geometry,
            leaf: VALID | INNER_SHAREABLE | preset,
            write_back: choose(
                capabilities.forced_write_back(),
                MEM_ATTR_FORCED_WRITE_BACK,
                MEM_ATTR_WRITE_BACK,
            ),
            writable: choose(dirty_tracking, DIRTY_BIT_MODIFIER, WRITE),
            execute_without_user: choose(capabilities.user_execute_control(), EXECUTE_EL1_ONLY, 0),
            address: ADDRESS,
        })
    }

    /// The mode.
    #[inline]
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The capabilities.
    #[inline]
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// The value of `VTCR_EL2` while guests run: input width, start level, walks that are write-back
    /// and inner shareable, output width, VMID width, and what the hardware tracks.
    #[must_use]
    pub fn vtcr(&self) -> u64 {
        registers::vtcr(&self.geometry, &self.capabilities)
    }

    /// The value of `VTTBR_EL2` that selects the table at `root`, which is aligned to the root's
    /// alignment, as the address space `vmid`, which fits
    /// [`vmid_bits`](Format::vmid_bits). Bits that do not fit are dropped.
    #[inline]
    #[must_use]
    pub fn vttbr(&self, root: HostPhysAddr, vmid: u16) -> u64 {
        registers::vttbr(root, vmid, self.capabilities.vmid_bits())
    }

    #[inline]
    fn memory_attributes(&self, flags: MappingFlags) -> u64 {
        // By flags, which takes less code than by `MemoryType`.
        if flags.contains(MappingFlags::DEVICE) {
            MEM_ATTR_DEVICE
        } else if flags.contains(MappingFlags::UNCACHED) {
            MEM_ATTR_NON_CACHEABLE
        } else {
            self.write_back
        }
    }

    #[inline]
    fn permissions(&self, flags: MappingFlags) -> u64 {
        let when = |flag, bits| if flags.contains(flag) { bits } else { 0 };
        let execute = if !flags.contains(MappingFlags::EXECUTE) {
            EXECUTE_NOWHERE
        } else if flags.contains(MappingFlags::USER) {
            0
        } else {
            self.execute_without_user
        };
        when(MappingFlags::READ, READ)
            | when(MappingFlags::WRITE, self.writable)
            | when(MappingFlags::USER, SOFTWARE_USER)
            | execute
    }

    #[inline]
    fn decode_flags(&self, bits: u64) -> MappingFlags {
        self.decode_permissions(bits) | self.decode_memory_type(bits).flags()
    }

    /// [`decode_flags`](Self::decode_flags) of a leaf that this format made: without branches, and for all
    /// capabilities alike.
    #[inline]
    fn decode_own_flags(bits: u64) -> MappingFlags {
        // Without dirty tracking DBM is clear; with it, `S2AP[1]` is set in writable leaves only. Bit 50 is clear.
        let access = bits >> ACCESS_SHIFT | bits >> DIRTY_SHIFT;
        let access = access & u64::from(MappingFlags::READ_WRITE.bits());
        // From XN on. Of XN, 00 becomes 11, 10 becomes 01, and 11 becomes 10: the upper bit is EXECUTE.
        let upper = (bits >> EXECUTE_NEVER_SHIFT ^ 0b10) + 1;
        let upper = upper << (EXECUTE_NEVER_SHIFT - UPPER_SHIFT) & u64::from(UPPER_FLAGS.bits());
        MappingFlags::from_bits_truncate((access | upper) as u32)
    }

    /// The permissions of a leaf, also where DBM stands for `WRITE`, and `XN` 11 for `EXECUTE`.
    #[inline]
    fn decode_permissions(&self, bits: u64) -> MappingFlags {
        let when = |condition, flag| {
            if condition {
                flag
            } else {
                MappingFlags::empty()
            }
        };
        when(bits & READ != 0, MappingFlags::READ)
            | when(bits & (self.writable | WRITE) != 0, MappingFlags::WRITE)
            | when(
                bits & EXECUTE_NEVER != EXECUTE_NOWHERE,
                MappingFlags::EXECUTE,
            )
            | when(bits & SOFTWARE_USER != 0, MappingFlags::USER)
    }

    /// Whatever is neither Device nor the write-back that this format writes counts as uncached.
    #[inline]
    fn decode_memory_type(&self, bits: u64) -> MemoryType {
        if bits & MEM_ATTR_NORMAL == 0 {
            MemoryType::Device
        } else if bits & MEM_ATTR == self.write_back {
            MemoryType::WriteBack
        } else {
            MemoryType::Uncached
        }
    }
}

const fn choose(condition: bool, yes: u64, no: u64) -> u64 {
    match condition {
        true => yes,
        false => no,
    }
}

// SAFETY: the laws are tested for every mode, level, capability and flag (`tests`).
unsafe impl Format for Stage2 {
    #[inline]
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    #[inline]
    fn rules(&self) -> UpdateRules {
        // Arm ARM DDI 0487, chapter D8, "TLB maintenance": break-before-make; invalid descriptors
        // and those with AF 0 are never cached; a permission fault need not evict a cached entry.
        UpdateRules {
            break_before_make: true,
            fresh_needs_invalidation: false,
            raised_needs_invalidation: true,
            hardware_writes_entries: self.capabilities.accessed_tracking(),
        }
    }

    /// [`MappingFlags::validate`] and nothing more: stage 2 expresses everything that passes.
    /// `EXECUTE` without `READ` too, since `S2AP` does not govern instruction fetches.
    #[inline]
    fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError> {
        flags.validate().map(|_| ())
    }

    #[inline]
    fn leaf_attributes(&self, level: Level, flags: MappingFlags) -> u64 {
        let page = if level == Level::PAGE_4K {
            TABLE_OR_PAGE
        } else {
            0
        };
        let once_more = flags.intersection(MappingFlags::MEMORY_TYPE).bits();
        let memory_type = self.memory_attributes(flags) | u64::from(once_more) << UPPER_SHIFT;
        page | self.leaf | memory_type | self.permissions(flags)
    }

    #[inline]
    fn address_bits(&self, address: HostPhysAddr) -> u64 {
        address.as_u64()
    }

    #[inline]
    fn encode_table(&self, address: HostPhysAddr) -> u64 {
        self.address_bits(address) | TABLE_OR_PAGE | VALID
    }

    #[inline]
    fn decode(&self, level: Level, bits: u64) -> Entry {
        if bits & VALID == 0 {
            return Entry::Absent;
        }
        let is_page_level = level == Level::PAGE_4K;
        match bits & TABLE_OR_PAGE != 0 {
            true if !is_page_level => Entry::Table(HostPhysAddr::new(bits & ADDRESS)),
            false if is_page_level || level > Level::BLOCK_1G => Entry::Absent,
            _ => {
                // At most level 2 arrives here: 30 bits of offset.
                let offset = (1 << level.shift()) - 1;
                Entry::Leaf(Leaf {
                    address: HostPhysAddr::new(bits & ADDRESS & !offset),
                    flags: self.decode_flags(bits),
                })
            }
        }
    }

    /// The low byte of a descriptor tells a table, which has no attributes, from all others.
    #[inline]
    fn decode_own(&self, level: Level, bits: u64) -> Entry {
        if level != Level::PAGE_4K && bits & 0xff == TABLE_OR_PAGE | VALID {
            // Nothing stands above the address.
            Entry::Table(HostPhysAddr::new(bits).align_down_4k())
        } else {
            match self.decode_own_leaf(level, bits) {
                Some(leaf) => Entry::Leaf(leaf),
                None => Entry::Absent,
            }
        }
    }

    #[inline]
    fn decode_own_leaf(&self, _level: Level, bits: u64) -> Option<Leaf> {
        if bits & VALID == 0 {
            return None;
        }
        let address = HostPhysAddr::new(bits & self.address);
        let flags = Self::decode_own_flags(bits);
        Some(Leaf { address, flags })
    }

    #[inline]
    fn with_permissions(&self, _level: Level, bits: u64, flags: MappingFlags) -> u64 {
        let dirty = match (self.is_dirty(bits), flags.contains(MappingFlags::WRITE)) {
            (false, _) => 0,
            (true, true) => WRITE,
            (true, false) => SOFTWARE_DIRTY,
        };
        bits & !PERMISSIONS | self.permissions(flags) | dirty
    }

    #[inline]
    fn split_leaf(&self, level: Level, bits: u64) -> u64 {
        if level == Level::BLOCK_2M {
            bits | TABLE_OR_PAGE
        } else {
            bits
        }
    }

    #[inline]
    fn is_accessed(&self, bits: u64) -> bool {
        bits & ACCESS_FLAG != 0
    }

    #[inline]
    fn with_accessed(&self, bits: u64) -> u64 {
        bits | ACCESS_FLAG
    }

    #[inline]
    fn is_dirty(&self, bits: u64) -> bool {
        bits & (WRITE | SOFTWARE_DIRTY) != 0
    }

    #[inline]
    fn root_register(&self, root: HostPhysAddr, vmid: u16) -> u64 {
        self.vttbr(root, vmid)
    }

    #[inline]
    fn vmid_bits(&self) -> u32 {
        self.capabilities.vmid_bits()
    }

    /// By `XN[1:0]` = 11, which lets EL1 alone execute (FEAT_XNX).
    #[inline]
    fn restricts_user_execution(&self) -> bool {
        self.capabilities.user_execute_control()
    }

    /// `DSB ISHST`. A release fence on a hosted operating system, and on other architectures.
    #[inline]
    fn publish(&self) {
        hardware::publish();
    }
}

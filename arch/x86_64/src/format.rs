//! Encoding and decoding of entries.
#![expect(unsafe_code, reason = "vouches for the laws of `Format`")]

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags, MemoryType};
use nested_page_table::{Entry, Format, Geometry, Leaf, LeafPolicy, Level, Note, UpdateRules};

use crate::bits::{
    ACCESS, ACCESSED, ADDRESS, DIRTY, EXECUTE, EXECUTE_USER, IGNORE_PAT, LARGE, MEMORY_TYPE,
    MEMORY_TYPE_SHIFT, PERMISSIONS, READ, SOFTWARE_DEVICE, SOFTWARE_UNCACHED, SOFTWARE_USER,
    SUPPRESS_VE, TABLE_RESERVED, TYPE_UC, TYPE_WB, TYPE_WC, TYPE_WP, TYPE_WT, WRITE,
};
use crate::capabilities::{Capabilities, ExecuteControl};
use crate::mode::{Mode, ModeError};
use crate::note;

const _: () = assert!(MappingFlags::ACCESS.bits() as u64 == ACCESS);
/// USER, DEVICE and UNCACHED are software bits, in the order of the flags.
const SOFTWARE_SHIFT: u32 = 49;
const SOFTWARE_FLAGS: MappingFlags = MappingFlags::USER.union(MappingFlags::MEMORY_TYPE);
const _: () = {
    let bits = SOFTWARE_USER | SOFTWARE_DEVICE | SOFTWARE_UNCACHED;
    assert!((SOFTWARE_FLAGS.bits() as u64) << SOFTWARE_SHIFT == bits);
    assert!((MappingFlags::USER.bits() as u64) << SOFTWARE_SHIFT == SOFTWARE_USER);
    assert!((MappingFlags::DEVICE.bits() as u64) << SOFTWARE_SHIFT == SOFTWARE_DEVICE);
};

/// Device memory is uncacheable whatever the guest says: without ignore-PAT, a guest could make it
/// write-combining, and its accesses would merge and move.
const DEVICE: u64 = TYPE_UC << MEMORY_TYPE_SHIFT | IGNORE_PAT;
/// Uncached memory leaves the guest that choice: UC combines with every type of the guest to UC or
/// WC, and neither is cached.
const UNCACHED: u64 = TYPE_UC << MEMORY_TYPE_SHIFT;
const WRITE_BACK: u64 = TYPE_WB << MEMORY_TYPE_SHIFT;

/// EPT on one machine in one mode: the format of its tables, the EPTP and INVEPT.
///
/// Everything that depends on the machine is resolved by [`new`](Self::new). Entries that the
/// hardware refuses as misconfigured decode as absent. ("EPT Misconfigurations".) Memory types that
/// are never made decode as the nearest flag: WC as `UNCACHED`, WT and WP as write-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ept {
    geometry: Geometry,
    mode: Mode,
    capabilities: Capabilities,
    /// The bits that allow fetches.
    execute: u64,
    preset_accessed: u64,
    preset_dirty: u64,
    /// What an absent entry contains: bit 63 where #VE is suppressed.
    absent: u64,
    /// The address bits below MAXPHYADDR.
    pub(crate) address: u64,
}

impl Ept {
    /// The format of tables in `mode` on a machine with `capabilities`.
    ///
    /// # Errors
    ///
    /// - [`ModeError::Unsupported`]: the machine lacks the mode.
    /// - [`ModeError::PhysicalAddressBits`]: the physical addresses of `capabilities` are narrower
    ///   than 32 or wider than 52 bits.
    /// - [`ModeError::LargestLeaf`]: the largest leaf of `capabilities` exceeds 1 GiB.
    /// - [`ModeError::Geometry`]: never for the published modes.
    pub const fn new(mode: Mode, capabilities: Capabilities) -> Result<Self, ModeError> {
        let largest = capabilities.largest_mode();
        if mode.input_bits() > largest.input_bits() {
            return Err(ModeError::Unsupported { mode, largest });
        }
        let leaf = capabilities.largest_leaf();
        if leaf.shift() > Level::BLOCK_1G.shift() {
            return Err(ModeError::LargestLeaf { leaf });
        }
        let physical_address_bits = capabilities.physical_address_bits();
        let output_bits = match physical_address_bits {
            32..=52 => physical_address_bits as u8,
            _ => {
                return Err(ModeError::PhysicalAddressBits {
                    physical_address_bits,
                });
            }
        };
        let geometry = match Geometry::new(mode.index_bits(), leaf, output_bits) {
            Ok(geometry) => geometry,
            Err(error) => return Err(ModeError::Geometry(error)),
        };
        let (preset_accessed, preset_dirty) = match capabilities.accessed_dirty_tracking() {
            true => (0, 0),
            false => (ACCESSED, DIRTY),
        };
        let execute = match capabilities.execute_control() {
            ExecuteControl::Single => EXECUTE,
            ExecuteControl::BothModes | ExecuteControl::ByUser => EXECUTE | EXECUTE_USER,
        };
        Ok(Self {
            geometry,
            mode,
            capabilities,
            execute,
            preset_accessed,
            preset_dirty,
            absent: match capabilities.suppress_ve() {
                true => SUPPRESS_VE,
                false => 0,
            },
            address: ADDRESS & !(u64::MAX << output_bits),
        })
    }

    /// The mode.
    #[inline]
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The capabilities that the format was made for.
    #[inline]
    #[must_use]
    pub const fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    /// What the permissions of `flags` set, D included where it goes with writing.
    const fn permission_bits(&self, flags: MappingFlags) -> u64 {
        let access = flags.intersection(MappingFlags::ACCESS).bits() as u64;
        let user = (flags.intersection(MappingFlags::USER).bits() as u64) << SOFTWARE_SHIFT;
        let dirty = match flags.contains(MappingFlags::WRITE) {
            true => self.preset_dirty,
            false => 0,
        };
        access | user | dirty | self.user_execute_bit(flags)
    }

    const fn user_execute_bit(&self, flags: MappingFlags) -> u64 {
        let required = match self.capabilities.execute_control() {
            ExecuteControl::Single => return 0,
            ExecuteControl::BothModes => MappingFlags::EXECUTE,
            ExecuteControl::ByUser => MappingFlags::EXECUTE.union(MappingFlags::USER),
        };
        match flags.contains(required) {
            true => EXECUTE_USER,
            false => 0,
        }
    }

    /// Whether an entry, leaf or not, is present and neither its permissions nor its address are
    /// misconfigured.
    const fn is_accepted(&self, bits: u64) -> bool {
        let is_present = bits & (READ | WRITE | self.execute) != 0;
        let is_unreadable = bits & READ == 0;
        let may_be_unreadable = bits & WRITE == 0 && self.capabilities.execute_only();
        let is_too_wide = bits & ADDRESS & !self.address != 0;
        is_present && (!is_unreadable || may_be_unreadable) && !is_too_wide
    }

    fn decode_leaf(&self, level: Level, bits: u64) -> Option<Leaf> {
        let address = HostPhysAddr::new(bits & self.address);
        let may_be_leaf = level <= self.geometry.largest_leaf();
        if !may_be_leaf || !self.geometry.is_leaf_aligned(level, address) {
            return None;
        }
        let access = bits & (READ | WRITE);
        let user = (bits & SOFTWARE_USER) >> SOFTWARE_SHIFT;
        let execute = match bits & self.execute {
            0 => MappingFlags::empty(),
            _ => MappingFlags::EXECUTE,
        };
        let flags = MappingFlags::from_bits_truncate((access | user) as u32)
            .union(execute)
            .union(decode_memory_type(bits)?.flags());
        Some(Leaf { address, flags })
    }
}

/// The memory type of a leaf, or `None` for a reserved one.
const fn decode_memory_type(bits: u64) -> Option<MemoryType> {
    match (bits & MEMORY_TYPE) >> MEMORY_TYPE_SHIFT {
        TYPE_UC if bits & IGNORE_PAT != 0 => Some(MemoryType::Device),
        TYPE_UC | TYPE_WC => Some(MemoryType::Uncached),
        TYPE_WT | TYPE_WP | TYPE_WB => Some(MemoryType::WriteBack),
        _ => None,
    }
}

// SAFETY: the laws are tested for every mode, level, capability and flag (`tests`).
unsafe impl Format for Ept {
    #[inline]
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Nothing has to be broken first. Not-present entries are not cached, and a violation by a
    /// cached entry that allows less drops it. (SDM 3C, "Guidelines for Use of the INVEPT
    /// Instruction".)
    #[inline]
    fn rules(&self) -> UpdateRules {
        UpdateRules {
            break_before_make: false,
            fresh_needs_invalidation: false,
            raised_needs_invalidation: false,
            hardware_writes_entries: self.capabilities.accessed_dirty_tracking(),
        }
    }

    /// As the trait says. `EXECUTE` without `READ` needs a capability; `UNCACHED` is always possible.
    #[inline]
    fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError> {
        flags.validate()?;
        if !flags.contains(MappingFlags::READ) && !self.capabilities.execute_only() {
            return Err(FlagsError::ExecuteOnlyUnsupported { flags });
        }
        Ok(())
    }

    /// As the trait says. Without tracking the hardware ignores A and D; they are preset all the
    /// same, since memory that nobody watches has to count as used. What suppresses #VE in an absent entry
    /// does so in a leaf, for what the leaf forbids.
    #[inline]
    fn leaf_attributes(&self, level: Level, flags: MappingFlags) -> u64 {
        // By flags, which takes less code than by `MemoryType`.
        let memory_type = if flags.contains(MappingFlags::DEVICE) {
            DEVICE
        } else if flags.contains(MappingFlags::UNCACHED) {
            UNCACHED
        } else {
            WRITE_BACK
        };
        let once_more = flags.intersection(MappingFlags::MEMORY_TYPE).bits();
        let memory_type = memory_type | u64::from(once_more) << SOFTWARE_SHIFT;
        let large = match level {
            Level::PAGE_4K => 0,
            _ => LARGE,
        };
        self.permission_bits(flags) | memory_type | large | self.preset_accessed | self.absent
    }

    #[inline]
    fn absent(&self) -> u64 {
        self.absent
    }

    /// See the module `note`: no address stands where the processor speculates.
    #[inline]
    fn encode_note(&self, note: Note) -> u64 {
        note::encode(note, self.absent)
    }

    #[inline]
    fn decode_note(&self, bits: u64) -> Option<Note> {
        note::decode(bits)
    }

    #[inline]
    fn address_bits(&self, address: HostPhysAddr) -> u64 {
        address.as_u64()
    }

    /// Everything is allowed here, since permissions are the intersection over all levels; under MBEC
    /// that includes bit 10.
    #[inline]
    fn encode_table(&self, address: HostPhysAddr) -> u64 {
        self.address_bits(address) | READ | WRITE | self.execute
    }

    #[inline]
    fn decode(&self, level: Level, bits: u64) -> Entry {
        if !self.is_accepted(bits) {
            return Entry::Absent;
        }
        if level == Level::PAGE_4K || bits & LARGE != 0 {
            return self
                .decode_leaf(level, bits)
                .map_or(Entry::Absent, Entry::Leaf);
        }
        match bits & TABLE_RESERVED {
            0 => Entry::Table(HostPhysAddr::new(bits & self.address)),
            _ => Entry::Absent,
        }
    }

    /// The low byte of an entry tells a table, whose bit 7 is clear, from all others; and bits 2:0
    /// whether it is present, since what allows fetches in user mode allows them in supervisor mode.
    #[inline]
    fn decode_own(&self, level: Level, bits: u64) -> Entry {
        if level != Level::PAGE_4K && bits & 0xff == ACCESS {
            // Nothing stands above the address.
            return Entry::Table(HostPhysAddr::new(bits).align_down_4k());
        }
        match self.decode_own_leaf(level, bits) {
            Some(leaf) => Entry::Leaf(leaf),
            None => Entry::Absent,
        }
    }

    #[inline]
    fn decode_own_leaf(&self, _level: Level, bits: u64) -> Option<Leaf> {
        if bits & ACCESS == 0 {
            return None;
        }
        let address = HostPhysAddr::new(bits & self.address);
        let software = bits >> SOFTWARE_SHIFT & u64::from(SOFTWARE_FLAGS.bits());
        let flags = MappingFlags::from_bits_truncate((bits & ACCESS | software) as u32);
        Some(Leaf { address, flags })
    }

    #[inline]
    fn with_permissions(&self, _level: Level, bits: u64, flags: MappingFlags) -> u64 {
        bits & !PERMISSIONS | self.permission_bits(flags)
    }

    #[inline]
    fn split_leaf(&self, level: Level, bits: u64) -> u64 {
        match level {
            Level::PAGE_4K | Level::BLOCK_2M => bits & !LARGE,
            _ => bits,
        }
    }

    #[inline]
    fn is_accessed(&self, bits: u64) -> bool {
        bits & ACCESSED != 0
    }

    #[inline]
    fn with_accessed(&self, bits: u64) -> u64 {
        bits | ACCESSED
    }

    #[inline]
    fn is_dirty(&self, bits: u64) -> bool {
        bits & DIRTY != 0
    }

    #[inline]
    fn root_register(&self, root: HostPhysAddr, _vmid: u16) -> u64 {
        self.eptp(root)
    }

    /// Without [`large_executable_leaves`](Capabilities::large_executable_leaves), guests execute from
    /// leaves of 4 KiB only.
    #[inline]
    fn leaf_policy(&self) -> LeafPolicy {
        match self.capabilities.large_executable_leaves() {
            true => LeafPolicy::HARDWARE,
            false => LeafPolicy::HARDWARE.with_largest_executable(Level::PAGE_4K),
        }
    }

    /// By bit 10, under mode-based execute control.
    #[inline]
    fn restricts_user_execution(&self) -> bool {
        self.capabilities.execute_control() == ExecuteControl::ByUser
    }

    /// 16: the root tags the translations, so that any number will do.
    #[inline]
    fn vmid_bits(&self) -> u32 {
        16
    }
}

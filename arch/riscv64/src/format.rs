//! Encoding and decoding of entries.
#![expect(unsafe_code, reason = "vouches for the laws of `Format`")]

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags, MemoryType};
use nested_page_table::{Entry, Format, Geometry, Leaf, Level, UpdateRules};

use crate::bits::{
    ACCESS, ACCESSED, DIRTY, NAPOT, PBMT, PBMT_IO, PBMT_NC, PERMISSIONS, PPN, PPN_SHIFT, READ,
    RESERVED, SOFTWARE_DEVICE, SOFTWARE_USER, TABLE_RESERVED, USER_MODE, VALID, WRITE,
};
use crate::capabilities::Capabilities;
use crate::mode::{Mode, ModeError};

/// The PPN has 44 bits in every mode.
const OUTPUT_BITS: u8 = 56;
/// VMIDMAX. (Privileged Architecture 20250508, "Hypervisor Guest Address Translation and Protection
/// (hgatp) Register".)
const VMIDMAX: u32 = 14;

/// READ, WRITE and EXECUTE are R, W and X, one bit further up.
const ACCESS_SHIFT: u32 = 1;
const _: () = assert!((MappingFlags::ACCESS.bits() as u64) << ACCESS_SHIFT == ACCESS);
/// USER and DEVICE are the RSW bits.
const SOFTWARE_SHIFT: u32 = 5;
const SOFTWARE_FLAGS: MappingFlags = MappingFlags::USER.union(MappingFlags::DEVICE);
const _: () = {
    assert!((MappingFlags::USER.bits() as u64) << SOFTWARE_SHIFT == SOFTWARE_USER);
    assert!((MappingFlags::DEVICE.bits() as u64) << SOFTWARE_SHIFT == SOFTWARE_DEVICE);
};
/// UNCACHED is the lower bit of PBMT.
const UNCACHED_SHIFT: u32 = 56;
const _: () = assert!((MappingFlags::UNCACHED.bits() as u64) << UNCACHED_SHIFT == PBMT_NC);

/// The G-stage of one machine in one mode: the format of its tables, hgatp and the fences.
///
/// Everything that depends on the machine is resolved by [`new`](Self::new). Bits that make the
/// hardware fault on every access decode as absent: V clear, U clear, W without R, reserved bits,
/// a misaligned leaf, a pointer among the 4 KiB pages. At Sv57x4's root, a leaf decodes as one of
/// 256 TiB, as the hardware takes it, though the geometry's `largest_leaf` never lets one be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GStage {
    geometry: Geometry,
    mode: Mode,
    capabilities: Capabilities,
    leaf_template: u64,
    preset_dirty: u64,
    device: u64,
    uncached: u64,
    memory_type: u64,
    leaf_reserved: u64,
    /// All bits of a host address, for loops over leaves: a constant of 64 bits takes a register.
    address: u64,
}

impl GStage {
    /// The format of tables in `mode` on a machine with `capabilities`.
    ///
    /// # Errors
    ///
    /// - [`ModeError::Unsupported`]: the machine lacks the mode.
    /// - [`ModeError::VmidBits`]: the VMIDs of `capabilities` are wider than 14 bits.
    /// - [`ModeError::Geometry`]: never for the published modes.
    pub const fn new(mode: Mode, capabilities: Capabilities) -> Result<Self, ModeError> {
        let largest = capabilities.largest_mode();
        if mode.input_bits() > largest.input_bits() {
            return Err(ModeError::Unsupported { mode, largest });
        }
        let vmid_bits = capabilities.vmid_bits();
        if vmid_bits > VMIDMAX {
            return Err(ModeError::VmidBits { vmid_bits });
        }
        let geometry = match Geometry::new(mode.index_bits(), mode.largest_leaf(), OUTPUT_BITS) {
            Ok(geometry) => geometry,
            Err(error) => return Err(ModeError::Geometry(error)),
        };
        let (accessed, dirty) = match capabilities.accessed_dirty_tracking() {
            true => (0, 0),
            false => (ACCESSED, DIRTY),
        };
        let (device, uncached, memory_type, leaf_reserved) = match capabilities.svpbmt() {
            true => (PBMT_IO | SOFTWARE_DEVICE, PBMT_NC, PBMT, RESERVED | NAPOT),
            false => (SOFTWARE_DEVICE, 0, SOFTWARE_DEVICE, RESERVED | PBMT | NAPOT),
        };
        Ok(Self {
            geometry,
            mode,
            capabilities,
            leaf_template: VALID | USER_MODE | accessed,
            preset_dirty: dirty,
            device,
            uncached,
            memory_type,
            leaf_reserved,
            address: PPN >> PPN_SHIFT << 12,
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

    /// R, W, X and the mark, and D where it goes with W.
    const fn permission_bits(&self, flags: MappingFlags) -> u64 {
        let access = (flags.intersection(MappingFlags::ACCESS).bits() as u64) << ACCESS_SHIFT;
        let user = (flags.intersection(MappingFlags::USER).bits() as u64) << SOFTWARE_SHIFT;
        let dirty = match flags.contains(MappingFlags::WRITE) {
            true => self.preset_dirty,
            false => 0,
        };
        access | user | dirty
    }

    /// The memory type of a leaf, or `None` for the reserved PBMT.
    #[inline]
    const fn decode_memory_type(&self, bits: u64) -> Option<MemoryType> {
        let memory_type = bits & self.memory_type;
        if memory_type == 0 {
            Some(MemoryType::WriteBack)
        } else if memory_type == self.device & self.memory_type {
            Some(MemoryType::Device)
        } else if memory_type == self.uncached {
            Some(MemoryType::Uncached)
        } else {
            None
        }
    }

    fn decode_leaf(&self, level: Level, bits: u64) -> Option<Leaf> {
        let address = decode_address(bits);
        let faults = bits & self.leaf_reserved != 0
            || bits & USER_MODE == 0
            || bits & (READ | WRITE) == WRITE
            || !self.geometry.is_leaf_aligned(level, address);
        if faults {
            return None;
        }
        let flags = decode_permissions(bits).union(self.decode_memory_type(bits)?.flags());
        Some(Leaf { address, flags })
    }
}

#[inline]
fn decode_permissions(bits: u64) -> MappingFlags {
    let access = (bits & ACCESS) >> ACCESS_SHIFT;
    let user = (bits & SOFTWARE_USER) >> SOFTWARE_SHIFT;
    MappingFlags::from_bits_truncate((access | user) as u32)
}

#[inline]
const fn decode_address(bits: u64) -> HostPhysAddr {
    HostPhysAddr::new((bits & PPN) >> PPN_SHIFT << 12)
}

// SAFETY: the laws are tested for every mode, level, capability and flag (`tests`).
unsafe impl Format for GStage {
    #[inline]
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Nothing has to be broken first: an entry is replaced by one 64-bit store, and until the fence
    /// the old or the new one is used. (Privileged Architecture 20250508, "Supervisor
    /// Memory-Management Fence Instruction"; fresh entries: "Svvptc" Extension.)
    #[inline]
    fn rules(&self) -> UpdateRules {
        UpdateRules {
            break_before_make: false,
            fresh_needs_invalidation: !self.capabilities.svvptc(),
            raised_needs_invalidation: true,
            hardware_writes_entries: self.capabilities.accessed_dirty_tracking(),
        }
    }

    /// As the trait says. `EXECUTE` without `READ` is always possible; `UNCACHED` needs Svpbmt.
    #[inline]
    fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError> {
        flags.validate()?;
        if flags.contains(MappingFlags::UNCACHED) && !self.capabilities.svpbmt() {
            return Err(FlagsError::UncachedUnsupported { flags });
        }
        Ok(())
    }

    #[inline]
    fn leaf_attributes(&self, _level: Level, flags: MappingFlags) -> u64 {
        let memory_type = match flags.memory_type() {
            MemoryType::WriteBack => 0,
            MemoryType::Uncached => self.uncached,
            MemoryType::Device => self.device,
        };
        self.leaf_template | self.permission_bits(flags) | memory_type
    }

    #[inline]
    fn address_bits(&self, address: HostPhysAddr) -> u64 {
        address.as_u64() >> (12 - PPN_SHIFT)
    }

    #[inline]
    fn encode_table(&self, address: HostPhysAddr) -> u64 {
        self.address_bits(address) | VALID
    }

    #[inline]
    fn decode(&self, level: Level, bits: u64) -> Entry {
        if bits & VALID == 0 {
            return Entry::Absent;
        }
        if bits & ACCESS != 0 {
            return self
                .decode_leaf(level, bits)
                .map_or(Entry::Absent, Entry::Leaf);
        }
        if level == Level::PAGE_4K || bits & TABLE_RESERVED != 0 {
            return Entry::Absent;
        }
        Entry::Table(decode_address(bits))
    }

    /// The low byte of an entry tells a table, in which only V is set, from all others.
    #[inline]
    fn decode_own(&self, level: Level, bits: u64) -> Entry {
        if level != Level::PAGE_4K && bits & 0xff == VALID {
            // Nothing stands beside V and the PPN.
            let address = bits.wrapping_sub(VALID) << (12 - PPN_SHIFT);
            return Entry::Table(HostPhysAddr::new(address));
        }
        match self.decode_own_leaf(level, bits) {
            Some(leaf) => Entry::Leaf(leaf),
            None => Entry::Absent,
        }
    }

    #[inline]
    fn decode_own_leaf(&self, _level: Level, bits: u64) -> Option<Leaf> {
        if bits & VALID == 0 {
            return None;
        }
        let address = HostPhysAddr::new(bits << (12 - PPN_SHIFT) & self.address);
        let select = |shift: u32, flags: MappingFlags| bits >> shift & u64::from(flags.bits());
        let flags = select(ACCESS_SHIFT, MappingFlags::ACCESS)
            | select(SOFTWARE_SHIFT, SOFTWARE_FLAGS)
            | select(UNCACHED_SHIFT, MappingFlags::UNCACHED);
        let flags = MappingFlags::from_bits_truncate(flags as u32);
        Some(Leaf { address, flags })
    }

    #[inline]
    fn with_permissions(&self, _level: Level, bits: u64, flags: MappingFlags) -> u64 {
        bits & !PERMISSIONS | self.permission_bits(flags)
    }

    /// The same bits: leaves of all levels look alike.
    #[inline]
    fn split_leaf(&self, _level: Level, bits: u64) -> u64 {
        bits
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
    fn root_register(&self, root: HostPhysAddr, vmid: u16) -> u64 {
        self.hgatp(root, vmid)
    }

    #[inline]
    fn vmid_bits(&self) -> u32 {
        self.capabilities.vmid_bits()
    }
}

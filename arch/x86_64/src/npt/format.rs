//! Encoding and decoding of entries.
#![expect(unsafe_code, reason = "vouches for the laws of `Format`")]

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{Entry, Format, Geometry, Leaf, Level, Note, UpdateRules};

use crate::note;
use crate::npt::bits::{
    ACCESSED, ADDRESS, DIRTY, HIGH_TABLE_RESERVED, LARGE, NO_EXECUTE, PAT_INDEX, PAT_INDEX_SHIFT,
    PAT_LARGE, PAT_PAGE, PERMISSIONS, PRESENT, SOFTWARE_DEVICE, SOFTWARE_UNCACHED, SOFTWARE_USER,
    USER, WRITE,
};
use crate::npt::capabilities::Capabilities;
use crate::npt::mode::{Mode, ModeError};

const _: () = assert!(MappingFlags::WRITE.bits() as u64 == WRITE);
/// `EXECUTE` is bit 2, and what forbids it bit 63.
const NO_EXECUTE_SHIFT: u32 = 61;
const _: () = assert!((MappingFlags::EXECUTE.bits() as u64) << NO_EXECUTE_SHIFT == NO_EXECUTE);
/// USER, DEVICE and UNCACHED are software bits, in the order of the flags.
const SOFTWARE_SHIFT: u32 = 49;
const SOFTWARE_FLAGS: MappingFlags = MappingFlags::USER.union(MappingFlags::MEMORY_TYPE);
const _: () = {
    let bits = SOFTWARE_USER | SOFTWARE_DEVICE | SOFTWARE_UNCACHED;
    assert!((SOFTWARE_FLAGS.bits() as u64) << SOFTWARE_SHIFT == bits);
    assert!((MappingFlags::USER.bits() as u64) << SOFTWARE_SHIFT == SOFTWARE_USER);
    assert!((MappingFlags::DEVICE.bits() as u64) << SOFTWARE_SHIFT == SOFTWARE_DEVICE);
};

/// An entry that points to a table, without its address. Everything is allowed here, since permissions are the
/// intersection over all levels. A is preset, so that the hardware never writes the entry.
const TABLE: u64 = PRESENT | WRITE | USER | ACCESSED;

/// What tells a table from all else that this format makes: bit 7 of a leaf is 1, and an absent word has bit 0 clear.
const LOW_BYTE: u64 = 0xff;

/// AMD's nested paging on one machine in one mode: the format of its tables, nCR3, and what makes CPUs forget.
///
/// Everything that depends on the machine is resolved by [`new`](Self::new). Entries that the hardware refuses decode
/// as absent: those with a reserved bit, and those that only a supervisor may use, which no guest is. (APM vol. 2,
/// 15.25.5) Memory types that are never made decode as the nearest flag: WC as `UNCACHED`, WT and WP as write-back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Npt {
    geometry: Geometry,
    mode: Mode,
    capabilities: Capabilities,
    /// PWT and PCD of a leaf for a device.
    device: u64,
    /// PWT and PCD of an uncached leaf. A word that no leaf has, if the host's PAT has no such entry.
    uncached: u64,
    preset_accessed: u64,
    preset_dirty: u64,
    /// The address bits below the width of the processor.
    address: u64,
}

impl Npt {
    /// The format of tables in `mode` on a machine with `capabilities`.
    ///
    /// # Errors
    ///
    /// - [`ModeError::Unsupported`]: the host does not run in the mode.
    /// - [`ModeError::PhysicalAddressBits`]: the physical addresses of `capabilities` are narrower than 32 or wider
    ///   than 52 bits.
    /// - [`ModeError::LargestLeaf`]: the largest leaf of `capabilities` exceeds 1 GiB.
    /// - [`ModeError::Pat`]: entry 0 of the host's PAT is not WB, or none of entries 1 to 3 is UC.
    /// - [`ModeError::Geometry`]: never for the published modes.
    pub const fn new(mode: Mode, capabilities: Capabilities) -> Result<Self, ModeError> {
        if !capabilities.has_mode(mode) {
            return Err(ModeError::Unsupported { mode });
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
        let pat = capabilities.pat();
        let (Some(device), true) = (pat.device(), pat.begins_with_write_back()) else {
            return Err(ModeError::Pat { pat });
        };
        let uncached = match pat.uncached() {
            Some(index) => index << PAT_INDEX_SHIFT,
            None => u64::MAX,
        };
        let (preset_accessed, preset_dirty) = match capabilities.accessed_dirty_tracking() {
            true => (0, 0),
            false => (ACCESSED, DIRTY),
        };
        Ok(Self {
            geometry,
            mode,
            capabilities,
            device: device << PAT_INDEX_SHIFT,
            uncached,
            preset_accessed,
            preset_dirty,
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

    /// The VMCB's nCR3 (offset 0B0h) that makes `root`, a whole frame, the table of a guest. Only the bits of `root`
    /// below the width of the processor are used. PWT and PCD are 0: the hardware reads the root write-back. (APM
    /// vol. 2, 15.25.3; 5.3.2 "CR3")
    #[inline]
    #[must_use]
    pub const fn ncr3(&self, root: HostPhysAddr) -> u64 {
        root.as_u64() & self.address
    }

    /// What the permissions of `flags` set, D included where it goes with writing.
    const fn permission_bits(&self, flags: MappingFlags) -> u64 {
        let bits = flags.bits() as u64;
        let user = bits << SOFTWARE_SHIFT & SOFTWARE_USER;
        let no_execute = !bits << NO_EXECUTE_SHIFT & NO_EXECUTE;
        let dirty = match flags.contains(MappingFlags::WRITE) {
            true => self.preset_dirty,
            false => 0,
        };
        bits & WRITE | user | no_execute | dirty
    }

    /// What a leaf allows, and those of the flags `software` that stand in its software bits. Everything that is
    /// present can be read.
    const fn flags(bits: u64, software: MappingFlags) -> MappingFlags {
        let software = bits >> SOFTWARE_SHIFT & software.bits() as u64;
        let execute = (!bits & NO_EXECUTE) >> NO_EXECUTE_SHIFT;
        let flags = bits & WRITE | software | execute;
        MappingFlags::from_bits_truncate(flags as u32).union(MappingFlags::READ)
    }

    /// A leaf that the hardware may have been given by others: with any memory type, and maybe misaligned.
    fn decode_leaf(&self, level: Level, bits: u64) -> Option<Leaf> {
        let (pat_bit, address) = match level {
            Level::PAGE_4K => (PAT_PAGE, self.address),
            // The PAT bit took the place of an address bit that no aligned leaf has.
            _ => (PAT_LARGE, self.address & !PAT_LARGE),
        };
        let address = HostPhysAddr::new(bits & address);
        let may_be_leaf = level <= self.geometry.largest_leaf();
        if !may_be_leaf || !self.geometry.is_leaf_aligned(level, address) {
            return None;
        }
        let high = if bits & pat_bit == 0 { 0 } else { 4 };
        let index = (bits & PAT_INDEX) >> PAT_INDEX_SHIFT | high;
        let memory_type = self.capabilities.pat().memory_type(index);
        let flags = Self::flags(bits, MappingFlags::USER).union(memory_type.flags());
        Some(Leaf { address, flags })
    }
}

// SAFETY: the laws are tested for every mode, level, capability and flag (`tests`).
unsafe impl Format for Npt {
    #[inline]
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Nothing has to be broken first. A flush is asked for where something is taken away. (APM vol. 2, 15.16.1)
    #[inline]
    fn rules(&self) -> UpdateRules {
        UpdateRules {
            break_before_make: false,
            fresh_needs_invalidation: false,
            raised_needs_invalidation: false,
            hardware_writes_entries: self.capabilities.accessed_dirty_tracking(),
        }
    }

    /// As the trait says. `EXECUTE` without `READ` never exists; `UNCACHED` needs an entry UC- or WC among entries
    /// 1 to 3 of the host's PAT.
    #[inline]
    fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError> {
        flags.validate()?;
        if !flags.contains(MappingFlags::READ) {
            return Err(FlagsError::ExecuteOnlyUnsupported { flags });
        }
        if flags.contains(MappingFlags::UNCACHED) && self.uncached == u64::MAX {
            return Err(FlagsError::UncachedUnsupported { flags });
        }
        Ok(())
    }

    /// As the trait says. A and D are preset without tracking, so that the hardware need not set them.
    #[inline]
    fn leaf_attributes(&self, level: Level, flags: MappingFlags) -> u64 {
        let memory_type = if flags.contains(MappingFlags::DEVICE) {
            self.device
        } else if flags.contains(MappingFlags::UNCACHED) {
            self.uncached & PAT_INDEX
        } else {
            0
        };
        let once_more = flags.intersection(MappingFlags::MEMORY_TYPE).bits();
        let memory_type = memory_type | u64::from(once_more) << SOFTWARE_SHIFT;
        let large = match level {
            Level::PAGE_4K => 0,
            _ => LARGE,
        };
        let permissions = self.permission_bits(flags);
        PRESENT | USER | permissions | memory_type | large | self.preset_accessed
    }

    /// See the module `note`: no address stands where a processor might speculate.
    #[inline]
    fn encode_note(&self, note: Note) -> u64 {
        note::encode(note, self.absent())
    }

    #[inline]
    fn decode_note(&self, bits: u64) -> Option<Note> {
        note::decode(bits)
    }

    #[inline]
    fn address_bits(&self, address: HostPhysAddr) -> u64 {
        address.as_u64()
    }

    #[inline]
    fn encode_table(&self, address: HostPhysAddr) -> u64 {
        self.address_bits(address) | TABLE
    }

    #[inline]
    fn decode(&self, level: Level, bits: u64) -> Entry {
        let is_present = bits & PRESENT != 0 && bits & USER != 0;
        let is_too_wide = bits & ADDRESS & !self.address != 0;
        let is_reserved = level > Level::BLOCK_1G && bits & HIGH_TABLE_RESERVED != 0;
        if !is_present || is_too_wide || is_reserved {
            return Entry::Absent;
        }
        if level == Level::PAGE_4K || bits & LARGE != 0 {
            return self
                .decode_leaf(level, bits)
                .map_or(Entry::Absent, Entry::Leaf);
        }
        Entry::Table(HostPhysAddr::new(bits & self.address))
    }

    /// The low byte tells a table from all else, and bit 0 whether the entry is present.
    #[inline]
    fn decode_own(&self, level: Level, bits: u64) -> Entry {
        if level != Level::PAGE_4K && bits & LOW_BYTE == TABLE {
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
        if bits & PRESENT == 0 {
            return None;
        }
        let address = HostPhysAddr::new(bits & self.address);
        let flags = Self::flags(bits, SOFTWARE_FLAGS);
        Some(Leaf { address, flags })
    }

    #[inline]
    fn with_permissions(&self, _level: Level, bits: u64, flags: MappingFlags) -> u64 {
        bits & !PERMISSIONS | self.permission_bits(flags)
    }

    /// Bit 7 of a page would be the high bit of its PAT index, which is 0 in every leaf here.
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

    /// nCR3. The ASID stands elsewhere in the VMCB (offset 058h).
    #[inline]
    fn root_register(&self, root: HostPhysAddr, _vmid: u16) -> u64 {
        self.ncr3(root)
    }

    /// The width of an ASID, of which the processor has all: rounded down, and at most 16.
    #[inline]
    fn vmid_bits(&self) -> u32 {
        let bits = self.capabilities.asids().checked_ilog2();
        bits.unwrap_or(0).min(16)
    }
}

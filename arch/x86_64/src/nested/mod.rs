//! EPT or NPT, whichever the processor has: one type for both.
//!
//! A hypervisor that runs on Intel and AMD chooses once, at start, and has no generic parameter and no `enum` of its
//! own for it:
//!
//! ```
//! use nested_page_table::Format;
//! use nested_paging_x86_64::{Capabilities, Ept, Mode, Nested, Npt, npt};
//!
//! # let is_amd = true;
//! let format: Nested = match is_amd {
//!     true => Npt::new(npt::Mode::Npt4, npt::Capabilities::common())?.into(),
//!     false => Ept::new(Mode::Ept4, Capabilities::common())?.into(),
//! };
//! assert_eq!(format.geometry().levels(), 4);
//! # Ok::<(), Box<dyn core::error::Error>>(())
//! ```
//!
//! On the machine itself, [`Nested::detect`] makes the choice.
//!
//! What differs between the two is resolved into masks and small tables when the value is made, so it has about 700
//! bytes. Entries are then made and read without asking which format it is. What a page table contains is, bit for
//! bit, what [`Ept`] or [`Npt`] would have put there.
#![expect(
    unsafe_code,
    reason = "vouches for the laws of `Format`, and executes instructions"
)]

mod layout;

use guest_addr::HostPhysAddr;
use mapping_flags::{FlagsError, MappingFlags};
use nested_page_table::{
    Entry, Format, Geometry, Invalidation, Leaf, LeafPolicy, Level, Note, UpdateRules,
};

use self::layout::{Layout, Masks};
use crate::bits::{ACCESS, LARGE};
use crate::capabilities::Capabilities;
use crate::format::Ept;
use crate::instructions::Instruction;
use crate::mode::Mode;
use crate::npt::{self, Npt, TlbControl};
use crate::vm_fail::InstructionFailed;
use crate::{hardware, note};

/// Both have USER, DEVICE and UNCACHED in the same software bits.
const SOFTWARE_SHIFT: u32 = 49;
const SOFTWARE_FLAGS: MappingFlags = MappingFlags::USER.union(MappingFlags::MEMORY_TYPE);
/// From NX in bit 63 to `EXECUTE`, bit 2.
const NO_EXECUTE_SHIFT: u32 = 61;
const LOW_BYTE: u64 = 0xff;
// Both tell a table from a leaf by the low byte, an absent entry by its bits 2:0, and a leaf above the pages by bit 7.
const _: () = assert!(npt::LARGE == LARGE && (npt::PRESENT | npt::USER) & !ACCESS == 0);

/// The extensions for nested page tables that a processor has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extensions {
    pub(crate) ept: bool,
    pub(crate) npt: bool,
}

/// The format that the value stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Ept(Ept),
    Npt(Npt),
}

/// The format of EPT or NPT on one machine in one mode.
///
/// Made from an [`Ept`] or an [`Npt`]. A law that the tests hold it to: every word is that of the format that it was
/// made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nested {
    geometry: Geometry,
    hardware_writes_entries: bool,
    layout: Layout,
    origin: Origin,
}

/// What makes a CPU forget, under EPT or NPT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Flush {
    /// An instruction to execute on the CPU.
    Invept(Instruction),
    /// What the CPU's next VMRUN of the guest has to flush.
    TlbControl(TlbControl),
}

impl Nested {
    /// The format of this CPU: NPT in the mode of the host, or EPT with 4 levels; `None` if it has neither.
    ///
    /// For 5 levels of EPT, or for capabilities that are a choice of the hypervisor, make the [`Ept`] or [`Npt`]
    /// yourself.
    ///
    /// # Panics
    ///
    /// On a hosted operating system, and on other architectures.
    ///
    /// # Safety
    ///
    /// - The CPU is at privilege level 0.
    /// - CR4.LA57 and the PAT are as they will be at each VMRUN.
    #[must_use]
    pub unsafe fn detect() -> Option<Self> {
        // SAFETY: the CPU is at privilege level 0, says the caller.
        let extensions = unsafe { hardware::extensions() };
        if extensions.npt {
            // SAFETY: the processor has NPT; the rest is the caller's.
            let capabilities = unsafe { npt::Capabilities::detect() };
            let mut modes = npt::Mode::AUTO.iter().copied();
            let mode = modes.find(|&mode| capabilities.has_mode(mode))?;
            return Some(Npt::new(mode, capabilities).ok()?.into());
        }
        if extensions.ept {
            // SAFETY: the processor has EPT; the rest is the caller's.
            let capabilities = unsafe { Capabilities::detect() };
            return Some(Ept::new(Mode::Ept4, capabilities).ok()?.into());
        }
        None
    }

    /// The format, if it is EPT.
    #[inline]
    #[must_use]
    pub const fn as_ept(&self) -> Option<&Ept> {
        match &self.origin {
            Origin::Ept(ept) => Some(ept),
            Origin::Npt(_) => None,
        }
    }

    /// The format, if it is NPT.
    #[inline]
    #[must_use]
    pub const fn as_npt(&self) -> Option<&Npt> {
        match &self.origin {
            Origin::Ept(_) => None,
            Origin::Npt(npt) => Some(npt),
        }
    }

    /// What each CPU of the request's scope does to carry out `request`: one step or none. See
    /// [`Ept::instructions`] and [`Npt::tlb_control`].
    #[inline]
    pub fn instructions(&self, request: &Invalidation) -> impl Iterator<Item = Flush> {
        let flush = match &self.origin {
            Origin::Ept(ept) => ept.instructions(request).next().map(Flush::Invept),
            Origin::Npt(npt) => match npt.tlb_control(request) {
                TlbControl::Nothing => None,
                control => Some(Flush::TlbControl(control)),
            },
        };
        flush.into_iter()
    }

    /// Carries out `request` on this CPU: executes INVEPT, or hands `at_next_entry` what the next VMRUN of the guest
    /// on this CPU has to flush. Store that, joined by [`TlbControl::and`] to what is pending, and keep the
    /// protocol of [`npt`](crate::npt#invalidation).
    ///
    /// # Errors
    ///
    /// [`InstructionFailed`]: INVEPT failed; this CPU may still use the translations. See [`Ept::invalidate`].
    ///
    /// # Panics
    ///
    /// Under EPT, on a hosted operating system and on other architectures, unless the request needs no instruction.
    ///
    /// # Safety
    ///
    /// - Under EPT, the CPU is in VMX root operation at privilege level 0.
    #[inline]
    pub unsafe fn invalidate(
        &self,
        request: &Invalidation,
        mut at_next_entry: impl FnMut(TlbControl),
    ) -> Result<(), InstructionFailed> {
        for flush in self.instructions(request) {
            match flush {
                // SAFETY: the condition is the caller's.
                Flush::Invept(instruction) => unsafe { instruction.execute()? },
                Flush::TlbControl(control) => at_next_entry(control),
            }
        }
        Ok(())
    }
}

impl From<Ept> for Nested {
    fn from(ept: Ept) -> Self {
        Self {
            geometry: *ept.geometry(),
            hardware_writes_entries: ept.rules().hardware_writes_entries,
            layout: Layout::new(&ept, Masks::EPT),
            origin: Origin::Ept(ept),
        }
    }
}

impl From<Npt> for Nested {
    fn from(npt: Npt) -> Self {
        Self {
            geometry: *npt.geometry(),
            hardware_writes_entries: npt.rules().hardware_writes_entries,
            layout: Layout::new(&npt, Masks::NPT),
            origin: Origin::Npt(npt),
        }
    }
}

/// Evaluates `$body` with `$format` bound to the format that the value stands for: for what is not done for each entry.
macro_rules! with_origin {
    ($nested:expr, $format:ident => $body:expr) => {
        match &$nested.origin {
            Origin::Ept($format) => $body,
            Origin::Npt($format) => $body,
        }
    };
}

// SAFETY: `tests/nested.rs` holds every method to the one of `Ept` or `Npt`, which keep the laws.
unsafe impl Format for Nested {
    #[inline]
    fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Both ask for the same, but for what depends on tracking.
    #[inline]
    fn rules(&self) -> UpdateRules {
        UpdateRules {
            break_before_make: false,
            fresh_needs_invalidation: false,
            raised_needs_invalidation: false,
            hardware_writes_entries: self.hardware_writes_entries,
        }
    }

    #[inline]
    fn check_flags(&self, flags: MappingFlags) -> Result<(), FlagsError> {
        if self.layout.accepts(flags) {
            return Ok(());
        }
        with_origin!(self, format => format.check_flags(flags))
    }

    #[inline]
    fn leaf_attributes(&self, level: Level, flags: MappingFlags) -> u64 {
        let large = match level {
            Level::PAGE_4K => 0,
            _ => LARGE,
        };
        self.layout.leaf(flags) | large
    }

    #[inline]
    fn absent(&self) -> u64 {
        self.layout.absent
    }

    #[inline]
    fn encode_note(&self, note: Note) -> u64 {
        note::encode(note, self.layout.absent)
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
        self.address_bits(address) | self.layout.table
    }

    #[inline]
    fn decode(&self, level: Level, bits: u64) -> Entry {
        with_origin!(self, format => format.decode(level, bits))
    }

    #[inline]
    fn decode_own(&self, level: Level, bits: u64) -> Entry {
        let layout = &self.layout;
        if level != Level::PAGE_4K && bits & LOW_BYTE == layout.table & LOW_BYTE {
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
        let address = HostPhysAddr::new(bits & self.layout.address);
        // Under NPT bit 2, U/S, is always 1, and NX takes EXECUTE from it again; bit 0 is P, and so READ.
        let no_execute = (bits & self.layout.masks.no_execute) >> NO_EXECUTE_SHIFT;
        let software = bits >> SOFTWARE_SHIFT & u64::from(SOFTWARE_FLAGS.bits());
        let flags = bits & ACCESS ^ no_execute | software;
        let flags = MappingFlags::from_bits_truncate(flags as u32);
        Some(Leaf { address, flags })
    }

    #[inline]
    fn with_permissions(&self, _level: Level, bits: u64, flags: MappingFlags) -> u64 {
        self.layout.with_permissions(bits, flags)
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
        self.layout.state(bits) & 1 != 0
    }

    #[inline]
    fn with_accessed(&self, bits: u64) -> u64 {
        bits | 1 << (self.layout.masks.accessed_shift & 63)
    }

    #[inline]
    fn is_dirty(&self, bits: u64) -> bool {
        self.layout.state(bits) & 2 != 0
    }

    #[inline]
    fn root_register(&self, root: HostPhysAddr, _vmid: u16) -> u64 {
        self.layout.root_register(root)
    }

    #[inline]
    fn leaf_policy(&self) -> LeafPolicy {
        with_origin!(self, format => format.leaf_policy())
    }

    #[inline]
    fn restricts_user_execution(&self) -> bool {
        with_origin!(self, format => format.restricts_user_execution())
    }

    #[inline]
    fn vmid_bits(&self) -> u32 {
        with_origin!(self, format => format.vmid_bits())
    }
}

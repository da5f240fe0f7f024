//! The virtual-machine control structure. (SDM 3C, chapter "Virtual Machine Control Structures"; the
//! numbers of the fields: SDM 3D, appendix "Field Encoding in VMCS".)
#![expect(unsafe_code, reason = "VMX instructions")]

use core::arch::asm;

use super::cpu::{self, read_msr};

/// A field, under its number.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub(crate) enum Field {
    HostEsSelector = 0xc00,
    HostCsSelector = 0xc02,
    HostSsSelector = 0xc04,
    HostDsSelector = 0xc06,
    HostFsSelector = 0xc08,
    HostGsSelector = 0xc0a,
    HostTrSelector = 0xc0c,
    MsrBitmap = 0x2004,
    EptPointer = 0x201a,
    GuestPhysicalAddress = 0x2400,
    LinkPointer = 0x2800,
    GuestEfer = 0x2806,
    HostEfer = 0x2c02,
    PinControls = 0x4000,
    PrimaryControls = 0x4002,
    ExceptionBitmap = 0x4004,
    ExitControls = 0x400c,
    EntryControls = 0x4012,
    SecondaryControls = 0x401e,
    InstructionError = 0x4400,
    ExitReason = 0x4402,
    ExitInterruption = 0x4404,
    ExitQualification = 0x6400,
    Cr4Mask = 0x6002,
    GuestCr0 = 0x6800,
    GuestCr3 = 0x6802,
    GuestCr4 = 0x6804,
    GuestDr7 = 0x681a,
    GuestRip = 0x681e,
    GuestRflags = 0x6820,
    HostCr0 = 0x6c00,
    HostCr3 = 0x6c02,
    HostCr4 = 0x6c04,
    HostGdtrBase = 0x6c0c,
    HostIdtrBase = 0x6c0e,
    HostRsp = 0x6c14,
    HostRip = 0x6c16,
}

/// A segment register of the guest, in the order of their fields.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Segment {
    Es,
    Cs,
    Ss,
    Ds,
    Fs,
    Gs,
    Ldtr,
    Tr,
}

impl Segment {
    pub(crate) const ALL: [Self; 8] = [
        Self::Es,
        Self::Cs,
        Self::Ss,
        Self::Ds,
        Self::Fs,
        Self::Gs,
        Self::Ldtr,
        Self::Tr,
    ];

    /// Sets the limit and the access rights; selector and base stay 0.
    pub(crate) fn set(self, limit: u64, access_rights: u64) {
        write_number(0x4800 + 2 * self as u64, limit);
        write_number(0x4814 + 2 * self as u64, access_rights);
    }
}

/// A group of controls: its field, and the register that says which may be 0 and which may be 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Controls {
    field: Field,
    capabilities: u32,
}

impl Controls {
    pub(crate) const PIN: Self = Self::new(Field::PinControls, 0x48d);
    pub(crate) const PRIMARY: Self = Self::new(Field::PrimaryControls, 0x48e);
    pub(crate) const EXIT: Self = Self::new(Field::ExitControls, 0x48f);
    pub(crate) const ENTRY: Self = Self::new(Field::EntryControls, 0x490);
    pub(crate) const SECONDARY: Self = Self::new(Field::SecondaryControls, 0x48b);

    const fn new(field: Field, capabilities: u32) -> Self {
        Self {
            field,
            capabilities,
        }
    }

    /// Turns on `wanted` and what cannot be off. (SDM 3D, appendix "VMX Capability Reporting
    /// Facility".)
    pub(crate) fn set(self, wanted: u64) {
        // SAFETY: every processor with EPT has these registers.
        let capabilities = unsafe { read_msr(self.capabilities) };
        let (fixed, possible) = (capabilities & 0xffff_ffff, capabilities >> 32);
        let missing = wanted & !possible;
        assert!(
            missing == 0,
            "the processor lacks {missing:#x} of {self:x?}"
        );
        write(self.field, wanted | fixed);
    }
}

/// Makes the region at `region` the structure that fields are read from and written to.
///
/// # Safety
///
/// - The processor is in VMX root operation.
/// - The frame is a VMX region that nobody uses otherwise, and that stays.
pub(crate) unsafe fn load_new(region: u64) {
    let failed: u8;
    // SAFETY: the caller's.
    unsafe {
        asm!(
            "vmclear [{region}]", "vmptrld [{region}]", "setbe {failed}",
            region = in(reg) &raw const region, failed = out(reg_byte) failed, options(nostack),
        );
    }
    assert!(failed == 0, "the processor refuses the VMCS");
}

/// Reads a field.
pub(crate) fn read(field: Field) -> u64 {
    let value;
    // SAFETY: the instruction touches nothing but the structure.
    unsafe { asm!("vmread {}, {}", out(reg) value, in(reg) field as u64, options(nostack)) };
    value
}

/// Writes a field.
pub(crate) fn write(field: Field, value: u64) {
    write_number(field as u64, value);
}

fn write_number(field: u64, value: u64) {
    let failed: u8;
    // SAFETY: the instruction touches nothing but the structure; what the guest could do with its
    // contents, the EPT bounds.
    unsafe {
        asm!("vmwrite {}, {}", "setbe {}", in(reg) field, in(reg) value, out(reg_byte) failed, options(nostack));
    }
    assert!(failed == 0, "the VMCS has no field {field:#x}");
}

/// The part of the structure that says how the host goes on after an exit: as it is now, but at
/// `entry`.
pub(crate) fn set_host_state(entry: u64, efer: u64) {
    const CODE: u64 = 0x18;
    const DATA: u64 = 0x10;
    for data in [
        Field::HostEsSelector,
        Field::HostSsSelector,
        Field::HostDsSelector,
        Field::HostFsSelector,
        Field::HostGsSelector,
    ] {
        write(data, DATA);
    }
    write(Field::HostCsSelector, CODE);
    // It must not be 0. Nothing needs the segment itself: there are no privilege changes.
    write(Field::HostTrSelector, 0x20);
    write(Field::HostCr0, cpu::cr0());
    write(Field::HostCr3, cpu::cr3());
    write(Field::HostCr4, cpu::cr4());
    write(Field::HostEfer, efer);
    write(Field::HostGdtrBase, cpu::gdt());
    write(Field::HostIdtrBase, cpu::idt());
    write(Field::HostRip, entry);
}

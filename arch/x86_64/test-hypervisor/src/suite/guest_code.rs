//! What guests execute: a page with a routine for each action, a page of text, and page tables that
//! map guest-physical memory onto itself. They are mapped at [`ADDRESS`].
#![expect(unsafe_code, reason = "the code of guests, in assembly")]

use core::arch::global_asm;

use nested_paging::{GuestPhysAddr, HostPhysAddr, HostPhysRange};

/// Where guests find it.
pub(super) const ADDRESS: GuestPhysAddr = GuestPhysAddr::new(0x1_0000);
/// How much there is.
pub(super) const SIZE: u64 = 0xf000;
/// Where in it the text for the UART begins.
pub(super) const TEXT_OFFSET: u64 = 0x1000;
/// How long that text may be, with the zero at its end.
pub(super) const TEXT_SIZE: usize = 0x1000;
/// Where guests find the root of their page tables.
pub(super) const PAGE_TABLE: GuestPhysAddr = GuestPhysAddr::new(0x1_2000);
/// The addresses that the tables map: the first 8 GiB, the last before 512 GiB, and the last before
/// 1 TiB.
pub(super) const ADDRESS_BITS: u32 = 40;

unsafe extern "C" {
    static guest_code: u8;
    static guest_load: u8;
    static guest_store: u8;
    static guest_uart: u8;
}

// RDI is the address in all of them. Each ends with a call.
//
// The tables use pages of 2 MiB, which every processor has. Accessed and dirty bits are set, so that the
// tables need not be writable.
global_asm!(
    r#"
    .section .guest, "awx"
    .balign 4096
    .globl guest_code, guest_load, guest_store, guest_uart
guest_code:
guest_load:
    movq (%rdi), %rax
    vmcall
guest_store:
    movq %rax, (%rdi)
    vmcall
guest_uart:                         // rsi: the text, ebx: for the register
    movl ${console}, %edx
1:  lodsb
    testb %al, %al
    jz 2f
    outb %al, %dx
    jmp 1b
2:  movl %ebx, (%rdi)
    movl (%rdi), %eax
    vmcall

    .balign 4096
    .skip 4096                      // the text

    .set TABLE, 0x23                // present, writable, accessed
    .set PAGE, 0xe3                 // and dirty, 2 MiB
    .set tables, {tables}
root:
    .quad tables + 0x1000 + TABLE, tables + 0x2000 + TABLE
    .fill 510, 8, 0

    .set directory, tables + 0x3000
    .rept 8
        .quad directory + TABLE
        .set directory, directory + 0x1000
    .endr
    .fill 503, 8, 0
    .quad tables + 0xb000 + TABLE

    .fill 511, 8, 0
    .quad tables + 0xc000 + TABLE

    .macro map_gib number
        .set page, \number * 0x40000000
        .rept 512
            .quad page + PAGE
            .set page, page + 0x200000
        .endr
    .endm
    .set gib, 0
    .rept 8
        map_gib gib
        .set gib, gib + 1
    .endr
    map_gib 511
    map_gib 1023
    .text
    "#,
    console = const crate::hypervisor::console::PORT,
    tables = const PAGE_TABLE.as_u64(),
    options(att_syntax)
);

/// The routines.
#[derive(Clone, Copy, Debug)]
pub(super) enum Routine {
    Load,
    Store,
    Uart,
}

impl Routine {
    /// Where guests find it.
    pub(super) fn address(self) -> GuestPhysAddr {
        let routine = match self {
            Self::Load => &raw const guest_load,
            Self::Store => &raw const guest_store,
            Self::Uart => &raw const guest_uart,
        };
        let offset = routine as u64 - start().as_u64();
        GuestPhysAddr::new(ADDRESS.as_u64() + offset)
    }
}

/// Where it begins.
pub(super) fn start() -> HostPhysAddr {
    HostPhysAddr::new(&raw const guest_code as u64)
}

/// All of it, in host memory.
pub(super) fn range() -> HostPhysRange {
    HostPhysRange::from_start_size(start(), SIZE).unwrap_or_else(|error| panic!("{error}"))
}

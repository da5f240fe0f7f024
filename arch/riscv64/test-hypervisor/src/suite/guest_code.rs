//! What guests execute: one page, mapped at [`ADDRESS`], with a routine for each action.

#![expect(unsafe_code, reason = "the code of guests, in assembly")]

use core::arch::global_asm;

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, HostPhysAddr, HostPhysRange};

/// Where guests find the page.
pub(super) const ADDRESS: GuestPhysAddr = GuestPhysAddr::new(0x4000);
/// Where in the page the text for the UART begins.
pub(super) const TEXT_OFFSET: u64 = 0x800;
/// How long that text may be, with the zero at its end.
pub(super) const TEXT_SIZE: usize = 0x800;

unsafe extern "C" {
    static guest_code: u8;
    static guest_load: u8;
    static guest_store: u8;
    static guest_uart: u8;
    static guest_watch: u8;
}

// a1 is the address in all of them. Each ends with a call, but for the last, which goes on for ever.
global_asm!(
    r#"
    .section .guest, "awx"
    .balign 4096
    .option push
    .option norvc
    .globl guest_code, guest_load, guest_store, guest_uart, guest_watch
guest_code:
guest_load:
    ld a0, 0(a1)
    ecall
guest_store:
    sd a0, 0(a1)
    ecall
guest_uart:                     // a2: the text, a0: for the scratch register, 7
1:  lbu t0, 0(a2)
    beqz t0, 3f
2:  lbu t1, 5(a1)               // the line status: wait until the transmitter is empty
    andi t1, t1, 0x20
    beqz t1, 2b
    sb t0, 0(a1)
    addi a2, a2, 1
    j 1b
3:  sb a0, 7(a1)
    lbu a0, 7(a1)
    ecall
guest_watch:                    // a2: the counter
1:  ld t0, 0(a1)
    ld t1, 0(a2)
    addi t1, t1, 1
    sd t1, 0(a2)
    j 1b
    .balign 4096
    .option pop
    "#
);

/// The routines of the page.
#[derive(Clone, Copy, Debug)]
pub(super) enum Routine {
    Load,
    Store,
    Uart,
    Watch,
}

impl Routine {
    /// Where guests find it.
    pub(super) fn address(self) -> GuestPhysAddr {
        let routine = match self {
            Self::Load => &raw const guest_load,
            Self::Store => &raw const guest_store,
            Self::Uart => &raw const guest_uart,
            Self::Watch => &raw const guest_watch,
        };
        let offset = routine as u64 - page().as_u64();
        GuestPhysAddr::new(ADDRESS.as_u64() + offset)
    }
}

/// Where the page is.
pub(super) fn page() -> HostPhysAddr {
    HostPhysAddr::new(&raw const guest_code as u64)
}

/// All of it, in host memory.
pub(super) fn range() -> HostPhysRange {
    HostPhysRange::from_start_size(page(), PAGE_SIZE_4K).unwrap_or_else(|error| panic!("{error}"))
}

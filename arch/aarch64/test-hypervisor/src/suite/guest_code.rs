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

// x1 is the address in all of them. Each ends with a call, but for the last, which goes on for ever.
global_asm!(
    r#"
    .section .guest, "awx"
    .balign 4096
    .globl guest_code, guest_load, guest_store, guest_uart, guest_watch
guest_code:
guest_load:
    ldr x0, [x1]
    hvc #0
guest_store:
    str x0, [x1]
    hvc #0
guest_uart:                     // x2: the text, x0: for the baud rate register, 0x24
1:  ldrb w3, [x2], #1
    cbz w3, 3f
2:  ldr w4, [x1, #0x18]         // the flags: wait until there is room
    tbnz w4, #5, 2b
    str w3, [x1]
    b 1b
3:  str w0, [x1, #0x24]
    ldr w0, [x1, #0x24]
    hvc #0
guest_watch:                    // x2: the counter
1:  ldr x3, [x1]
    ldr x4, [x2]
    add x4, x4, #1
    str x4, [x2]
    b 1b
    .balign 4096
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

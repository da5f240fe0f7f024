//! From the first instruction to the first line of Rust.
#![expect(
    unsafe_code,
    reason = "the first instructions, and symbols of the linker script"
)]

use core::arch::global_asm;

use linked_list_allocator::LockedHeap;
use test_hypervisor_kit::{console as kit_console, println};

use super::{console, cpus, el2, platform, power};

const HEAP_SIZE: usize = 16 << 20;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

// CPTR_EL2 is written first of all, since compiled code uses floating-point registers.
global_asm!(
    r#"
    .section .text.entry, "ax"
    .globl _start
_start:
    msr spsel, #1
    adrp x0, boot_stack_top
    add x0, x0, :lo12:boot_stack_top
    mov sp, x0
    adrp x0, bss_start
    add x0, x0, :lo12:bss_start
    adrp x1, bss_end
    add x1, x1, :lo12:bss_end
1:  cmp x0, x1
    b.hs 2f
    stp xzr, xzr, [x0], #16
    b 1b
2:  mov x0, {no_traps}
    msr cptr_el2, x0
    isb
    bl boot_cpu

    .globl start_second_cpu
start_second_cpu:               // x0: the end of its stack
    msr spsel, #1
    mov sp, x0
    mov x0, {no_traps}
    msr cptr_el2, x0
    isb
    bl second_cpu
    "#,
    no_traps = const el2::CPTR_NO_TRAPS,
);

unsafe extern "C" {
    static image_end: u8;
}

/// Where the boot CPU arrives.
#[unsafe(no_mangle)]
extern "C" fn boot_cpu() -> ! {
    // SAFETY: QEMU starts the machine at EL2 with everything off.
    unsafe { el2::set_up() };
    kit_console::set_up(console::put);
    let heap = &raw const image_end as usize;
    // SAFETY: nothing is between the image and the end of RAM.
    unsafe { HEAP.lock().init(heap as *mut u8, HEAP_SIZE) };
    // SAFETY: what lies behind the heap is free.
    let platform = unsafe { platform::discover((heap + HEAP_SIZE) as u64) };
    cpus::start_second();
    println!("aarch64 hypervisor at EL2, {:?}", platform.capabilities);
    let mut words = platform.command_line.split_whitespace();
    power::exit(match words.any(|word| word == "guest") {
        true => crate::guests::run(platform),
        false => crate::suite::run(&platform.command_line),
    })
}

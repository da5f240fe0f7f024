//! From the firmware to the first line of Rust.
#![expect(
    unsafe_code,
    reason = "the first instructions, and symbols of the linker script"
)]

use core::arch::global_asm;

use linked_list_allocator::LockedHeap;
use test_hypervisor_kit::{console as kit_console, println};

use super::{console, cpus, platform, power};

const HEAP_SIZE: usize = 16 << 20;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

// The second hart can arrive at either entry. OpenSBI 1.1 (sbi_hsm_hart_start) marks a hart as starting
// before it writes where that hart starts. A hart that looks in between goes to the firmware's first address,
// which is `_start`. So the first hart at `_start` boots, any other is the second, and the second hart takes
// its stack from memory, not from a1.
global_asm!(
    r#"
    .section .text.entry, "ax"
    .globl _start
_start:                         // a0: this hart, a1: the device tree
    la t0, boot_has_begun
    li t1, 1
    .option push
    .option arch, +a            // the assembler does not know what the target has
    amoswap.w.aq t1, t1, (t0)
    .option pop
    bnez t1, start_second_hart
    la sp, boot_stack_top
    la t0, bss_start
    la t1, bss_end
1:  bgeu t0, t1, 2f
    sd zero, 0(t0)
    addi t0, t0, 8
    j 1b
2:  li t0, 1 << 13              // sstatus.FS: floating-point registers may be used
    csrs sstatus, t0
    call boot_hart

    .globl start_second_hart
start_second_hart:              // a0: this hart
    la t0, second_stack_top
1:  ld sp, 0(t0)
    beqz sp, 1b
    fence r, rw
    li t0, 1 << 13
    csrs sstatus, t0
    call second_hart

    .section .data              // not .bss, which the boot hart clears
    .globl second_stack_top
    .balign 8
second_stack_top: .dword 0
boot_has_begun: .word 0
    "#
);

unsafe extern "C" {
    static image_end: u8;
}

/// Where the boot hart arrives.
#[unsafe(no_mangle)]
extern "C" fn boot_hart(hart: u64, device_tree: u64) -> ! {
    kit_console::set_up(console::put);
    cpus::catch_traps();
    let heap = &raw const image_end as usize;
    // SAFETY: nothing is between the image and the device tree, which QEMU puts at the end of RAM.
    unsafe { HEAP.lock().init(heap as *mut u8, HEAP_SIZE) };
    // SAFETY: the firmware passed the device tree, what lies behind the heap is free, and no guest
    // has been made yet.
    let platform = unsafe { platform::discover(device_tree, (heap + HEAP_SIZE) as u64) };
    cpus::start_second(hart);
    println!(
        "riscv64 hypervisor on hart {hart}, {:?}",
        platform.capabilities
    );
    let mut words = platform.command_line.split_whitespace();
    power::exit(match words.any(|word| word == "guest") {
        true => crate::guests::run(platform),
        false => crate::suite::run(&platform.command_line),
    })
}

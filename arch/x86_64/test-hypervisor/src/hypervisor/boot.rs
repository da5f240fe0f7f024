//! From the reset vector to the first line of Rust. There is no firmware: the image is the ROM.
#![expect(
    unsafe_code,
    reason = "the first instructions, and symbols of the linker script"
)]

use core::arch::global_asm;

use linked_list_allocator::LockedHeap;
use test_hypervisor_kit::{console as kit_console, println};

use super::{console, platform, power, traps, vmx};

const HEAP_SIZE: usize = 16 << 20;

#[global_allocator]
static HEAP: LockedHeap = LockedHeap::empty();

// The processor begins in real mode at 0xfffffff0, with a code segment that begins at 0xffff0000. (SDM
// 3A, "First Instruction Executed".) The page tables, at 0x1000 to 0x6fff, map 4 GiB onto themselves.
global_asm!(
    r#"
    .section .reset, "ax"
    .set IMAGE_SIZE, 0x100000
    .set ROM, 0xffe00000                    // from the image in RAM to the image in ROM
    .code16
reset_page:
    lgdtl %cs:(0xf000 + gdt_pointer - reset_page)
    movl %cr0, %eax
    orl $1, %eax                            // PE
    movl %eax, %cr0
    ljmpl $0x08, $(protected_mode + ROM)

    .code32
protected_mode:
    movl $0x10, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $0x1000, %edi                      // PML4, PDPT, four page directories
    movl $(6 * 1024), %ecx
    xorl %eax, %eax
    cld
    rep stosl
    movl $0x2003, 0x1000
    movl $0x3003, 0x2000
    movl $0x4003, 0x2008
    movl $0x5003, 0x2010
    movl $0x6003, 0x2018
    movl $0x83, %eax                        // present, writable, 2 MiB
    movl $0x3000, %edi
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    jnc 1b
    movl $0x1000, %eax
    movl %eax, %cr3
    movl $0x20, %eax                        // PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx                  // IA32_EFER
    rdmsr
    orl $0x900, %eax                        // LME, NXE
    wrmsr
    movl $0x80000033, %eax                  // PG, NE, ET, MP, PE
    movl %eax, %cr0
    ljmpl $0x18, $(long_mode + ROM)

    .code64
long_mode:
    movl $(image_start + ROM), %esi
    movl $image_start, %edi
    movl $(IMAGE_SIZE / 8), %ecx
    rep movsq
    movl $bss_start, %edi
    movl $bss_end, %ecx
    subl %edi, %ecx
    xorl %eax, %eax
    rep stosb
    movl $boot_stack_top, %esp
    movl $boot_cpu, %eax
    call *%rax

    .balign 8
gdt:
    .quad 0
    .quad 0x00cf9b000000ffff                // 0x08: code, 32 bits
    .quad 0x00cf93000000ffff                // 0x10: data
    .quad 0x00af9b000000ffff                // 0x18: code, 64 bits
gdt_pointer:
    .word 4 * 8 - 1
    .long gdt + ROM

    .org 0xff0
    .code16
    .globl reset_vector
reset_vector:
    cli
    jmp reset_page
    .org 0x1000
    .code64
    .text
    "#,
    options(att_syntax)
);

unsafe extern "C" {
    static image_end: u8;
}

/// Where the processor arrives in Rust.
#[unsafe(no_mangle)]
extern "C" fn boot_cpu() -> ! {
    kit_console::set_up(console::put);
    let heap = &raw const image_end as usize;
    // SAFETY: nothing is in RAM behind the image.
    unsafe { HEAP.lock().init(heap as *mut u8, HEAP_SIZE) };
    traps::catch();
    // SAFETY: what lies behind the heap is free.
    let platform = unsafe { platform::discover((heap + HEAP_SIZE) as u64) };
    vmx::enable(&platform.frames);
    println!("x86_64 hypervisor, {:?}", platform.capabilities);
    power::exit(crate::suite::run(platform.command_line))
}

//! A guest: it begins in protected mode as a kernel that a boot loader has loaded, builds page tables of
//! its own, goes to 64-bit mode, and uses its RAM through them. It knows nothing of the hypervisor,
//! but that VMCALL with RAX = 0 is the power switch, and that text goes to a port.
#![expect(unsafe_code, reason = "the code of a guest, in assembly")]

use core::arch::global_asm;
use core::slice;

use nested_paging::GuestPhysAddr;

/// Where it wants to be loaded and entered.
pub(super) const ENTRY: GuestPhysAddr = GuestPhysAddr::new(0x10_0000);
/// How much RAM it wants, from address 0 on.
pub(super) const RAM_SIZE: u64 = 64 << 20;
/// How many pages it fills with data.
pub(super) const DATA_PAGES: u64 = 8192;
/// How many frames its page tables take: one PML4 and two of each other kind, but 16 of the lowest.
const TABLE_PAGES: u64 = 1 + 2 + 2 + 16;

unsafe extern "C" {
    static guest_program: u8;
    static guest_program_end: u8;
}

// RAM as the guest lays it out: its code at 1 MiB, its page tables at 2 MiB, its data from 16 to 48 MiB. The
// tables map all of it onto itself in pages of 2 MiB, and the data a second time at 512 GiB, in pages of
// 4 KiB and in reverse order.
global_asm!(
    r#"
    .section .rodata.guest_program, "a"
    .set TABLES, 0x200000
    .set IDENTITY_PDPT, TABLES + 0x1000
    .set IDENTITY_DIRECTORY, TABLES + 0x2000
    .set DATA_PDPT, TABLES + 0x3000
    .set DATA_DIRECTORY, TABLES + 0x4000
    .set DATA_TABLES, TABLES + 0x5000
    .set DATA, 0x1000000
    .set DATA_END, DATA + {data_pages} * 0x1000
    .set DATA_AT, 1 << 39

    .globl guest_program, guest_program_end
    .code32
guest_program:
    movl ${entry}, %esp
    movl $(in_protected_mode - guest_program + {entry}), %esi
    call print

    movl $TABLES, %edi
    movl $({table_pages} * 1024), %ecx
    xorl %eax, %eax
    cld
    rep stosl
    movl $(IDENTITY_PDPT + 3), TABLES       // 3: present, writable
    movl $(DATA_PDPT + 3), TABLES + 8
    movl $(IDENTITY_DIRECTORY + 3), IDENTITY_PDPT
    movl $(DATA_DIRECTORY + 3), DATA_PDPT
    movl $0x83, %eax                        // and 2 MiB
    movl $IDENTITY_DIRECTORY, %edi
1:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x200000, %eax
    cmpl $({ram_size} + 0x83), %eax
    jb 1b
    movl $(DATA_TABLES + 3), %eax
    movl $DATA_DIRECTORY, %edi
    movl $({data_pages} / 512), %ecx
2:  movl %eax, (%edi)
    addl $8, %edi
    addl $0x1000, %eax
    loop 2b
    movl $(DATA_END - 0x1000 + 3), %eax
    movl $DATA_TABLES, %edi
    movl ${data_pages}, %ecx
3:  movl %eax, (%edi)
    addl $8, %edi
    subl $0x1000, %eax
    loop 3b

    movl $TABLES, %eax
    movl %eax, %cr3
    movl %cr4, %eax
    orl $0x20, %eax                         // PAE
    movl %eax, %cr4
    movl $0xc0000080, %ecx                  // IA32_EFER
    rdmsr
    orl $0x100, %eax                        // LME
    wrmsr
    movl %cr0, %eax
    orl $0x80000000, %eax                   // PG
    movl %eax, %cr0
    lgdtl guest_gdt_pointer - guest_program + {entry}
    ljmpl $0x08, $(guest_long_mode - guest_program + {entry})

print:                                      // esi or rsi: the text. The code means the same in both modes.
    movw ${console}, %dx
4:  lodsb
    testb %al, %al
    jz 5f
    outb %al, %dx
    jmp 4b
5:  ret

    .code64
guest_long_mode:
    leaq in_long_mode(%rip), %rsi
    call print
    movabsq $DATA_AT, %rdi                  // each page gets its own address
    movl ${data_pages}, %ecx
6:  movq %rdi, (%rdi)
    addq $0x1000, %rdi
    loop 6b
    movabsq $DATA_AT, %rax                  // and is found at the other
    movl $(DATA_END - 0x1000), %edi
    movl ${data_pages}, %ecx
7:  cmpq %rax, (%rdi)
    jne 8f
    addq $0x1000, %rax
    subq $0x1000, %rdi
    loop 7b
    leaq data_is_right(%rip), %rsi
    call print
    xorl %eax, %eax
    vmcall
8:  leaq data_is_wrong(%rip), %rsi
    call print
    movl $1, %eax
    vmcall

    .balign 8
guest_gdt:
    .quad 0
    .quad 0x00af9b000000ffff                // 0x08: code, 64 bits
guest_gdt_pointer:
    .word 2 * 8 - 1
    .long guest_gdt - guest_program + {entry}
in_protected_mode:
    .asciz "guest: in protected mode, without paging\n"
in_long_mode:
    .asciz "guest: in 64-bit mode, under its own page tables\n"
data_is_right:
    .asciz "guest: every page of data is where it should be\n"
data_is_wrong:
    .asciz "guest: a page of data is not where it should be\n"
guest_program_end:
    .text
    "#,
    entry = const ENTRY.as_u64(),
    ram_size = const RAM_SIZE,
    data_pages = const DATA_PAGES,
    table_pages = const TABLE_PAGES,
    console = const crate::hypervisor::console::PORT,
    options(att_syntax)
);

/// The program, to be loaded at [`ENTRY`].
pub(super) fn image() -> &'static [u8] {
    let (start, end) = (&raw const guest_program, &raw const guest_program_end);
    // SAFETY: the assembly above is between the two.
    unsafe { slice::from_raw_parts(start, end as usize - start as usize) }
}

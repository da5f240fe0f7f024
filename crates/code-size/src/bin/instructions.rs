//! One function for each instruction of the target's backend, so that `cargo xtask encodings` can compare
//! their machine code with the manuals. It is not meant to run.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]

// The library has the panic handler.
#[cfg(target_os = "none")]
use code_size as _;

/// On a host there is nothing to do but to say what to do.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("This is for its machine code only. Try: cargo xtask encodings");
}

/// Defines functions whose names and arguments stay in the program, and an entry that keeps them there.
/// Bodies in the first list call unsafe functions; the program never runs.
#[cfg(target_os = "none")]
macro_rules! functions {
    (
        unsafe { $($name:ident($($argument:ident),*) $body:block)* }
        safe { $($safe_name:ident() $safe_body:block)* }
    ) => {
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $name($($argument: u64),*) {
                // SAFETY: the program never runs.
                unsafe { $body }
            }
        )*
        $(
            #[unsafe(no_mangle)]
            extern "C" fn $safe_name() $safe_body
        )*

        #[unsafe(no_mangle)]
        extern "C" fn _start() {
            $(core::hint::black_box($name as *const ());)*
            $(core::hint::black_box($safe_name as *const ());)*
        }
    };
}

#[cfg(all(target_os = "none", target_arch = "aarch64"))]
mod aarch64 {
    #![expect(unsafe_code, reason = "executes instructions")]

    use core::hint::black_box;

    use nested_page_table::{AddressSpaceId, Format, Invalidation, Scope};
    use nested_paging_aarch64::{Capabilities, Instruction, Mode, Stage2};

    functions! {
        unsafe {
            dsb_ishst() { Instruction::DsbIshst.execute() }
            dsb_nshst() { Instruction::DsbNshst.execute() }
            dsb_ish() { Instruction::DsbIsh.execute() }
            dsb_nsh() { Instruction::DsbNsh.execute() }
            isb() { Instruction::Isb.execute() }
            write_vtcr(value) { Instruction::WriteVtcr(value).execute() }
            write_vttbr(value) { Instruction::WriteVttbr(value).execute() }
            tlbi_ipas2e1is(xt) { Instruction::TlbiIpas2e1is(xt).execute() }
            tlbi_ipas2e1(xt) { Instruction::TlbiIpas2e1(xt).execute() }
            tlbi_ripas2e1is(xt) { Instruction::TlbiRipas2e1is(xt).execute() }
            tlbi_ripas2e1(xt) { Instruction::TlbiRipas2e1(xt).execute() }
            tlbi_vmalle1is() { Instruction::TlbiVmalle1is.execute() }
            tlbi_vmalle1() { Instruction::TlbiVmalle1.execute() }
            tlbi_vmalls12e1is() { Instruction::TlbiVmalls12e1is.execute() }
            tlbi_vmalls12e1() { Instruction::TlbiVmalls12e1.execute() }
            tlbi_vale2is(xt) { Instruction::TlbiVale2is(xt).execute() }
            detect() { black_box(&Capabilities::detect()); }
            invalidate(root_register) {
                let space = AddressSpaceId { vmid: 1, root_register };
                let request = Invalidation::everything(space, Scope::AllCpus);
                if let Ok(format) = Stage2::new(Mode::IPA40, Capabilities::common()) {
                    format.invalidate(&request);
                }
            }
        }
        safe {
            publish() {
                if let Ok(format) = Stage2::new(Mode::IPA40, Capabilities::common()) {
                    format.publish();
                }
            }
        }
    }
}

#[cfg(all(target_os = "none", target_arch = "riscv64"))]
mod riscv64 {
    #![expect(unsafe_code, reason = "executes instructions")]

    use core::hint::black_box;

    use nested_paging_riscv64::{Capabilities, Instruction, fence_i as execute_fence_i};

    functions! {
        unsafe {
            hfence_gvma_all() {
                Instruction::HfenceGvma { rs1: None, rs2: None }.execute();
            }
            hfence_gvma_vmid(vmid) {
                Instruction::HfenceGvma { rs1: None, rs2: Some(vmid) }.execute();
            }
            hfence_gvma_address(address) {
                Instruction::HfenceGvma { rs1: Some(address), rs2: None }.execute();
            }
            hfence_gvma_address_vmid(address, vmid) {
                Instruction::HfenceGvma { rs1: Some(address), rs2: Some(vmid) }.execute();
            }
            fence_i() { execute_fence_i() }
            detect() { black_box(&Capabilities::detect()); }
        }
        safe {}
    }
}

#[cfg(all(target_os = "none", target_arch = "x86_64"))]
mod x86_64 {
    #![expect(unsafe_code, reason = "executes instructions")]

    use core::hint::black_box;

    use nested_paging_x86_64::npt::{self, Invlpga};
    use nested_paging_x86_64::{Capabilities, Instruction, Nested};

    functions! {
        unsafe {
            invept_single(eptp) { black_box(&Instruction::InveptSingle { eptp }.execute()); }
            invept_all() { black_box(&Instruction::InveptAll.execute()); }
            detect() { black_box(&Capabilities::detect()); }
            invlpga(linear_address, asid) {
                let asid = asid as u32;
                Invlpga { linear_address, asid }.execute();
            }
            detect_npt() { black_box(&npt::Capabilities::detect()); }
            detect_either() { black_box(&Nested::detect()); }
        }
        safe {}
    }
}

#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]
#![cfg_attr(
    target_os = "none",
    expect(
        clippy::panic,
        reason = "a machine that cannot go on ends with a message"
    )
)]

#[cfg(all(target_os = "none", not(target_arch = "riscv64")))]
compile_error!("this hypervisor is for riscv64gc-unknown-none-elf");

#[cfg(target_os = "none")]
extern crate alloc;

#[cfg(target_os = "none")]
mod guests;
#[cfg(target_os = "none")]
mod hypervisor;
#[cfg(target_os = "none")]
mod suite;

/// On a host there is nothing to do but to say what to do.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("This runs on a bare machine. Try: cargo xtask machine riscv64");
}

#![doc = include_str!("../README.md")]
#![cfg_attr(target_os = "none", no_std, no_main)]
#![cfg_attr(
    target_os = "none",
    expect(
        clippy::panic,
        reason = "a machine that cannot go on says why, and ends"
    )
)]
#![deny(unsafe_code)]

#[cfg(all(target_os = "none", not(target_arch = "aarch64")))]
compile_error!("this hypervisor is for aarch64-unknown-none");

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
    println!("This runs on a bare machine. Try: cargo xtask machine aarch64");
}

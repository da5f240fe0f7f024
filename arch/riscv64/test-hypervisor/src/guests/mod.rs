//! Real guests: unmodified programs that believe they have the machine to themselves.
#![expect(unsafe_code, reason = "reads files that the emulator put into RAM")]

mod firmware;
mod harts;
mod virtual_hart;

use test_hypervisor_kit::{LoadedFiles, Options, RealGuest};

use crate::hypervisor::platform::Platform;
use crate::suite::Riscv64;
use virtual_hart::Harts;

/// Runs the guest whose files the command line names until it powers itself off; whether all was
/// well.
pub(crate) fn run(platform: &'static Platform) -> bool {
    let options = Options::parse(&platform.command_line).unwrap_or_default();
    // SAFETY: the emulator put the files into the arena, which nobody uses when there are no tests.
    let files = unsafe { LoadedFiles::new(&platform.command_line, platform.arena) };
    let guest = RealGuest {
        machine: &Riscv64::new(platform),
        mode: "sv39x4",
        files,
        leaf: options.leaf,
        sabotage: options.sabotage,
    };
    guest.run(Harts)
}

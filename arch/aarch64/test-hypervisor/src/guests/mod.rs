//! Real guests: unmodified programs that believe they have the machine to themselves.
#![expect(unsafe_code, reason = "reads files that the emulator put into RAM")]

mod firmware;
mod power;
mod virtual_cpu;

use test_hypervisor_kit::{LoadedFiles, Options, RealGuest};

use crate::hypervisor::platform::Platform;
use crate::suite::Aarch64;
use virtual_cpu::MachineCpus;

/// Runs the guest whose files the command line names until it powers itself off; whether all was
/// well.
pub(crate) fn run(platform: &'static Platform) -> bool {
    let options = Options::parse(&platform.command_line).unwrap_or_default();
    // SAFETY: the emulator put the files into the arena, which nobody uses when there are no tests.
    let files = unsafe { LoadedFiles::new(&platform.command_line, platform.arena) };
    let guest = RealGuest {
        machine: &Aarch64::new(platform),
        mode: "ipa40",
        files,
        leaf: options.leaf,
        sabotage: options.sabotage,
    };
    guest.run(MachineCpus)
}

//! The conformance suite on this machine.

mod deviations;
mod guest_code;
mod machine;
mod probe;

use test_hypervisor_kit::{Options, println};

use crate::hypervisor::platform::platform;
pub(crate) use machine::Riscv64;

/// Runs what the words of `command_line` ask for; whether nothing failed.
pub(crate) fn run(command_line: &str) -> bool {
    match Options::parse(command_line) {
        Ok(options) => test_hypervisor_kit::run(&Riscv64::new(platform()), &options),
        Err(word) => {
            println!("{word}: no number");
            false
        }
    }
}

//! The conformance suite on this machine.

mod deviations;
mod guest_code;
mod machine;
mod reference;

use test_hypervisor_kit::{Options, println};

use crate::hypervisor::platform::platform;
pub(crate) use machine::Aarch64;

/// Runs what the words of `command_line` ask for; whether nothing failed.
pub(crate) fn run(command_line: &str) -> bool {
    match Options::parse(command_line) {
        Ok(options) => test_hypervisor_kit::run(&Aarch64::new(platform()), &options),
        Err(word) => {
            println!("{word}: no number");
            false
        }
    }
}

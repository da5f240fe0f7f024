//! The pages that the cases open.

use std::fmt::Write;

use crate::common::{config, run};

/// The page of a configuration.
pub(crate) fn page(memory: &str, devices: &str) -> String {
    let options = ["--arch", "aarch64", "--format", "html"];
    run("plan", &config(memory, devices), &options).accepted()
}

/// A machine with a device that is moved, one that shares its page, an emulated one, and RAM of two kinds.
pub(crate) fn small() -> String {
    page(
        "[0x4000_0000, 0x4000_0000, 7, 1], [0x8000_0000, 0x4000_0000, 7, 0]",
        "passthrough_devices = [\n[\"uart\", 0x900_0000, 0x900_0000, 0x1000],\n\
         [\"disk\", 0xa00_0000, 0xa00_4000, 0x1000],\n[\"timer\", 0xb00_0000, 0xb00_0000, 0x100],\n]\n\
         emu_devices = [[\"gic\", 0x800_0000, 0x1_0000, 0, 1, []]]",
    )
}

/// Many devices, every third of them with a host address of its own.
pub(crate) fn many(count: u64) -> String {
    let mut rows = String::new();
    for n in 0..count {
        let gpa = 0x1_0000_0000 + n * 0x3000;
        let hpa = gpa + if n % 3 == 0 { 0x10_0000_0000 } else { 0 };
        writeln!(rows, "[\"device-{n}\", {gpa:#x}, {hpa:#x}, 0x1000],").unwrap();
    }
    page(
        "[0x8000_0000, 0x4000_0000, 7, 1]",
        &format!("passthrough_devices = [\n{rows}]"),
    )
}

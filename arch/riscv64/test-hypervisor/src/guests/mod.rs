//! Real guests: unmodified programs that believe they have the machine to themselves.
#![expect(unsafe_code, reason = "reads files that the emulator put into RAM")]

mod firmware;
mod machine;

use nested_paging::native::{GStage, Mode};
use test_hypervisor_kit::report::{Failure, failure};
use test_hypervisor_kit::{LoadedFiles, VmFile, println};

use crate::hypervisor::platform::Platform;
use machine::Machine;

/// Runs the guest whose files `command_line` names until it powers itself off; whether it did.
pub(crate) fn run(platform: &'static Platform) -> bool {
    match try_run(platform) {
        Ok(statistics) => println!("the guest powered off: {statistics}"),
        Err(ref reason) => {
            println!("the guest failed: {reason}");
            return false;
        }
    }
    true
}

fn try_run(platform: &'static Platform) -> Result<machine::Statistics, Failure> {
    // SAFETY: the emulator put the files into the arena, which nobody uses when there are no tests.
    let files = unsafe { LoadedFiles::new(&platform.command_line, platform.arena) };
    let text = core::str::from_utf8(files.get("vm")?);
    let text = text.map_err(|error| failure(format_args!("the VM file: {error}")))?;
    let file = VmFile::parse(text)?;
    let format = GStage::new(Mode::Sv39x4, platform.capabilities);
    let format = format.map_err(|error| failure(format_args!("{error}")))?;
    let mut machine = Machine::new(&file, format, platform)?;
    machine.load(file.kernel_load_addr, files.get("kernel")?)?;
    machine.load(file.dtb_load_addr, files.get("dtb")?)?;
    if let Some(address) = file.ramdisk_load_addr {
        machine.load(address, files.get("ramdisk")?)?;
    }
    machine.run(file.entry_point, file.dtb_load_addr)
}

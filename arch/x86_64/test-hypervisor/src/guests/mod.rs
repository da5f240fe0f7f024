//! A guest that has a machine to itself.

mod machine;
mod program;

use nested_paging::native::{Ept, Mode};
use nested_paging::{GuestPhysAddr, GuestPhysRange};
use test_hypervisor_kit::report::{Failure, failure};
use test_hypervisor_kit::{ensure, println};

use crate::hypervisor::platform::Platform;
use crate::hypervisor::vcpu::Vcpu;
use machine::Machine;

/// Runs the guest until it powers itself off.
pub(crate) fn run(platform: &'static Platform, vcpu: &mut Vcpu) -> Result<(), Failure> {
    let tracking = platform.has_accessed_dirty;
    let capabilities = platform.capabilities.with_accessed_dirty_tracking(tracking);
    let format = Ept::new(Mode::Ept4, capabilities);
    let format = format.map_err(|error| failure(format_args!("{error}")))?;
    let machine = Machine::new(format, platform, program::RAM_SIZE)?;
    machine.load(program::ENTRY, program::image())?;
    let statistics = machine.run(vcpu, program::ENTRY)?;
    println!("the guest powered off: {statistics}");
    let least = program::DATA_PAGES;
    let filled = statistics.filled;
    ensure!(
        filled >= least,
        "{filled} pages were filled, {least} are in use"
    );
    let identical = identical_leaves(&machine)?;
    ensure!(
        identical < filled / 100,
        "{identical} of {filled} pages are at their own address"
    );
    Ok(())
}

/// Leaves that lead to their own address: a few may by chance, but if most did, the tables could be left
/// out.
fn identical_leaves(machine: &Machine) -> Result<u64, Failure> {
    let ram = GuestPhysRange::from_start_size(GuestPhysAddr::ZERO, program::RAM_SIZE);
    let ram = ram.map_err(|error| failure(format_args!("{error}")))?;
    let mut identical = 0;
    machine.vm().visit(ram, |leaf| {
        identical += u64::from(leaf.guest.start().as_u64() == leaf.host.as_u64());
    });
    Ok(identical)
}

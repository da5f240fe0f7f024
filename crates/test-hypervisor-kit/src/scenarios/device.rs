//! A device that the guest drives itself.

use nested_paging::GuestPhysAddr;
use nested_paging::guest_vm::PassthroughRegion;

use super::{GIB_1, KIB_4, WINDOW};
use crate::ensure;
use crate::guest::Bench;
use crate::machine::Machine;
use crate::probe::{Action, Outcome, Way};
use crate::report::Failure;

/// What the guest writes to the UART. Whoever watches the console looks for it.
const TEXT: &str = "a guest drives this UART\n";

/// The guest finds the UART at another address than the host has it, writes to it, and writes and
/// reads back a register, without an exit before it is done.
pub(super) fn passthrough_uart<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let uart = bench.machine.uart();
    let base = GuestPhysAddr::new(WINDOW + GIB_1 - KIB_4);
    let guest = bench.guest_with(|config| {
        let region = PassthroughRegion::new("uart", base, uart.base, uart.size);
        config.passthrough_regions.push(region);
    })?;
    for mark in [0x5a, 0xc3] {
        let outcome = bench.machine.drive_uart(guest.space(), base, TEXT, mark);
        let expected = Outcome::Done(u64::from(mark));
        ensure!(outcome == expected, "the guest ended with: {outcome}");
        let found = bench.machine.uart_mark();
        ensure!(found == mark, "the UART has {found:#x}, not {mark:#x}");
    }
    let before = guest.ask(
        GuestPhysAddr::new(base.as_u64() - KIB_4),
        Action::Load,
        Way::Guest,
    )?;
    ensure!(before.is_none(), "the page before the UART is mapped");
    Ok(())
}

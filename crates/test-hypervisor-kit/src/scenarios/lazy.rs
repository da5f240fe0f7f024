//! Memory that is allocated, at once or when it is used.

use alloc::vec::Vec;

use nested_paging::guest_vm::{FaultOutcome, MapType, MemoryRegion, Population};
use nested_paging::{GuestPhysAddr, MappingFlags};

use super::{KIB_4, MIB_2, WINDOW};
use crate::ensure;
use crate::guest::{Bench, Guest, refused};
use crate::machine::Machine;
use crate::probe::{Action, Outcome, Probe, Way};
use crate::report::{Failure, failure};

const RAM: GuestPhysAddr = GuestPhysAddr::new(WINDOW);
const READ_ONLY: GuestPhysAddr = GuestPhysAddr::new(WINDOW + 16 * MIB_2);
const WORD: u64 = 0x0123_4567_89ab_cdef;

/// Every first access to a page faults once, and finds zeroes after.
pub(super) fn lazy_memory<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let guest = with_lazy_ram(bench)?;
    for page in [0, 1, 511, 512, 4095] {
        let address = GuestPhysAddr::new(WINDOW + page * KIB_4 + 8);
        let word = run(&guest, address, Action::Load, &[FaultOutcome::Filled])?;
        ensure!(word == 0, "{address} has {word:#x} before anybody wrote");
        run(&guest, address, Action::Store(WORD + page), &[])?;
        let word = run(&guest, address, Action::Load, &[])?;
        ensure!(word == WORD + page, "{address} has {word:#x}");
        let mut bytes = [0; 8];
        guest
            .vm
            .read_from_guest(address, &mut bytes)
            .map_err(refused)?;
        ensure!(
            bytes == (WORD + page).to_le_bytes(),
            "the host finds {bytes:x?} at {address}"
        );
        let leaf = guest.vm.translate(address);
        let moved = leaf.is_some_and(|leaf| leaf.host.as_u64() != leaf.guest.start().as_u64());
        ensure!(moved, "{address} is not translated: {leaf:?}");
    }
    Ok(())
}

/// What the machine makes of faults: filled once, spurious after, denied, not mapped.
pub(super) fn fault_outcomes<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let guest = with_lazy_ram(bench)?;
    let fault = |address, access| guest.vm.handle_page_fault(address, access).map_err(refused);
    let steps = [
        (RAM, MappingFlags::WRITE, FaultOutcome::Filled),
        (RAM, MappingFlags::WRITE, FaultOutcome::Spurious),
        (READ_ONLY, MappingFlags::WRITE, FaultOutcome::Denied),
        (READ_ONLY, MappingFlags::READ, FaultOutcome::Filled),
        (READ_ONLY, MappingFlags::WRITE, FaultOutcome::Denied),
        (
            GuestPhysAddr::ZERO,
            MappingFlags::READ,
            FaultOutcome::NotMapped,
        ),
    ];
    for (address, access, expected) in steps {
        let outcome = fault(address, access)?;
        ensure!(
            outcome == expected,
            "{access} at {address} is {outcome:?}, not {expected:?}"
        );
    }
    let denied = [FaultOutcome::Denied];
    let refused = run(&guest, READ_ONLY, Action::Store(WORD), &denied);
    ensure!(refused.is_err(), "the guest wrote to read-only memory");
    Ok(())
}

/// What the host writes the guest reads, and the reverse, across a page boundary.
pub(super) fn host_access<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let guest = with_lazy_ram(bench)?;
    let words: [u64; 4] = [WORD, !WORD, WORD << 1, 1];
    let start = GuestPhysAddr::new(WINDOW + KIB_4 - 16);
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    guest.vm.write_to_guest(start, &bytes).map_err(refused)?;
    for (address, word) in (start.as_u64()..).step_by(8).zip(words) {
        let found = run(&guest, GuestPhysAddr::new(address), Action::Load, &[])?;
        ensure!(found == word, "the guest finds {found:#x} at {address:#x}");
    }
    Ok(())
}

/// A machine with 8 MiB of RAM and a read-only page, all of it absent until it is used.
fn with_lazy_ram<'m, M: Machine>(bench: &Bench<'m, M>) -> Result<Guest<'m, M>, Failure> {
    bench.guest_with(|config| {
        let ram = MemoryRegion::new("ram", RAM, 16 * MIB_2, 0x7, MapType::Alloc);
        let rom = MemoryRegion::new("rom", READ_ONLY, KIB_4, 0x1, MapType::Alloc);
        config.memory_regions = [ram, rom]
            .map(|region| region.with_population(Population::ON_FIRST_USE))
            .to_vec();
    })
}

/// Has the guest do `action`, and handles the faults on the way, which have to end as `expected`.
fn run<M: Machine>(
    guest: &Guest<'_, M>,
    address: GuestPhysAddr,
    action: Action,
    expected: &[FaultOutcome],
) -> Result<u64, Failure> {
    let probe = Probe {
        address,
        action,
        way: Way::Guest,
    };
    for expected in expected {
        let Outcome::Fault(fault) = guest.machine.probe(guest.space(), probe) else {
            return Err(failure(format_args!("{probe} did not fault")));
        };
        ensure!(
            fault.address == address,
            "{probe} is reported at {}",
            fault.address
        );
        let outcome = guest.vm.handle_page_fault(fault.address, action.flag());
        let outcome = outcome.map_err(refused)?;
        ensure!(
            outcome == *expected,
            "{probe}: {outcome:?}, not {expected:?}"
        );
    }
    match guest.machine.probe(guest.space(), probe) {
        Outcome::Done(word) => Ok(word),
        other => Err(failure(format_args!("{probe}: {other}"))),
    }
}

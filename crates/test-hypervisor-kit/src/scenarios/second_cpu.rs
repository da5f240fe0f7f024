//! Changes under a guest that runs on another CPU.

use nested_paging::guest_addr::GuestPhysAddr;
use nested_paging::nested_page_table::{Invalidation, Scope};
use nested_paging::{MappingFlags, VmHal};
use reference_mmu::PhysicalMemory;

use super::{KIB_4, WINDOW, arena};
use crate::ensure;
use crate::guest::{Bench, Guest, refused};
use crate::machine::Machine;
use crate::probe::Outcome;
use crate::report::Failure;
use crate::test_hal::withhold_from_others;

const WATCHED: u64 = WINDOW;
const COUNTER: u64 = WINDOW + 8 * KIB_4;
/// How long a CPU may take for anything, in microseconds.
const LIMIT: u64 = 2_000_000;
/// How long a CPU that has not been told of a change is watched, in microseconds.
const STALE: u64 = 20_000;

/// When the page is unmapped, the other CPU has stopped using it.
pub(super) fn unmap<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    change(bench, |guest| guest.unmap(WATCHED, KIB_4))
}

/// When the page may not be read any more, the other CPU has stopped reading it.
pub(super) fn protect<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    if !bench.accepts(MappingFlags::EXECUTE) {
        return Ok(());
    }
    change(bench, |guest| {
        guest.protect(WATCHED, KIB_4, MappingFlags::EXECUTE)
    })
}

fn change<M: Machine>(
    bench: &Bench<'_, M>,
    change: impl FnOnce(&Guest<'_, M>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let guest = bench.guest()?;
    if !start(bench, &guest)? {
        return Ok(());
    }
    change(&guest)?;
    // From here on no load may succeed. The one that was under way may still be counted.
    let before = count(bench);
    expect_fault(bench)?;
    let more = count(bench).wrapping_sub(before);
    ensure!(more <= 1, "the other CPU used the page {more} times more");
    Ok(())
}

/// The same without telling the other CPU: it goes on, which shows that the tests above can fail.
pub(super) fn not_without_invalidation<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    let guest = bench.guest()?;
    if !start(bench, &guest)? {
        return Ok(());
    }
    withhold_from_others(true);
    let unmapped = guest.unmap(WATCHED, KIB_4);
    withhold_from_others(false);
    unmapped?;
    let before = count(bench);
    bench.machine.wait(STALE);
    // On a busy host the emulator may not have run the other CPU meanwhile.
    wait_until(bench, || count(bench).wrapping_sub(before) > 10);
    let more = count(bench).wrapping_sub(before);
    let stopped = bench.machine.watcher_outcome();
    let everything = Invalidation::everything(guest.space(), Scope::AllCpus);
    let forgotten = guest.hal.invalidate(&everything);
    ensure!(forgotten.is_ok(), "the invalidation failed");
    expect_fault(bench)?;
    ensure!(
        more > 10 && stopped.is_none(),
        "the other CPU stopped by itself after {more} accesses: {stopped:?}"
    );
    Ok(())
}

/// Starts the guest on the other CPU and waits until it has used the page.
fn start<M: Machine>(bench: &Bench<'_, M>, guest: &Guest<'_, M>) -> Result<bool, Failure> {
    let flags = MappingFlags::READ_WRITE;
    guest.map(WATCHED, arena(bench, 0), KIB_4, flags)?;
    let (watched, counter) = (GuestPhysAddr::new(WATCHED), GuestPhysAddr::new(COUNTER));
    let counted = arena(bench, 8 * KIB_4);
    let mapped = guest.vm.map_region(counter, counted, KIB_4, flags);
    mapped.map_err(refused)?;
    let before = count(bench);
    if !bench.machine.start_watcher(guest.space(), watched, counter) {
        return Ok(false);
    }
    let counts = wait_until(bench, || count(bench).wrapping_sub(before) > 10);
    let stopped = bench.machine.watcher_outcome();
    ensure!(counts, "the other CPU does not count: {stopped:?}");
    Ok(true)
}

fn expect_fault<M: Machine>(bench: &Bench<'_, M>) -> Result<(), Failure> {
    wait_until(bench, || bench.machine.watcher_outcome().is_some());
    let outcome = bench.machine.watcher_outcome();
    let faulted =
        matches!(outcome, Some(Outcome::Fault(fault)) if fault.address.as_u64() == WATCHED);
    ensure!(
        faulted,
        "the other CPU goes on, or ended otherwise: {outcome:x?}"
    );
    Ok(())
}

fn wait_until<M: Machine>(bench: &Bench<'_, M>, condition: impl Fn() -> bool) -> bool {
    (0..LIMIT / 100).any(|_| {
        let holds = condition();
        if !holds {
            bench.machine.wait(100);
        }
        holds
    })
}

/// What the guest has counted.
fn count<M: Machine>(bench: &Bench<'_, M>) -> u64 {
    let counter = arena(bench, 8 * KIB_4);
    bench.machine.memory().read(counter).unwrap_or_default()
}

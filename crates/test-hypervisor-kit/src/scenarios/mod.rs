//! What every machine has to do in every mode.

mod access;
mod attributes;
mod change;
mod device;
mod lazy;
mod second_cpu;
mod sizes;

use nested_paging::HostPhysAddr;

use crate::ensure;
use crate::guest::Bench;
use crate::machine::Machine;
use crate::report::{Failure, Report};

pub(crate) const KIB_4: u64 = 0x1000;
pub(crate) const MIB_2: u64 = 0x20_0000;
pub(crate) const GIB_1: u64 = 0x4000_0000;

/// Where scenarios map: every mode has it, and nothing else is there.
pub(crate) const WINDOW: u64 = 4 * GIB_1;

type Scenario<M> = fn(&Bench<'_, M>) -> Result<(), Failure>;

/// Runs every scenario in one mode. Each has to give back every frame that it took.
pub(crate) fn run<M: Machine>(bench: &Bench<'_, M>, report: &mut Report<'_>) {
    let scenarios: &[(&str, Scenario<M>)] = &[
        ("unmapped", access::unmapped),
        ("permissions", access::permissions),
        ("page_sizes", sizes::page_sizes),
        ("largest_leaf", sizes::largest_leaf),
        ("last_page", sizes::last_page),
        ("beyond_the_width", sizes::beyond_the_width),
        ("memory_types", attributes::memory_types),
        ("split_by_unmap", change::split_by_unmap),
        ("split_by_protect", change::split_by_protect),
        ("split_keeps_memory_type", change::split_keeps_memory_type),
        ("remap", change::remap),
        ("permissions_taken_and_given", change::permissions),
        ("passthrough_uart", device::passthrough_uart),
        ("lazy_memory", lazy::lazy_memory),
        ("fault_outcomes", lazy::fault_outcomes),
        ("host_access", lazy::host_access),
    ];
    let with_second_cpu: &[(&str, Scenario<M>)] = &[
        ("unmap_under_a_running_guest", second_cpu::unmap),
        ("protect_under_a_running_guest", second_cpu::protect),
        (
            "not_without_invalidation",
            second_cpu::not_without_invalidation,
        ),
    ];
    let with_second_cpu = match M::HAS_SECOND_CPU {
        true => with_second_cpu,
        false => &[],
    };
    for (name, scenario) in scenarios.iter().chain(with_second_cpu) {
        report.test(format_args!("{}::{name}", bench.mode.name), || {
            let before = bench.machine.frames().frames_out();
            scenario(bench)?;
            let after = bench.machine.frames().frames_out();
            ensure!(before == after, "{before} frames were out, now {after} are");
            Ok(())
        });
    }
}

/// The byte at `offset` of the arena.
pub(crate) fn arena<M: Machine>(bench: &Bench<'_, M>, offset: u64) -> HostPhysAddr {
    let start = bench.machine.arena().start().as_u64();
    HostPhysAddr::new(start.wrapping_add(offset))
}

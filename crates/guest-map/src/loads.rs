//! Whether there is RAM where a kernel and what comes with it are loaded.

use std::fs;
use std::path::Path;

use guest_addr::{GuestPhysAddr, GuestPhysRange};

use crate::config::Load;
use crate::problem::Problem;
use crate::session::Machine;

/// What lies somewhere else than in RAM, and what overlaps. A file that is not there has one byte.
pub(crate) fn check_loads(machine: &Machine<'_>) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut images: Vec<(&Load, GuestPhysRange)> = Vec::new();
    for load in &machine.planned.config.loads {
        let size = load
            .path
            .as_deref()
            .map_or(1, |path| size_of(machine, path));
        let start = GuestPhysAddr::new(load.address);
        let Ok(bytes) = GuestPhysRange::from_start_size(start, size) else {
            let text = format!(
                "[kernel] {}: {size:#x} bytes at {start} run past 2^64",
                load.key
            );
            problems.push(machine.problem_at(load.offset, text));
            continue;
        };
        if let Some(outside) = first_outside_ram(machine, bytes) {
            let text = format!(
                "[kernel] {} {bytes}: no memory_regions row has RAM at guest {outside}",
                load.key
            );
            problems.push(machine.problem_at(load.offset, text));
        }
        if load.key != "entry_point" {
            images.push((load, bytes));
        }
    }
    for (position, (second, bytes)) in images.iter().enumerate() {
        let earlier = images.iter().take(position);
        for (first, others) in earlier.filter(|(_, others)| others.overlaps(bytes)) {
            let text = format!(
                "[kernel] {} {bytes} overlaps {} {others}: move one",
                second.key, first.key
            );
            problems.push(machine.problem_at(second.offset, text));
        }
    }
    problems
}

/// The size of a file as the configuration names it, or beside the configuration.
fn size_of(machine: &Machine<'_>, path: &str) -> u64 {
    let beside = Path::new(machine.file).with_file_name("").join(path);
    let found = fs::metadata(path).or_else(|_| fs::metadata(beside));
    let found = found.ok().filter(fs::Metadata::is_file);
    found.map_or(1, |file| file.len().max(1))
}

fn first_outside_ram(machine: &Machine<'_>, bytes: GuestPhysRange) -> Option<GuestPhysAddr> {
    let mut next = bytes.start();
    // Mappings come by ascending address, so that one pass follows the bytes from one to the next.
    for mapping in machine.planned.plan.mappings() {
        let guest = mapping.guest();
        if mapping.kind().is_ram() && guest.contains(next) {
            next = guest.end().filter(|end| *end <= bytes.last())?;
        }
    }
    Some(next)
}

//! Everything, in order.

use crate::deviation;
use crate::differential;
use crate::guest::Bench;
use crate::machine::Machine;
use crate::options::Options;
use crate::report::Report;
use crate::scenarios;

/// Runs every scenario and the differential run in every mode of `machine`, and prints the outcome;
/// whether nothing failed.
#[must_use]
pub fn run<M: Machine>(machine: &M, options: &Options<'_>) -> bool {
    let mut report = Report::new(options.only);
    for mode in machine.modes() {
        machine.begin(&mode);
        let bench = Bench {
            machine,
            mode,
            sabotage: options.sabotage,
        };
        scenarios::run(&bench, &mut report);
        differential::run(&bench, options, &mut report);
    }
    machine.own_tests(&mut report);
    deviation::report(machine.deviations());
    report.finish()
}

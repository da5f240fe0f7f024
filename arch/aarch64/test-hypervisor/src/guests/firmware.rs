//! The firmware that a guest finds behind HVC: as much of PSCI as its CPUs need. (Arm Power State
//! Coordination Interface, DEN 0022E, chapter 5.)

use test_hypervisor_kit::Event;

use super::power::{self, Refused, Start};
use crate::hypervisor::vcpu::Vcpu;

const VERSION: u64 = 0x8400_0000;
const CPU_OFF: u64 = 0x8400_0002;
/// CPU_ON and AFFINITY_INFO of AArch64 callers, whose parameters have 64 bits.
const CPU_ON: u64 = 0xc400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;
const FEATURES: u64 = 0x8400_000a;

/// Major version in bits 31:16, minor version below.
const VERSION_1_1: u64 = 1 << 16 | 1;
const SUCCESS: u64 = 0;
const NOT_SUPPORTED: u64 = (-1_i64) as u64;
const INVALID_PARAMETERS: u64 = (-2_i64) as u64;
const ALREADY_ON: u64 = (-4_i64) as u64;

/// Answers the call that `vcpu` has just made. It goes on behind the HVC.
pub(super) fn call(vcpu: &mut Vcpu) -> Event {
    // A function is a number of 32 bits. (Arm SMC Calling Convention, DEN 0028, "Register use".)
    let function = |register: u64| register & 0xffff_ffff;
    vcpu.x[0] = match function(vcpu.x[0]) {
        VERSION => VERSION_1_1,
        FEATURES => features(function(vcpu.x[1])),
        CPU_ON => start(vcpu),
        CPU_OFF => {
            power::stop();
            return Event::Call;
        }
        AFFINITY_INFO => power::state(vcpu.x[1]).unwrap_or(INVALID_PARAMETERS),
        SYSTEM_OFF => return Event::PowerOff,
        SYSTEM_RESET => return Event::Reset,
        _ => NOT_SUPPORTED,
    };
    Event::Call
}

/// 0 for a function that is there.
const fn features(function: u64) -> u64 {
    match function {
        VERSION | FEATURES | CPU_ON | CPU_OFF | AFFINITY_INFO | SYSTEM_OFF | SYSTEM_RESET => 0,
        _ => NOT_SUPPORTED,
    }
}

fn start(vcpu: &Vcpu) -> u64 {
    let start = Start {
        pc: vcpu.x[2],
        context: vcpu.x[3],
    };
    match power::start(vcpu.x[1], start) {
        Ok(()) => SUCCESS,
        Err(Refused::NoSuchCpu) => INVALID_PARAMETERS,
        Err(Refused::IsOn) => ALREADY_ON,
    }
}

//! The firmware that a guest finds behind HVC: as much of PSCI as one CPU needs. (Arm Power State
//! Coordination Interface, DEN 0022E, chapter 5.)

use test_hypervisor_kit::Event;

use crate::hypervisor::vcpu::Vcpu;

const VERSION: u64 = 0x8400_0000;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;
const FEATURES: u64 = 0x8400_000a;

/// Major version in bits 31:16, minor version below.
const VERSION_1_1: u64 = 1 << 16 | 1;
const NOT_SUPPORTED: u64 = (-1_i64) as u64;

/// Answers the call that `vcpu` has just made. It goes on behind the HVC.
pub(super) fn call(vcpu: &mut Vcpu) -> Event {
    // A function is a number of 32 bits. (Arm SMC Calling Convention, DEN 0028, "Register use".)
    let function = |register: u64| register & 0xffff_ffff;
    vcpu.x[0] = match function(vcpu.x[0]) {
        VERSION => VERSION_1_1,
        FEATURES => features(function(vcpu.x[1])),
        SYSTEM_OFF => return Event::PowerOff,
        SYSTEM_RESET => return Event::Reset,
        _ => NOT_SUPPORTED,
    };
    Event::Call
}

/// 0 for a function that is there.
const fn features(function: u64) -> u64 {
    match function {
        VERSION | FEATURES | SYSTEM_OFF | SYSTEM_RESET => 0,
        _ => NOT_SUPPORTED,
    }
}

//! The firmware that a guest finds: as much of the SBI as one hart needs. (RISC-V Supervisor Binary
//! Interface Specification, version 2.0.)

use test_hypervisor_kit::Event;

use crate::hypervisor::csr;
use crate::hypervisor::vcpu::Vcpu;

const A0: usize = 10;
const A1: usize = 11;
const A6: usize = 16;
const A7: usize = 17;

const BASE: u64 = 0x10;
const TIMER: u64 = 0x5449_4d45;
const IPI: u64 = 0x0073_5049;
const SYSTEM_RESET: u64 = 0x5352_5354;
/// The reset type of [`SYSTEM_RESET`] that is none. (Chapter "System Reset Extension".)
const SHUTDOWN: u64 = 0;
/// The old way to set the timer.
const LEGACY_TIMER: u64 = 0;

/// Major version in bits 30:24, minor version below.
const SPECIFICATION_1_0: u64 = 1 << 24;
/// The first hart of a mask that stands for all harts. (Chapter "Hart list parameter".)
const ALL_HARTS: u64 = u64::MAX;
/// VSSIP, in hvip. The guest clears it as its sip.SSIP.
const SOFTWARE_INTERRUPT: u64 = 1 << 2;
/// SBI_ERR_NOT_SUPPORTED.
const NOT_SUPPORTED: u64 = (-2_i64) as u64;
/// The length of ECALL, which has no compressed form.
const ECALL_LENGTH: u64 = 4;

/// Answers the call that `vcpu` has just made, and moves on behind it.
pub(super) fn call(vcpu: &mut Vcpu) -> Event {
    let (extension, function, argument) = (vcpu.x[A7], vcpu.x[A6], vcpu.x[A0]);
    let (error, value) = match (extension, function) {
        (BASE, function) => (0, base(function, argument)),
        (TIMER, 0) | (LEGACY_TIMER, _) => {
            csr::write!(csr::VSTIMECMP, argument);
            (0, 0)
        }
        (IPI, 0) => {
            interrupt(argument, vcpu.x[A1]);
            (0, 0)
        }
        (SYSTEM_RESET, 0) if argument == SHUTDOWN => return Event::PowerOff,
        (SYSTEM_RESET, 0) => return Event::Reset,
        _ => (NOT_SUPPORTED, 0),
    };
    vcpu.x[A0] = error;
    vcpu.x[A1] = value;
    vcpu.pc += ECALL_LENGTH;
    Event::Call
}

/// Chapter "Base Extension": version, implementation, what is there, and three numbers of the hart.
fn base(function: u64, argument: u64) -> u64 {
    match function {
        0 => SPECIFICATION_1_0,
        3 => u64::from(matches!(argument, BASE | TIMER | IPI | SYSTEM_RESET)),
        _ => 0,
    }
}

/// Chapter "IPI Extension": a software interrupt for the harts whose bits are set in `mask`, of which bit
/// 0 stands for hart `first`, or for all of them. There is hart 0.
fn interrupt(mask: u64, first: u64) {
    if first == ALL_HARTS || first == 0 && mask & 1 != 0 {
        csr::write!(csr::HVIP, csr::read!(csr::HVIP) | SOFTWARE_INTERRUPT);
    }
}

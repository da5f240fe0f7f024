//! The firmware that a guest finds: as much of the SBI as its harts need. (RISC-V Supervisor Binary Interface
//! Specification, version 2.0.)

use nested_paging::host_services::sbi::{Call, HartMask};
use test_hypervisor_kit::Event;

use super::harts::{self, Stopped};
use crate::hypervisor::vcpu::Vcpu;
use crate::hypervisor::{cpus, csr, sbi};

const A0: usize = 10;
const A1: usize = 11;
const A2: usize = 12;
const A3: usize = 13;
const A4: usize = 14;
const A6: usize = 16;
const A7: usize = 17;

const BASE: u64 = 0x10;
const TIMER: u64 = 0x5449_4d45;
const IPI: u64 = 0x0073_5049;
const REMOTE_FENCE: u64 = 0x5246_4e43;
const HART_STATE: u64 = 0x0048_534d;
const SYSTEM_RESET: u64 = 0x5352_5354;
/// The reset type of [`SYSTEM_RESET`] that is none. (Chapter "System Reset Extension".)
const SHUTDOWN: u64 = 0;
/// The old way to set the timer.
const LEGACY_TIMER: u64 = 0;

/// Major version in bits 30:24, minor version below.
const SPECIFICATION_1_0: u64 = 1 << 24;
/// The first hart of a mask that stands for all harts. (Chapter "Hart list parameter".)
const ALL_HARTS: u64 = u64::MAX;
/// SBI_SUCCESS, SBI_ERR_FAILED, SBI_ERR_NOT_SUPPORTED, SBI_ERR_INVALID_PARAM, SBI_ERR_ALREADY_AVAILABLE.
const SUCCESS: u64 = 0;
const FAILED: u64 = (-1_i64) as u64;
const NOT_SUPPORTED: u64 = (-2_i64) as u64;
const INVALID_PARAMETER: u64 = (-3_i64) as u64;
const ALREADY_AVAILABLE: u64 = (-6_i64) as u64;
/// The length of ECALL, which has no compressed form.
const ECALL_LENGTH: u64 = 4;

/// Answers the call that `vcpu` has just made, and moves on behind it.
pub(super) fn call(vcpu: &mut Vcpu) -> Event {
    let (extension, function, argument) = (vcpu.x[A7], vcpu.x[A6], vcpu.x[A0]);
    let (error, value) = match (extension, function) {
        (BASE, function) => (SUCCESS, base(function, argument)),
        (TIMER, 0) | (LEGACY_TIMER, _) => {
            csr::write!(csr::VSTIMECMP, argument);
            (SUCCESS, 0)
        }
        (IPI, 0) => {
            named(argument, vcpu.x[A1]).for_each(harts::interrupt);
            (SUCCESS, 0)
        }
        (REMOTE_FENCE, function) => (remote_fence(function, vcpu), 0),
        (HART_STATE, 0) => (start(vcpu), 0),
        (HART_STATE, 1) => {
            harts::stop();
            return Event::Call;
        }
        (HART_STATE, 2) => {
            harts::state(argument).map_or((INVALID_PARAMETER, 0), |state| (SUCCESS, state))
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
    const EXTENSIONS: [u64; 6] = [BASE, TIMER, IPI, REMOTE_FENCE, HART_STATE, SYSTEM_RESET];
    match function {
        0 => SPECIFICATION_1_0,
        3 => u64::from(EXTENSIONS.contains(&argument)),
        _ => 0,
    }
}

/// The harts whose bits are set in `mask`, of which bit 0 stands for hart `first`; or all of them.
fn named(mask: u64, first: u64) -> impl Iterator<Item = usize> {
    (0..cpus::CPUS).filter(move |&hart| {
        let bit = (hart as u64).checked_sub(first).filter(|&bit| bit < 64);
        first == ALL_HARTS || bit.is_some_and(|bit| mask >> bit & 1 != 0)
    })
}

/// Chapter "RFENCE Extension". Each hart of the guest has a hart of the machine to itself, and its table is in hgatp
/// there. So what fences the guest's own translations (SFENCE.VMA) is HFENCE.VVMA for the machine's firmware.
fn remote_fence(function: u64, vcpu: &Vcpu) -> u64 {
    const FENCE_I: u64 = 0;
    const SFENCE_VMA: u64 = 1;
    const SFENCE_VMA_ASID: u64 = 2;
    const HFENCE_VVMA_ASID: u64 = 5;
    const HFENCE_VVMA: u64 = 6;
    let function = match function {
        FENCE_I => FENCE_I,
        SFENCE_VMA => HFENCE_VVMA,
        SFENCE_VMA_ASID => HFENCE_VVMA_ASID,
        _ => return NOT_SUPPORTED,
    };
    let Some(harts) = HartMask::of(named(vcpu.x[A0], vcpu.x[A1]).map(cpus::hart)) else {
        return INVALID_PARAMETER;
    };
    let call = Call {
        extension: REMOTE_FENCE,
        function,
        arguments: [harts.bits, harts.base, vcpu.x[A2], vcpu.x[A3], vcpu.x[A4]],
    };
    match sbi::remote_fence(&call) {
        true => SUCCESS,
        false => FAILED,
    }
}

/// Chapter "Hart State Management Extension", function 0.
fn start(vcpu: &Vcpu) -> u64 {
    let start = harts::Start {
        pc: vcpu.x[A1],
        opaque: vcpu.x[A2],
    };
    match harts::start(vcpu.x[A0], start) {
        Ok(()) => SUCCESS,
        Err(Stopped::NoSuchHart) => INVALID_PARAMETER,
        Err(Stopped::NotStopped) => ALREADY_AVAILABLE,
    }
}

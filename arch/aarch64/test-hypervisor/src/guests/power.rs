//! Which CPUs of a guest are on. (Arm Power State Coordination Interface, DEN 0022E, "CPU_ON", "AFFINITY_INFO".)

use spin::Mutex;

use crate::hypervisor::cpus;

/// Where a CPU starts: its program counter and its x0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) pc: u64,
    pub(super) context: u64,
}

/// Why a CPU cannot be started.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refused {
    NoSuchCpu,
    IsOn,
}

#[derive(Clone, Copy, Debug)]
enum State {
    On,
    Off,
    OnPending(Start),
}

/// CPU `n` has the affinity `n`.
static CPUS: [Mutex<State>; cpus::CPUS] = [const { Mutex::new(State::Off) }; cpus::CPUS];

fn this() -> &'static Mutex<State> {
    &CPUS[cpus::this()]
}

/// Starts the CPU with the affinity `cpu`, which has to be off.
pub(super) fn start(cpu: u64, start: Start) -> Result<(), Refused> {
    let state = CPUS.get(cpu as usize).ok_or(Refused::NoSuchCpu)?;
    let state = &mut *state.lock();
    if !matches!(state, State::Off) {
        return Err(Refused::IsOn);
    }
    *state = State::OnPending(start);
    Ok(())
}

/// Turns this CPU off.
pub(super) fn stop() {
    *this().lock() = State::Off;
}

/// Where this CPU has to start, if another has asked for that.
pub(super) fn take_start() -> Option<Start> {
    let state = &mut *this().lock();
    let State::OnPending(start) = *state else {
        return None;
    };
    *state = State::On;
    Some(start)
}

/// Whether this CPU is off, or about to start.
pub(super) fn is_off() -> bool {
    !matches!(*this().lock(), State::On)
}

/// The number that the firmware has for the state of the CPU with the affinity `cpu`.
pub(super) fn state(cpu: u64) -> Option<u64> {
    let state = CPUS.get(cpu as usize)?;
    Some(match *state.lock() {
        State::On => 0,
        State::Off => 1,
        State::OnPending(_) => 2,
    })
}

//! What harts of a guest want of each other.

use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;

use crate::hypervisor::{cpus, csr};

/// VSSIP, in hvip. The guest clears it as its sip.SSIP.
const SOFTWARE_INTERRUPT: u64 = 1 << 2;

/// Where a hart starts: its program counter and its a1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start {
    pub(super) pc: u64,
    pub(super) opaque: u64,
}

/// Why a hart cannot be started.
#[derive(Clone, Copy, Debug)]
pub(super) enum Stopped {
    NoSuchHart,
    NotStopped,
}

/// The states of a hart that this firmware knows. (Chapter "Hart State Management Extension", table "HSM Hart States".)
#[derive(Clone, Copy, Debug)]
enum State {
    Started,
    Stopped,
    StartPending(Start),
}

#[derive(Debug)]
struct Hart {
    state: Mutex<State>,
    /// Another hart has sent an interrupt, which is not in hvip yet.
    is_interrupted: AtomicBool,
}

static HARTS: [Hart; cpus::CPUS] = [const {
    Hart {
        state: Mutex::new(State::Stopped),
        is_interrupted: AtomicBool::new(false),
    }
}; cpus::CPUS];

fn this() -> &'static Hart {
    &HARTS[cpus::this()]
}

/// Starts hart `number`, which has to be stopped.
pub(super) fn start(number: u64, start: Start) -> Result<(), Stopped> {
    let hart = HARTS.get(number as usize).ok_or(Stopped::NoSuchHart)?;
    let state = &mut *hart.state.lock();
    if !matches!(state, State::Stopped) {
        return Err(Stopped::NotStopped);
    }
    *state = State::StartPending(start);
    cpus::interrupt(number as usize);
    Ok(())
}

/// Stops this hart.
pub(super) fn stop() {
    *this().state.lock() = State::Stopped;
}

/// Where this hart has to start, if another has asked for that.
pub(super) fn take_start() -> Option<Start> {
    let state = &mut *this().state.lock();
    let State::StartPending(start) = *state else {
        return None;
    };
    *state = State::Started;
    Some(start)
}

/// Whether this hart is stopped, or about to start.
pub(super) fn is_stopped() -> bool {
    !matches!(*this().state.lock(), State::Started)
}

/// The number that the firmware has for the state of hart `number`.
pub(super) fn state(number: u64) -> Option<u64> {
    let hart = HARTS.get(number as usize)?;
    Some(match *hart.state.lock() {
        State::Started => 0,
        State::Stopped => 1,
        State::StartPending(_) => 2,
    })
}

/// Sends a software interrupt to hart `number` of the guest. It is in hvip when that hart runs next.
pub(super) fn interrupt(number: usize) {
    HARTS[number].is_interrupted.store(true, Ordering::Release);
    if number != cpus::this() {
        cpus::interrupt(number);
    }
}

/// Has this hart's guest take the interrupt that another has sent.
pub(super) fn deliver_interrupt() {
    if this().is_interrupted.swap(false, Ordering::Acquire) {
        csr::write!(csr::HVIP, csr::read!(csr::HVIP) | SOFTWARE_INTERRUPT);
    }
}

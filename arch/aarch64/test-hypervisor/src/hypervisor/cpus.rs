//! The two CPUs.
#![expect(unsafe_code, reason = "starts a CPU, and sleeps until an event")]

use alloc::boxed::Box;
use alloc::vec;
use core::arch::asm;

use spin::Mutex;

use super::platform::platform;
use super::register::read;
use super::{el2, psci};

const STACK_SIZE: usize = 256 << 10;
/// The affinity of the CPU that QEMU does not start.
const SECOND: u64 = 1;

/// Something for a CPU to do.
type Job = Box<dyn FnOnce() + Send>;

static JOB: Mutex<Option<Job>> = Mutex::new(None);

unsafe extern "C" {
    fn start_second_cpu();
}

/// Starts the other CPU, which then waits for work.
pub(crate) fn start_second() {
    let stack = Box::leak(vec![0_u128; STACK_SIZE / 16].into_boxed_slice());
    let end = stack.as_ptr_range().end as u64;
    let entry = start_second_cpu as *const () as u64;
    // SAFETY: the entry expects the end of its stack, which is its own from now on.
    let started = unsafe { psci::start_cpu(platform().conduit, SECOND, entry, end) };
    assert!(started, "the second CPU does not start: use -smp 2");
}

/// Where the second CPU arrives.
#[unsafe(no_mangle)]
extern "C" fn second_cpu() -> ! {
    // SAFETY: the firmware starts a CPU at the level of its caller, EL2, with everything off.
    unsafe { el2::set_up() };
    loop {
        let job = JOB.lock().take();
        match job {
            Some(job) => job(),
            // SAFETY: the CPU sleeps until an event, and remembers one that came before.
            None => unsafe { asm!("wfe", options(nostack, preserves_flags)) },
        }
    }
}

/// Has the second CPU do `job` when it has done what it is doing.
pub(crate) fn run_on_second(job: impl FnOnce() + Send + 'static) {
    *JOB.lock() = Some(Box::new(job));
    // SAFETY: the job is there to be seen before the event that wakes the other CPU.
    unsafe { asm!("dsb ishst", "sev", options(nostack, preserves_flags)) };
}

/// Waits for `microseconds`.
pub(crate) fn wait(microseconds: u64) {
    let ticks = microseconds * (read!("cntfrq_el0") / 1_000_000);
    let start = read!("cntpct_el0");
    while read!("cntpct_el0").wrapping_sub(start) < ticks {
        core::hint::spin_loop();
    }
}

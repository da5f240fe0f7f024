//! The two CPUs.
#![expect(unsafe_code, reason = "starts a CPU, and sleeps until an event")]

use alloc::boxed::Box;
use alloc::vec;
use core::arch::asm;
use core::sync::atomic::{AtomicBool, Ordering};

use spin::Mutex;

use super::platform::platform;
use super::register::read;
use super::{el2, psci};

const STACK_SIZE: usize = 256 << 10;
/// The affinity of the CPU that QEMU does not start.
const SECOND: u64 = 1;

/// Something for a CPU to do.
type Job = Box<dyn FnOnce() + Send>;

/// How many CPUs the machine has.
pub(crate) const CPUS: usize = 2;
/// The interrupt controller's register that sends interrupts from CPU to CPU. (GICv2, IHI 0048B, "GICD_SGIR".)
const SOFTWARE_INTERRUPT: *mut u32 = 0x800_0f00 as *mut u32;
/// The register that enables interrupts 0 to 31 of the CPU that writes. ("GICD_ISENABLER0".)
const ENABLE: *mut u32 = 0x800_0100 as *mut u32;
/// The last of the interrupts from CPU to CPU. Linux uses the first eight.
const WAKE_UP: u32 = 15;
/// The byte with the priority of that interrupt, for the CPU that writes. ("GICD_IPRIORITYRn".)
const WAKE_UP_PRIORITY: *mut u8 = (0x800_0400 + WAKE_UP as usize) as *mut u8;

/// Whether each CPU is asleep, or about to be.
static ASLEEP: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];
/// Whether each CPU shall not sleep any more.
static AWAKE: [AtomicBool; CPUS] = [const { AtomicBool::new(false) }; CPUS];

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

/// The number of the CPU that runs this: its affinity.
pub(crate) fn this() -> usize {
    (read!("mpidr_el1") & 0xff) as usize
}

/// Sleeps until an interrupt is pending for the guest, which the hypervisor does not take; or until [`wake`].
pub(crate) fn sleep() {
    let (asleep, awake) = (&ASLEEP[this()], &AWAKE[this()]);
    // Either this CPU sees that it shall not sleep, or whoever wants that sees that it is asleep.
    asleep.store(true, Ordering::SeqCst);
    // SAFETY: the registers are there on QEMU's virt machine. The guest has the interrupt controller for itself, but
    // this interrupt comes only when the guest has ended.
    unsafe { ENABLE.write_volatile(1 << WAKE_UP) };
    // The highest: Linux stops its CPUs within the handler of an interrupt, which holds back all others.
    // SAFETY: as above.
    unsafe { WAKE_UP_PRIORITY.write_volatile(0) };
    if !awake.load(Ordering::SeqCst) {
        // SAFETY: an interrupt ends the sleep, and stays pending because it is masked.
        unsafe { asm!("dsb sy", "wfi", options(nostack, preserves_flags)) };
    }
    asleep.store(false, Ordering::SeqCst);
}

/// Ends the sleep of `cpu`, for good: its guest has ended on another.
pub(crate) fn wake(cpu: usize) {
    AWAKE[cpu].store(true, Ordering::SeqCst);
    if ASLEEP[cpu].load(Ordering::SeqCst) {
        let request = 1 << (16 + cpu) | WAKE_UP;
        // SAFETY: the register is there on QEMU's virt machine. The guest that has it has ended.
        unsafe { SOFTWARE_INTERRUPT.write_volatile(request) };
    }
}

/// Waits for `microseconds`.
pub(crate) fn wait(microseconds: u64) {
    let ticks = microseconds * (read!("cntfrq_el0") / 1_000_000);
    let start = read!("cntpct_el0");
    while read!("cntpct_el0").wrapping_sub(start) < ticks {
        core::hint::spin_loop();
    }
}

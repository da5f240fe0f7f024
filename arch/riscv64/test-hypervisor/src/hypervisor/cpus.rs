//! The two harts.
#![expect(
    unsafe_code,
    reason = "starts a hart, reads the time, and sets the trap vector"
)]

use alloc::boxed::Box;
use alloc::vec;
use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};

use spin::Mutex;

use super::csr;
use super::platform::platform;
use super::sbi;

const STACK_SIZE: usize = 256 << 10;
/// Supervisor software interrupts, in sie and sip.
const SOFTWARE: u64 = 1 << 1;

/// Something for a hart to do.
type Job = Box<dyn FnOnce() + Send>;

static BOOT_HART: AtomicU64 = AtomicU64::new(0);
static JOB: Mutex<Option<Job>> = Mutex::new(None);

unsafe extern "C" {
    fn start_second_hart();
    fn unexpected_trap();
    /// Where the second hart finds the end of its stack; 0 until there is one.
    static second_stack_top: AtomicU64;
}

global_asm!(
    r#"
    .text
    .balign 4
    .globl unexpected_trap
unexpected_trap:
    csrr a0, scause
    csrr a1, stval
    csrr a2, sepc
    call report_trap
    "#
);

/// Ends the machine when the hypervisor itself traps from now on.
pub(crate) fn catch_traps() {
    csr::write!(csr::STVEC, unexpected_trap as *const () as u64);
}

#[unsafe(no_mangle)]
extern "C" fn report_trap(cause: u64, value: u64, address: u64) -> ! {
    panic!("the hypervisor trapped: scause {cause:#x}, stval {value:#x}, sepc {address:#x}")
}

/// How many harts the machine has.
pub(crate) const CPUS: usize = 2;

/// The number of the hart that runs this: 0 for the boot hart.
pub(crate) fn this() -> usize {
    let here: u64;
    // SAFETY: tp is the hypervisor's to use: it says which hart this is, counted from the boot hart.
    unsafe { asm!("mv {}, tp", out(reg) here, options(nomem, nostack)) };
    here as usize
}

/// What the firmware calls the hart with the number `cpu`.
pub(crate) fn hart(cpu: usize) -> u64 {
    BOOT_HART.load(Ordering::Relaxed) ^ cpu as u64
}

/// The hart that does not run this.
pub(crate) fn other_hart() -> u64 {
    hart(this() ^ 1)
}

/// Ends the guest on `cpu`, now or when it next begins, or its wait for an interrupt.
pub(crate) fn interrupt(cpu: usize) {
    assert!(sbi::send_ipi(hart(cpu)), "no interrupt for CPU {cpu}");
}

/// Lets interrupts by [`interrupt`] reach this hart: in a guest, or while it waits.
pub(crate) fn accept_interrupts() {
    csr::write!(csr::SIE, SOFTWARE);
}

/// Starts the other hart, which then waits for work.
pub(crate) fn start_second(boot_hart: u64) {
    BOOT_HART.store(boot_hart, Ordering::Relaxed);
    set_hart_number(0);
    let stack = Box::leak(vec![0_u128; STACK_SIZE / 16].into_boxed_slice());
    // SAFETY: `boot` defines the symbol as 8 aligned bytes, and only this function writes them.
    let stack_top = unsafe { &second_stack_top };
    stack_top.store(stack.as_ptr_range().end as u64, Ordering::Release);
    let entry = start_second_hart as *const () as u64;
    // SAFETY: the entry finds its stack, which is its own from now on, and needs nothing else.
    let started = unsafe { sbi::start_hart(other_hart(), entry, 0) };
    assert!(started, "the second hart does not start: use -smp 2");
}

/// Where the second hart arrives.
#[unsafe(no_mangle)]
extern "C" fn second_hart() -> ! {
    catch_traps();
    set_hart_number(1);
    accept_interrupts();
    loop {
        // Whoever takes a job before its interrupt has come would take that into a guest, and end it.
        wait_for_interrupt();
        let job = JOB.lock().take();
        if let Some(job) = job {
            job();
        }
    }
}

/// Has the second hart do `job` when it has done what it is doing.
pub(crate) fn run_on_second(job: impl FnOnce() + Send + 'static) {
    *JOB.lock() = Some(Box::new(job));
    interrupt(1);
}

/// Waits for `microseconds`.
pub(crate) fn wait(microseconds: u64) {
    let ticks = microseconds * platform().ticks_per_microsecond;
    let start = time();
    while time().wrapping_sub(start) < ticks {
        core::hint::spin_loop();
    }
}

fn time() -> u64 {
    let time;
    // SAFETY: reading the time has no side effect.
    unsafe { asm!("rdtime {}", out(reg) time, options(nomem, nostack)) };
    time
}

/// Sleeps until an interrupt is pending, and drops it: its message is that there is work.
pub(crate) fn wait_for_interrupt() {
    while csr::read!(csr::SIP) & SOFTWARE == 0 {
        // SAFETY: an interrupt that is enabled in sie ends the wait and, with sstatus.SIE = 0, is not
        // taken.
        unsafe { asm!("wfi", options(nostack)) };
    }
    drop_interrupt();
}

/// Drops the interrupt that is pending.
pub(crate) fn drop_interrupt() {
    let pending = csr::read!(csr::SIP);
    csr::write!(csr::SIP, pending & !SOFTWARE);
}

fn set_hart_number(number: u64) {
    // SAFETY: nothing in the hypervisor uses thread-local storage, so tp is free.
    unsafe { asm!("mv tp, {}", in(reg) number, options(nomem, nostack)) };
}

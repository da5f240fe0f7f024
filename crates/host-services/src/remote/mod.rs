//! Which CPU is inside a guest, and how it forgets what another CPU has removed.
//!
//! # The protocol
//!
//! An address space has a *generation*, which grows with each invalidation. Each CPU has the generation up to which it has
//! *forgotten*, and a count of its entries and exits: odd while it is inside the guest.
//!
//! | a CPU that enters | a CPU that invalidates |
//! |---|---|
//! | 1. makes its count odd | 1. stores to the table |
//! | 2. fence | 2. adds 1 to the generation |
//! | 3. reads the generation | 3. fence |
//! | 4. forgets everything if it is behind | 4. reads the counts |
//! | 5. runs the guest | 5. kicks each CPU whose count is odd, and waits until the count is another |
//! | 6. makes its count even | |
//!
//! The two fences are sequentially consistent, so one of the two sees the other (as in Dekker's algorithm): either the
//! CPU that enters reads the new generation and forgets, or the one that invalidates reads the odd count and waits. A CPU
//! that is outside is never interrupted. It forgets at its next entry.
//!
//! To leave is to acknowledge: what a CPU remembers has no effect outside of the guest, and it cannot come back
//! without the check. So nobody waits for a CPU that is outside, and a CPU that waits counts as outside. Two CPUs that
//! invalidate at once therefore cannot wait for each other.

mod inside;
mod posted;
pub mod sbi;
#[cfg(test)]
mod tests;

use core::fmt;
// The tests of this module are models, for which loom replaces the atomics.
#[cfg(not(test))]
use core::sync::atomic::{AtomicU64, Ordering, fence};
#[cfg(test)]
use loom::sync::atomic::{AtomicU64, Ordering, fence};

pub use inside::Inside;
pub use posted::Posted;

/// Which of `N` CPUs are inside the guest of an address space, and who has forgotten what.
///
/// Each address space has one, made with it: its first entry on each CPU then forgets what an earlier
/// address space with the same VMID or root left behind. Several address spaces may share one. Then *forget* means the
/// translations of all of them.
///
/// Who does what when a mapping was removed:
///
/// | a CPU | |
/// |---|---|
/// | inside the guest | is kicked, and leaves; or a broadcast makes it forget |
/// | outside, with translations | forgets before its next entry |
/// | that was never inside since it last forgot | does nothing |
///
/// # What *inside* means
///
/// A CPU must count as inside for as long as its page walker may walk the table, and not only while the guest executes:
///
/// - **x86**: from VM entry to VM exit. `forget` is INVEPT of the EPTP, a new ASID in the VMCB, or TLB_CONTROL. Nothing is
///   broadcast: [`invalidate`](Self::invalidate) kicks.
/// - **RISC-V**: as long as hgatp names the table. A hart in HS-mode may walk it speculatively, and write accessed bits into
///   a frame that was given back. (Privileged Architecture 20250508, "Virtual-Memory System": address translations may be
///   performed speculatively.) So [`enter`](Self::enter) before hgatp is written, and drop [`Inside`] after hgatp has
///   another value. `forget` is `HFENCE.GVMA` of the VMID. A hart then stays inside while it handles exits, and
///   [`post`](Self::post) with the firmware's remote fences ([`sbi`]) makes it forget without leaving. Where hgatp is 0 outside
///   of the guest, kicks work too.
/// - **AArch64**: `TLBI` with `IS` is broadcast, and `DSB` waits for all CPUs: invalidation needs none of this. It
///   remains useful where every CPU must leave a guest: to change its VMID, or to stop it.
///
/// # What the host owes
///
/// - CPU numbers are below `N`, each for one CPU.
/// - A kick makes a CPU leave that is inside the guest, **or about to enter it**: from `enter` on the interrupt must
///   stay pending until the guest runs. Mask interrupts before `enter`.
/// - If CPUs are kicked: when a guest ends, [`Inside`] is dropped before the CPU takes a lock that another may hold while it
///   invalidates.
/// - The host uses instructions that translate for the guest (HLV, AT) only while the CPU is inside.
///
/// # Costs
///
/// 64 bytes for each CPU and address space. An entry takes one exchange and one fence, an exit one store. An invalidation takes
/// two exchanges and one fence, and reads `N` counts.
///
/// ```
/// use host_services::RemoteInvalidation;
///
/// let space = RemoteInvalidation::<4>::new();
/// // CPU 1 runs the guest: for the first time, so it forgets what an earlier guest left.
/// let mut forgot = 0;
/// let inside = space.enter(1, || forgot += 1).unwrap();
/// // ... the guest runs, until it exits ...
/// drop(inside);
/// assert_eq!(forgot, 1);
///
/// // CPU 0 removed a mapping. Nobody is inside, so nobody is kicked.
/// space.invalidate(0, || (), |_| unreachable!(), core::hint::spin_loop);
/// // CPU 1 forgets before it enters again.
/// drop(space.enter(1, || forgot += 1));
/// assert_eq!(forgot, 2);
/// ```
pub struct RemoteInvalidation<const N: usize> {
    generation: AtomicU64,
    cpus: [Cpu; N],
}

/// One CPU. On a cache line of its own, since it writes at every entry and exit.
#[repr(align(64))]
struct Cpu {
    /// How often it has entered and left, together.
    crossings: AtomicU64,
    /// The generation up to which it has forgotten.
    forgotten: AtomicU64,
}

/// The generation of an address space that is new. No CPU has forgotten anything of it yet.
const FIRST_GENERATION: u64 = 1;

impl Cpu {
    #[cfg(not(test))]
    const fn new() -> Self {
        Self {
            crossings: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
        }
    }
}

/// Whether a CPU with this count of entries and exits is inside.
const fn is_inside(crossings: u64) -> bool {
    crossings & 1 != 0
}

impl<const N: usize> RemoteInvalidation<N> {
    /// For a new address space: no CPU is inside its guest, and each forgets at its first entry.
    #[cfg(not(test))]
    #[must_use]
    pub const fn new() -> Self {
        Self {
            generation: AtomicU64::new(FIRST_GENERATION),
            cpus: [const { Cpu::new() }; N],
        }
    }

    /// Puts `cpu` inside the guest, until the result is dropped. Call it before each entry.
    ///
    /// Calls `forget` if the CPU may have translations that were removed: it must drop **all** of the address space that
    /// this CPU has. Returns `None`, and does nothing, if `cpu` is not below `N` or is inside already.
    #[must_use = "the CPU is inside until this is dropped"]
    pub fn enter(&self, cpu: usize, forget: impl FnOnce()) -> Option<Inside<'_, N>> {
        let slot = self.cpus.get(cpu)?;
        let outside = slot.crossings.load(Ordering::Relaxed);
        if is_inside(outside) {
            return None;
        }
        slot.crossings
            .compare_exchange(
                outside,
                outside.wrapping_add(1),
                Ordering::Relaxed,
                Ordering::Relaxed,
            )
            .ok()?;
        self.check(slot, forget);
        Some(Inside::new(self, cpu))
    }

    /// Forgets if `slot`, whose count has just become odd, is behind.
    fn check(&self, slot: &Cpu, forget: impl FnOnce()) {
        // Pairs with the fence in `post`. The count is visible before the generation is read.
        fence(Ordering::SeqCst);
        // Acquire: what was stored to the table before is seen by the walks that follow.
        let generation = self.generation.load(Ordering::Acquire);
        if slot.forgotten.load(Ordering::Relaxed) != generation {
            forget();
            // The generation from before it forgot: whatever came since is not covered. `fetch_max`, since another
            // CPU may have completed a broadcast for this one meanwhile.
            slot.forgotten.fetch_max(generation, Ordering::Relaxed);
        }
    }

    /// Makes every CPU forget: those inside leave, those outside forget before their next entry. Returns when no
    /// CPU can use what was removed. Call it after the stores to the table.
    ///
    /// - `forget` drops what this CPU, `this_cpu`, has of what was removed. If this CPU is inside, it is called a second
    ///   time if others invalidate meanwhile, and must then drop all of the address space.
    /// - `kick` makes a CPU leave, by an interrupt that stays pending.
    /// - `spin` is called again and again while this CPU waits. It must not wait for a CPU that waits for this one.
    ///
    /// The caller may hold locks that CPUs inside do not need in order to leave. Any number of CPUs may call it at once.
    pub fn invalidate(
        &self,
        this_cpu: usize,
        mut forget: impl FnMut(),
        mut kick: impl FnMut(usize),
        spin: impl FnMut(),
    ) {
        let posted = self.post(this_cpu);
        posted.cpus_inside().for_each(&mut kick);
        forget();
        self.while_outside(this_cpu, || posted.wait(spin), forget);
    }

    /// Does `action` with this CPU counted as outside, so that nobody waits for it. That serves the requests of others: it
    /// forgets when it comes back inside.
    fn while_outside(&self, cpu: usize, action: impl FnOnce(), forget: impl FnOnce()) {
        let inside = self.cpus.get(cpu).filter(|slot| slot.is_inside());
        if let Some(slot) = inside {
            slot.cross();
        }
        action();
        if let Some(slot) = inside {
            slot.cross();
            self.check(slot, forget);
        }
    }

    /// Begins an invalidation: from now on a CPU that enters forgets first. The result says who is inside.
    ///
    /// This is for hosts that can make other CPUs forget while their guests go on, such as by SBI calls; see
    /// [`Posted`]. [`invalidate`](Self::invalidate) does the rest for all others. Call it after the stores to the table.
    pub fn post(&self, this_cpu: usize) -> Posted<'_, N> {
        // Release: who reads the new generation sees what was stored to the table.
        let before = self.generation.fetch_add(1, Ordering::Release);
        // Pairs with the fence in `check`. The generation is visible before the counts are read.
        fence(Ordering::SeqCst);
        // Acquire: what the guest did before it left has happened.
        let crossings = core::array::from_fn(|cpu| {
            let slot = self.cpus.get(cpu);
            slot.map_or(0, |slot| slot.crossings.load(Ordering::Acquire))
        });
        Posted::new(self, this_cpu, before.wrapping_add(1), crossings)
    }
}

impl Cpu {
    /// Whether this CPU, which runs this, is inside.
    fn is_inside(&self) -> bool {
        is_inside(self.crossings.load(Ordering::Relaxed))
    }

    /// Goes in or out. Only the CPU itself does.
    fn cross(&self) {
        let crossings = self.crossings.load(Ordering::Relaxed);
        // Release: what the guest did happens before whoever waits sees that it left.
        self.crossings
            .store(crossings.wrapping_add(1), Ordering::Release);
    }
}

#[cfg(not(test))]
impl<const N: usize> Default for RemoteInvalidation<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> fmt::Debug for RemoteInvalidation<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inside = self.cpus.iter().map(Cpu::is_inside);
        f.debug_struct("RemoteInvalidation")
            .field("generation", &self.generation.load(Ordering::Relaxed))
            .field("inside", &inside.filter(|&inside| inside).count())
            .finish_non_exhaustive()
    }
}

//! What the protocol is made of. Its exhaustive test puts loom's types in the place of this file.

pub(super) use core::hint::spin_loop;
pub(super) use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Keeps the accesses before it before those behind it, also where a store comes before a load of another word.
///
/// Nothing is to be done for it: all accesses around it are sequentially consistent. Loom knows no such accesses, but
/// fences, and puts one here.
#[inline(always)]
pub(super) const fn order_accesses() {}

/// A number that mostly differs from CPU to CPU, and is mostly the same on one: where the stack is. Each CPU of a
/// hypervisor, or each thread that runs one of a guest's, has a stack of its own.
#[inline]
pub(super) fn number_of_cpu() -> usize {
    /// Multiplying by it spreads small differences over the high bits (Knuth, "The Art of Computer Programming",
    /// volume 3, 6.4: multiplicative hashing).
    const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
    let on_the_stack = 0_u8;
    // Calls of unequal depth are the same CPU's.
    let stack = (core::ptr::from_ref(&on_the_stack).addr() >> 14) as u64;
    (stack.wrapping_mul(GOLDEN_RATIO) >> 48) as usize
}

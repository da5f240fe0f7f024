//! Single accesses to memory that others may change.
//!
//! Each is one instruction for each aligned word, by the manuals' rules for such accesses (or the words of
//! Rust's model themselves, where there are no instructions of our own):
//!
//! - x86-64: aligned loads and stores of 1, 2, 4 and 8 bytes are atomic (SDM 3A, "Guaranteed Atomic Operations"); one of 16 bytes by SSE is done in parts of at least 8 (as above).
//! - AArch64: aligned loads and stores of a general-purpose register are single-copy atomic, and each
//!   register of LDP and STP is one access (Arm ARM DDI 0487, B2, "Requirements for single-copy
//!   atomicity").
//! - RISC-V: naturally aligned loads and stores of up to XLEN bits are atomic (Unprivileged ISA 20240411,
//!   "RVWMO Memory Consistency Model": one memory operation for each aligned access).
//!
//! The compiler does not look into an `asm!` block, so that it can neither split nor repeat the access, nor
//! conclude anything from what is read.

#[cfg(all(target_arch = "aarch64", not(miri)))]
#[path = "aarch64.rs"]
mod native;
#[cfg(all(target_arch = "riscv64", not(miri)))]
#[path = "riscv64.rs"]
mod native;
#[cfg(any(
    miri,
    not(any(
        target_arch = "aarch64",
        target_arch = "riscv64",
        target_arch = "x86_64"
    ))
))]
#[path = "words.rs"]
mod native;
#[cfg(all(target_arch = "x86_64", not(miri)))]
#[path = "x86_64.rs"]
mod native;

pub(super) use native::{Line, load_line, prefetch, store_line};

/// What is copied at once where there is enough: a cache line.
pub(super) const LINE_BYTES: usize = 64;

/// 1, 2, 4 or 8 bytes.
pub trait Unit: Copy {
    /// Loads the value at `source`.
    ///
    /// # Safety
    ///
    /// Those of [`read`](super::read), and `source` is aligned.
    unsafe fn load(source: *const Self) -> Self;

    /// Stores `value` at `target`.
    ///
    /// # Safety
    ///
    /// Those of [`write`](super::write), and `target` is aligned.
    unsafe fn store(target: *mut Self, value: Self);
}

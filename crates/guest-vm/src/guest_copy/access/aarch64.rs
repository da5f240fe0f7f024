//! Accesses by instructions of AArch64.

use core::arch::asm;

use super::{LINE_BYTES, Unit};

pub(in super::super) type Line = [u64; LINE_BYTES / size_of::<u64>()];

macro_rules! unit {
    ($type:ty, $load:literal, $store:literal) => {
        impl Unit for $type {
            #[inline]
            unsafe fn load(source: *const Self) -> Self {
                let value: Self;
                // SAFETY: the caller vouches for the bytes at `source`, which is aligned.
                unsafe {
                    asm!(
                        $load,
                        value = lateout(reg) value,
                        source = in(reg) source,
                        options(nostack, preserves_flags, readonly)
                    );
                }
                value
            }

            #[inline]
            unsafe fn store(target: *mut Self, value: Self) {
                // SAFETY: the caller vouches for the bytes at `target`, which is aligned.
                unsafe {
                    asm!(
                        $store,
                        value = in(reg) value,
                        target = in(reg) target,
                        options(nostack, preserves_flags)
                    );
                }
            }
        }
    };
}

unit!(
    u8,
    "ldrb {value:w}, [{source}]",
    "strb {value:w}, [{target}]"
);
unit!(
    u16,
    "ldrh {value:w}, [{source}]",
    "strh {value:w}, [{target}]"
);
unit!(
    u32,
    "ldr {value:w}, [{source}]",
    "str {value:w}, [{target}]"
);
unit!(
    u64,
    "ldr {value:x}, [{source}]",
    "str {value:x}, [{target}]"
);

/// Loads a line.
///
/// # Safety
///
/// Those of [`read`](super::super::read), and `source` is aligned to a line.
#[inline]
pub(in super::super) unsafe fn load_line(source: *const Line) -> Line {
    let mut line = [0; 8];
    let [a, b, c, d, e, f, g, h] = &mut line;
    // SAFETY: the caller vouches for the line at `source`, which is aligned.
    unsafe {
        asm!(
            "ldp {a}, {b}, [{source}, #0]",
            "ldp {c}, {d}, [{source}, #16]",
            "ldp {e}, {f}, [{source}, #32]",
            "ldp {g}, {h}, [{source}, #48]",
            source = in(reg) source,
            a = out(reg) *a,
            b = out(reg) *b,
            c = out(reg) *c,
            d = out(reg) *d,
            e = out(reg) *e,
            f = out(reg) *f,
            g = out(reg) *g,
            h = out(reg) *h,
            options(nostack, preserves_flags, readonly)
        );
    }
    line
}

/// Stores a line.
///
/// # Safety
///
/// Those of [`write`](super::super::write), and `target` is aligned to a line.
#[inline]
pub(in super::super) unsafe fn store_line(target: *mut Line, value: Line) {
    let [a, b, c, d, e, f, g, h] = value;
    // SAFETY: the caller vouches for the line at `target`, which is aligned.
    unsafe {
        asm!(
            "stp {a}, {b}, [{target}, #0]",
            "stp {c}, {d}, [{target}, #16]",
            "stp {e}, {f}, [{target}, #32]",
            "stp {g}, {h}, [{target}, #48]",
            target = in(reg) target,
            a = in(reg) a,
            b = in(reg) b,
            c = in(reg) c,
            d = in(reg) d,
            e = in(reg) e,
            f = in(reg) f,
            g = in(reg) g,
            h = in(reg) h,
            options(nostack, preserves_flags)
        );
    }
}

/// Nothing is prefetched: these processors find sequences by themselves.
#[inline]
pub(in super::super) fn prefetch(_: *const u8) {}

//! Accesses by instructions of x86-64. SSE where the target has it.

use core::arch::asm;

use super::{LINE_BYTES, Unit};

macro_rules! unit {
    ($type:ty, $class:ident, $load:literal, $store:literal) => {
        impl Unit for $type {
            #[inline]
            unsafe fn load(source: *const Self) -> Self {
                let value: Self;
                // SAFETY: the caller vouches for the bytes at `source`, which is aligned.
                unsafe {
                    asm!(
                        $load,
                        value = lateout($class) value,
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
                        value = in($class) value,
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
    reg_byte,
    "mov {value}, byte ptr [{source}]",
    "mov byte ptr [{target}], {value}"
);
unit!(
    u16,
    reg,
    "movzx {value:e}, word ptr [{source}]",
    "mov word ptr [{target}], {value:x}"
);
unit!(
    u32,
    reg,
    "mov {value:e}, dword ptr [{source}]",
    "mov dword ptr [{target}], {value:e}"
);
unit!(
    u64,
    reg,
    "mov {value}, qword ptr [{source}]",
    "mov qword ptr [{target}], {value}"
);

pub(in super::super) use line::{Line, load_line, prefetch, store_line};

#[cfg(target_feature = "sse2")]
mod line {
    use core::arch::asm;
    use core::arch::x86_64::{__m128i, _MM_HINT_T0, _mm_prefetch, _mm_setzero_si128};

    use super::LINE_BYTES;

    pub(in super::super::super) type Line = [__m128i; LINE_BYTES / size_of::<__m128i>()];

    /// How far ahead of a copy its source is prefetched: as far as the line that comes from the
    /// second-level cache in the meantime.
    const PREFETCH_DISTANCE: usize = 8 * LINE_BYTES;

    /// Loads a line.
    ///
    /// # Safety
    ///
    /// Those of `read`, and `source` is aligned to a line.
    #[inline]
    pub(in super::super::super) unsafe fn load_line(source: *const Line) -> Line {
        // SAFETY: SSE2 is there by the cfg.
        let mut line = [unsafe { _mm_setzero_si128() }; 4];
        let [a, b, c, d] = &mut line;
        // SAFETY: the caller vouches for the line at `source`, which is aligned.
        unsafe {
            asm!(
                "movdqa {a}, xmmword ptr [{source}]",
                "movdqa {b}, xmmword ptr [{source} + 16]",
                "movdqa {c}, xmmword ptr [{source} + 32]",
                "movdqa {d}, xmmword ptr [{source} + 48]",
                source = in(reg) source,
                a = out(xmm_reg) *a,
                b = out(xmm_reg) *b,
                c = out(xmm_reg) *c,
                d = out(xmm_reg) *d,
                options(nostack, preserves_flags, readonly)
            );
        }
        line
    }

    /// Stores a line.
    ///
    /// # Safety
    ///
    /// Those of `write`, and `target` is aligned to a line.
    #[inline]
    pub(in super::super::super) unsafe fn store_line(target: *mut Line, value: Line) {
        let [a, b, c, d] = value;
        // SAFETY: the caller vouches for the line at `target`, which is aligned.
        unsafe {
            asm!(
                "movdqa xmmword ptr [{target}], {a}",
                "movdqa xmmword ptr [{target} + 16], {b}",
                "movdqa xmmword ptr [{target} + 32], {c}",
                "movdqa xmmword ptr [{target} + 48], {d}",
                target = in(reg) target,
                a = in(xmm_reg) a,
                b = in(xmm_reg) b,
                c = in(xmm_reg) c,
                d = in(xmm_reg) d,
                options(nostack, preserves_flags)
            );
        }
    }

    /// Has the cache get what will be read soon.
    #[inline]
    pub(in super::super::super) fn prefetch(source: *const u8) {
        let ahead = source.wrapping_add(PREFETCH_DISTANCE);
        // SAFETY: a prefetch is a hint that faults at no address; SSE is there by the cfg.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead.cast()) };
    }
}

/// Hypervisors leave the vector registers to their guests.
#[cfg(not(target_feature = "sse2"))]
mod line {
    use super::{LINE_BYTES, Unit};

    pub(in super::super::super) type Line = [u64; LINE_BYTES / size_of::<u64>()];

    /// Loads a line.
    ///
    /// # Safety
    ///
    /// Those of `read`, and `source` is aligned to a line.
    #[inline]
    pub(in super::super::super) unsafe fn load_line(source: *const Line) -> Line {
        let words = source.cast::<u64>();
        // SAFETY: the caller vouches for every word of the line.
        core::array::from_fn(|word| unsafe { u64::load(words.wrapping_add(word)) })
    }

    /// Stores a line.
    ///
    /// # Safety
    ///
    /// Those of `write`, and `target` is aligned to a line.
    #[inline]
    pub(in super::super::super) unsafe fn store_line(target: *mut Line, value: Line) {
        let words = target.cast::<u64>();
        for (word, value) in value.into_iter().enumerate() {
            // SAFETY: the caller vouches for every word of the line.
            unsafe { u64::store(words.wrapping_add(word), value) };
        }
    }

    /// Nothing is prefetched.
    #[inline]
    pub(in super::super::super) fn prefetch(_: *const u8) {}
}

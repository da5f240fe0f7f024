//! The heap that a machine takes for its books about regions.
#![expect(unsafe_code, reason = "an allocator that counts")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::Result;

use crate::machine;

/// The bytes that are out.
static BYTES: AtomicU64 = AtomicU64::new(0);
/// The regions of the machine that is looked at.
const REGIONS: u64 = 10_000;

/// The system's allocator, which counts the bytes that are out. For one thread: what is timed pays for a
/// plain addition, not for an atomic one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CountingAllocator;

fn add(bytes: usize) {
    let sum = BYTES.load(Ordering::Relaxed).wrapping_add(bytes as u64);
    BYTES.store(sum, Ordering::Relaxed);
}

fn subtract(bytes: usize) {
    let sum = BYTES.load(Ordering::Relaxed).wrapping_sub(bytes as u64);
    BYTES.store(sum, Ordering::Relaxed);
}

// SAFETY: every call is the system allocator's; the counter has no part in it.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the conditions of the same method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        add(layout.size());
        // SAFETY: the caller keeps the conditions of the same method.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        subtract(layout.size());
        // SAFETY: the caller keeps the conditions of the same method.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        add(size);
        subtract(layout.size());
        // SAFETY: the caller keeps the conditions of the same method.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// A sentence about a machine with many regions.
///
/// # Errors
///
/// When the machine cannot be made.
pub(super) fn markdown(text: &mut String) -> Result<()> {
    let before = BYTES.load(Ordering::Relaxed);
    let machine = machine::with_regions(REGIONS)?;
    let bytes = BYTES.load(Ordering::Relaxed).wrapping_sub(before);
    drop(machine);
    let each = bytes as f64 / REGIONS as f64;
    writeln!(
        text,
        "A machine with {REGIONS} regions has {bytes} bytes of heap: {each:.1} for each region."
    )?;
    Ok(())
}

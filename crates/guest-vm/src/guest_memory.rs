//! The bytes of guest memory, which the guest may change while they are copied.
#![expect(
    unsafe_code,
    reason = "reads and writes memory that the guest uses too, through pointers"
)]

use core::ptr::NonNull;

use guest_addr::{HostPhysRange, PAGE_SIZE_4K};
use nested_page_table::HostFrames;

use crate::hal::VmHal;

const WORD: usize = size_of::<u64>();

/// Copies `memory` into `target`, as far as both go.
///
/// `memory` is memory that the machine has, without `DEVICE`, and stays so until this returns: the
/// caller holds the lock.
pub(crate) fn read<H: VmHal + ?Sized>(hal: &H, memory: HostPhysRange, target: &mut [u8]) {
    let mut target = target;
    for_each_page(hal, memory, |page, bytes| {
        let bytes = bytes.min(target.len());
        let (now, later) = core::mem::take(&mut target).split_at_mut(bytes);
        target = later;
        // SAFETY: `page` is valid for reads of `bytes` bytes: the memory is the machine's and lies
        // in one page, for which `VmHal` promises a pointer. `now` has exactly `bytes` bytes.
        unsafe { read_volatile(page, now) };
    });
}

/// Copies `source` into `memory`, as far as both go, under the conditions of [`read`].
pub(crate) fn write<H: VmHal + ?Sized>(hal: &H, memory: HostPhysRange, source: &[u8]) {
    let mut source = source;
    for_each_page(hal, memory, |page, bytes| {
        let (now, later) = source.split_at(bytes.min(source.len()));
        source = later;
        // SAFETY: as in `read`, and the pointer is valid for writes too.
        unsafe { write_volatile(page, now) };
    });
}

/// Clears `memory`, which `alloc_memory_region_at` has just given and no guest can see yet.
pub(crate) fn zero_reserved<H: VmHal + ?Sized>(hal: &H, memory: HostPhysRange) {
    for_each_page(hal, memory, |page, bytes| {
        // SAFETY: `VmHal` promises that reserved memory is used by nobody else, and a pointer that
        // is valid for writes to the end of the page.
        unsafe { page.write_bytes(0, bytes) };
    });
}

/// Calls `visit` with a pointer to each piece of `memory` that lies in one 4 KiB page, in order,
/// and its size in bytes. Pages that are neighbours for the host need not be for the hypervisor.
fn for_each_page<H: VmHal + ?Sized>(
    hal: &H,
    memory: HostPhysRange,
    mut visit: impl FnMut(NonNull<u8>, usize),
) {
    let mut rest = Some(memory);
    while let Some(part) = rest {
        let start = part.start();
        let to_page_end = PAGE_SIZE_4K.saturating_sub(start.page_offset_4k());
        let bytes = part.size().min(to_page_end);
        // At most 4 KiB, which every usize holds.
        visit(hal.frames().pointer(start), bytes as usize);
        let next = start.checked_add(bytes);
        rest = next.and_then(|next| HostPhysRange::from_start_last(next, part.last()).ok());
    }
}

/// Copies `target.len()` bytes from `source`, with aligned accesses of 64 bits where possible.
///
/// # Safety
///
/// `source` is valid for volatile reads of `target.len()` bytes.
unsafe fn read_volatile(source: NonNull<u8>, target: &mut [u8]) {
    let head = source.align_offset(WORD).min(target.len());
    let (head, rest) = target.split_at_mut(head);
    let (words, tail) = rest.as_chunks_mut::<WORD>();
    // SAFETY: the head begins where `source` does and is no longer than `target`.
    let source = unsafe { read_bytes(source, head) };
    let mut word_source = source.cast::<u64>();
    for word in words {
        // SAFETY: the head ended at a multiple of 8, and eight bytes of `target` correspond to this
        // word, so it is aligned and in bounds.
        *word = unsafe { word_source.read_volatile() }.to_ne_bytes();
        // SAFETY: one past a word in bounds is in bounds or one past the end.
        word_source = unsafe { word_source.add(1) };
    }
    // SAFETY: head and words were passed; what is left of `target` is the tail.
    unsafe { read_bytes(word_source.cast(), tail) };
}

/// Copies byte by byte and returns where it stopped.
///
/// # Safety
///
/// `source` is valid for volatile reads of `target.len()` bytes.
unsafe fn read_bytes(mut source: NonNull<u8>, target: &mut [u8]) -> NonNull<u8> {
    for byte in target {
        // SAFETY: one byte for each of `target`, all of which the caller vouches for.
        *byte = unsafe { source.read_volatile() };
        // SAFETY: one past a byte in bounds is in bounds or one past the end.
        source = unsafe { source.add(1) };
    }
    source
}

/// Copies `source` to `target`, with aligned accesses of 64 bits where possible.
///
/// # Safety
///
/// `target` is valid for volatile writes of `source.len()` bytes.
unsafe fn write_volatile(target: NonNull<u8>, source: &[u8]) {
    let head = target.align_offset(WORD).min(source.len());
    let (head, rest) = source.split_at(head);
    let (words, tail) = rest.as_chunks::<WORD>();
    // SAFETY: the head begins where `target` does and is no longer than `source`.
    let target = unsafe { write_bytes(target, head) };
    let mut word_target = target.cast::<u64>();
    for word in words {
        // SAFETY: the head ended at a multiple of 8, and eight bytes of `source` correspond to this
        // word, so it is aligned and in bounds.
        unsafe { word_target.write_volatile(u64::from_ne_bytes(*word)) };
        // SAFETY: one past a word in bounds is in bounds or one past the end.
        word_target = unsafe { word_target.add(1) };
    }
    // SAFETY: head and words were passed; what is left of `source` is the tail.
    unsafe { write_bytes(word_target.cast(), tail) };
}

/// Copies byte by byte and returns where it stopped.
///
/// # Safety
///
/// `target` is valid for volatile writes of `source.len()` bytes.
unsafe fn write_bytes(mut target: NonNull<u8>, source: &[u8]) -> NonNull<u8> {
    for byte in source {
        // SAFETY: one byte for each of `source`, all of which the caller vouches for.
        unsafe { target.write_volatile(*byte) };
        // SAFETY: one past a byte in bounds is in bounds or one past the end.
        target = unsafe { target.add(1) };
    }
    target
}

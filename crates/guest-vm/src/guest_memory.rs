//! The bytes of guest memory, which the guest may change while they are copied.
#![expect(
    unsafe_code,
    reason = "reads and writes memory that the guest uses too, through pointers"
)]

use core::ptr::NonNull;

use guest_addr::{HostPhysRange, PAGE_SIZE_4K};
use nested_page_table::HostFrames;

use crate::guest_copy;
use crate::hal::VmHal;
use crate::word_access::sealed::Word;

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
        // SAFETY: `page` is valid for reads to the end of its page, and so are the words of the first byte
        // and the last: the memory is the machine's, for which `VmHal` promises pointers. `now` has exactly
        // `bytes` bytes. Only other machines access the memory, by these copies, and guests.
        unsafe { guest_copy::read(page, now) };
    });
}

/// Copies `source` into `memory`, as far as both go, under the conditions of [`read`].
pub(crate) fn write<H: VmHal + ?Sized>(hal: &H, memory: HostPhysRange, source: &[u8]) {
    let mut source = source;
    for_each_page(hal, memory, |page, bytes| {
        let (now, later) = source.split_at(bytes.min(source.len()));
        source = later;
        // SAFETY: as in `read`, and the pointer is valid for writes too.
        unsafe { guest_copy::write(page, now) };
    });
}

/// [`read`] of memory that lies in one 4 KiB page, and has as many bytes as `target`.
#[inline]
pub(crate) fn read_part_of_page<H: VmHal + ?Sized>(
    hal: &H,
    memory: HostPhysRange,
    target: &mut [u8],
) {
    let page = hal.frames().pointer(memory.start());
    // SAFETY: as in `read`; `memory` ends where `target` does, within the page.
    unsafe { guest_copy::read(page, target) };
}

/// [`write`] to memory that lies in one 4 KiB page, and has as many bytes as `source`.
#[inline]
pub(crate) fn write_part_of_page<H: VmHal + ?Sized>(hal: &H, memory: HostPhysRange, source: &[u8]) {
    let page = hal.frames().pointer(memory.start());
    // SAFETY: as in `read_part_of_page`, and the pointer is valid for writes too.
    unsafe { guest_copy::write(page, source) };
}

/// The word in `memory`, which is as large, and aligned to its size, under the conditions of [`read`].
#[inline]
pub(crate) fn load<H: VmHal + ?Sized, T: Word>(hal: &H, memory: HostPhysRange) -> T {
    let word = hal.frames().pointer(memory.start()).cast::<T>();
    // SAFETY: as in `read`; pointers keep the alignment of their addresses, which is that of the word.
    unsafe { T::load(word.as_ptr()) }
}

/// Stores a word in `memory`, under the conditions of [`load`].
#[inline]
pub(crate) fn store<H: VmHal + ?Sized, T: Word>(hal: &H, memory: HostPhysRange, value: T) {
    let word = hal.frames().pointer(memory.start()).cast::<T>();
    // SAFETY: as in `load`, and the pointer is valid for writes too.
    unsafe { T::store(word.as_ptr(), value) };
}

/// Exchanges the word in `memory` for `new` if it is `current`, under the conditions of [`load`].
#[inline]
pub(crate) fn compare_exchange<H: VmHal + ?Sized, T: Word>(
    hal: &H,
    memory: HostPhysRange,
    current: T,
    new: T,
) -> Result<T, T> {
    let word = hal.frames().pointer(memory.start()).cast::<T>();
    // SAFETY: as in `store`.
    unsafe { guest_copy::compare_exchange(word, current, new) }
}

/// Clears `memory`, which a guest may see, under the conditions of [`write`].
pub(crate) fn fill_with_zeroes<H: VmHal + ?Sized>(hal: &H, memory: HostPhysRange) {
    const ZEROES: [u8; PAGE_SIZE_4K as usize] = [0; PAGE_SIZE_4K as usize];
    for_each_page(hal, memory, |page, bytes| {
        let zeroes = ZEROES.get(..bytes).unwrap_or_default();
        // SAFETY: as in `write`.
        unsafe { guest_copy::write(page, zeroes) };
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

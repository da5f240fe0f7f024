//! The floors: what the memory accesses of each workload cost, and nothing else.
//!
//! A floor is written by hand for its workload. It checks nothing that the workload rules out, keeps
//! no books, and invalidates nothing. What it writes is a real table: it is walked afterwards, and has
//! to translate as the others do.
#![expect(
    unsafe_code,
    reason = "reads and writes tables through pointers, without a check"
)]

mod build;
mod checked;
mod edit;
mod runs;
mod translate;
mod trial;
mod walker;

use checked::described;
pub(crate) use trial::{Floor, FloorTrial};
pub(crate) use walker::Walker;

use std::ptr;

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::{GuestPhysAddr, HostPhysAddr};

use crate::contender::{Access, Leaves};
use crate::frames;

/// Entries in a table.
const ENTRIES: usize = 512;
/// The address in an entry.
const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
/// The attributes of a pointer to a table, in the format of EPT.
const TABLE: u64 = 0x7;
/// The attributes of a leaf: write-back, ...
const WRITE_BACK: u64 = 0x30;
/// ... and larger than 4 KiB.
const HUGE: u64 = 1 << 7;
/// The bits of a leaf that say what the guest may do.
const PERMISSIONS: u64 = 0x7;
/// How far an address is shifted for the index at each level, from the root down.
const SHIFTS: [u32; 4] = [39, 30, 21, 12];

/// A table of four levels, the frames of which are all its own.
#[derive(Debug)]
pub(crate) struct FloorTable {
    root: HostPhysAddr,
    /// Whether [`checked`] makes leaves above 4 KiB.
    leaves: Leaves,
}

impl Drop for FloorTable {
    fn drop(&mut self) {
        // SAFETY: the table and all below it are this value's, which ends.
        unsafe { free(self.root, &SHIFTS) }
    }
}

/// Gives back `table` and every table below it; `shifts` are those of `table` and below.
///
/// # Safety
///
/// `table` is a table of this module, of which `shifts` says the level, and nobody uses it any more.
unsafe fn free(table: HostPhysAddr, shifts: &[u32]) {
    if let [_, below @ ..] = shifts
        && !below.is_empty()
    {
        for number in 0..ENTRIES {
            // SAFETY: a table has that many entries.
            let entry = unsafe { read(table, number) };
            if entry != 0 && entry & HUGE == 0 {
                // SAFETY: above the pages an entry that is not a huge leaf leads to a table.
                unsafe { free(HostPhysAddr::new(entry & ADDRESS), below) }
            }
        }
    }
    // SAFETY: it was taken by `zeroed` or `unspecified`, and the caller vouches that it is unused.
    unsafe { frames::give_back(table) }
}

/// The attributes of a leaf.
#[inline(always)]
const fn bits(access: Access) -> u64 {
    match access {
        Access::Read => WRITE_BACK | 0x1,
        Access::ReadExecute => WRITE_BACK | 0x5,
        Access::ReadWrite => WRITE_BACK | 0x3,
        Access::ReadWriteExecute => WRITE_BACK | 0x7,
    }
}

/// A frame with unspecified contents.
#[inline]
fn unspecified() -> Option<HostPhysAddr> {
    frames::take()
}

/// A frame of zeros.
#[inline]
fn zeroed() -> Option<HostPhysAddr> {
    let frame = frames::take()?;
    // SAFETY: the frame was just taken, and is as long as that.
    unsafe { ptr::write_bytes(frames::pointer(frame), 0, PAGE_SIZE_4K as usize) };
    Some(frame)
}

/// The index of `address` in a table whose entries span `1 << shift` bytes.
#[inline]
const fn index(address: GuestPhysAddr, shift: u32) -> usize {
    (address.as_u64() >> shift) as usize % ENTRIES
}

/// Reads entry `index` of `table`.
///
/// # Safety
///
/// `table` is a frame that is out, and `index` is below [`ENTRIES`].
#[inline]
unsafe fn read(table: HostPhysAddr, index: usize) -> u64 {
    let entries = frames::pointer(table).cast::<u64>();
    // SAFETY: the frame has that many entries.
    let entry = unsafe { entries.add(index) };
    // SAFETY: the entry is in memory of the arena, which one thread uses.
    unsafe { entry.read() }
}

/// Writes entry `index` of `table`.
///
/// # Safety
///
/// That of [`read`].
#[inline]
unsafe fn write(table: HostPhysAddr, index: usize, bits: u64) {
    let entries = frames::pointer(table).cast::<u64>();
    // SAFETY: the frame has that many entries.
    let entry = unsafe { entries.add(index) };
    // SAFETY: the entry is in memory of the arena, which one thread uses.
    unsafe { entry.write(bits) }
}

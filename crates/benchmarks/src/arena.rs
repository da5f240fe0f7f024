//! The memory that tables live in.
#![expect(unsafe_code, reason = "maps memory")]

use std::ffi::c_void;
use std::ptr;

use anyhow::{Context, Result, bail};
use nested_paging::{HostPhysAddr, HostPhysRange};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

/// Where the arena begins. A host-physical address is its own pointer: a kernel's direct map, with an
/// offset that the compiler knows, for every contender alike. Valgrind keeps the addresses from 64 GiB on.
pub(crate) const START: HostPhysAddr = HostPhysAddr::new(0x8_0000_0000);
/// The size of the arena.
pub(crate) const BYTES: usize = 64 << 20;

/// Maps the arena and touches all of it. It stays for as long as the program runs.
///
/// # Errors
///
/// When the addresses are taken, or there is no memory.
pub(crate) fn map() -> Result<()> {
    let wanted = ptr::with_exposed_provenance_mut::<c_void>(usize::try_from(START.as_u64())?);
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: without MapFlags::FIXED the address is a hint: nothing that exists is replaced.
    let mapped = unsafe { mmap_anonymous(wanted, BYTES, access, MapFlags::PRIVATE) };
    let mapped = mapped.context("no memory for the arena")?;
    if mapped.expose_provenance() != wanted.addr() {
        bail!("the addresses from {START} on are taken");
    }
    prefer_huge_pages(mapped);
    // SAFETY: the mapping is new, writable, as long as this, and nobody else's.
    unsafe { ptr::write_bytes(mapped.cast::<u8>(), 0, BYTES) };
    Ok(())
}

/// Whether the arena has a byte of `range`.
#[inline]
pub(crate) fn overlaps(range: &HostPhysRange) -> bool {
    let end = START.as_u64() + BYTES as u64;
    range.start().as_u64() < end && range.last() >= START
}

/// A kernel's direct map has huge pages: without them the host's own TLB misses would be measured.
#[cfg(target_os = "linux")]
fn prefer_huge_pages(mapped: *mut c_void) {
    use rustix::mm::{Advice, madvise};

    // SAFETY: the advice does not change the contents of the mapping, which is ours.
    let advised = unsafe { madvise(mapped, BYTES, Advice::LinuxHugepage) };
    if let Err(error) = advised {
        eprintln!("no huge pages for the arena: {error}");
    }
}

#[cfg(not(target_os = "linux"))]
fn prefer_huge_pages(_mapped: *mut c_void) {}

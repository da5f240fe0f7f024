//! The workloads that are about more than a table: W9 and W11 to W13.
#![expect(unsafe_code, reason = "implements `VmHal`")]

mod create;
mod faults;
mod pages;
mod read;
mod small_copy;

pub(crate) use create::{Create, CreateLarge};
pub(crate) use faults::{HandleFaults, ZeroAndMap};
pub(crate) use pages::MachinePages;
pub(crate) use read::{CopyFloor, ReadMemory};
pub(crate) use small_copy::{CopySmall, Direction, SmallCopies, TranslateOnly};

use std::cell::Cell;
use std::hint::black_box;

use anyhow::{Context, Result};
use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::{GuestUse, MapType, MemoryRegion, PassthroughRegion, VmConfig};
use nested_paging::nested_page_table::InvalidationFailed;
use nested_paging::{
    GuestPhysAddr, HostPhysAddr, HostPhysRange, Invalidation, MappingFlags, Vm, VmHal, x86_64,
};

use crate::arena;
use crate::contender::nested::{Backend, Ept};
use crate::frames::StackFrames;
use crate::workload::GIB;

/// The name of the contender.
pub(crate) const NAME: &str = "guest-vm";

/// Where RAM begins, in guest and host alike: above everything that other workloads map.
const RAM: GuestPhysAddr = GuestPhysAddr::new(0x100_0000_0000);
const RAM_BYTES: u64 = 64 * GIB;
/// Where devices begin, and how far apart they are, so that no two merge.
const DEVICES: GuestPhysAddr = GuestPhysAddr::new(0x4000_0000);
const DEVICE_COUNT: u64 = 200;
const DEVICE_BYTES: u64 = 0x1_0000;
const DEVICE_DISTANCE: u64 = 0x10_0000;

type Machine = Vm<x86_64::Ept, CountingHal>;

/// Takes what a hypervisor would read of a request, counts it, and does nothing else. Every region of
/// RAM is free.
#[derive(Debug, Default)]
struct CountingHal {
    requests: Cell<u64>,
}

// SAFETY: `frames` is always the same stack. What is granted lies outside the arena and does not exist: the
// workloads map it, and read and write allocated memory alone. No guest runs, so there is nothing to invalidate.
unsafe impl VmHal for CountingHal {
    type Frames = StackFrames;

    #[inline]
    fn frames(&self) -> &StackFrames {
        &StackFrames
    }

    /// Everything outside the arena.
    #[inline]
    fn grants(&self, range: HostPhysRange, _use: GuestUse) -> bool {
        !arena::overlaps(&range)
    }

    fn alloc_memory_region_at(&self, _base: HostPhysAddr, _size: u64) -> bool {
        true
    }

    fn dealloc_memory_region_at(&self, _base: HostPhysAddr, _size: u64) {}

    #[inline]
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        self.requests.set(self.requests.get() + 1);
        black_box(request);
        Ok(())
    }
}

/// A machine with 64 GiB of RAM that the host has cleared, and 200 devices.
fn config() -> Result<VmConfig<'static, x86_64::Ept>> {
    let mut config = VmConfig::new(1, "benchmark", Ept::format()?);
    let flags = u64::from(MappingFlags::ACCESS.bits());
    let ram = MemoryRegion::new("ram", RAM, RAM_BYTES, flags, MapType::Identical);
    config.memory_regions.push(ram.with_kept_contents());
    let device = |number| {
        let address = DEVICES.as_u64() + number * DEVICE_DISTANCE;
        let (guest, host) = (GuestPhysAddr::new(address), HostPhysAddr::new(address));
        PassthroughRegion::new("device", guest, host, DEVICE_BYTES)
    };
    config
        .passthrough_regions
        .extend((0..DEVICE_COUNT).map(device));
    Ok(config)
}

/// Makes a configuration.
pub(crate) type MachineConfig = fn() -> Result<VmConfig<'static, x86_64::Ept>>;

/// W12: 100 devices below the pages of W6, and as many above.
///
/// # Errors
///
/// When the format does not exist.
pub(crate) fn some_around() -> Result<VmConfig<'static, x86_64::Ept>> {
    config_around(200)
}

/// W12b: 200 devices below them, and only RAM above.
///
/// # Errors
///
/// When the format does not exist.
pub(crate) fn some_below() -> Result<VmConfig<'static, x86_64::Ept>> {
    config()
}

/// W12m: 5,000 devices below them, and as many above.
///
/// # Errors
///
/// When the format does not exist.
pub(crate) fn many_around() -> Result<VmConfig<'static, x86_64::Ept>> {
    config_around(10_000)
}

/// A machine without RAM, with `count` devices: half of them below the pages of W6, half above.
fn config_around(count: u64) -> Result<VmConfig<'static, x86_64::Ept>> {
    let mut config = VmConfig::new(1, "benchmark", Ept::format()?);
    let device = |start: GuestPhysAddr, number| {
        let address = start.as_u64() + 2 * number * PAGE_SIZE_4K;
        let (guest, host) = (GuestPhysAddr::new(address), HostPhysAddr::new(address));
        PassthroughRegion::new("device", guest, host, PAGE_SIZE_4K)
    };
    for start in [DEVICES, RAM] {
        let devices = (0..count / 2).map(|number| device(start, number));
        config.passthrough_regions.extend(devices);
    }
    Ok(config)
}

/// A machine with `count` regions of one page each, no two of which touch.
///
/// # Errors
///
/// When it cannot be made.
pub(crate) fn with_regions(count: u64) -> Result<impl Sized> {
    let machine = Vm::new(
        VmConfig::new(1, "benchmark", Ept::format()?),
        CountingHal::default(),
    );
    let machine = machine.context("the machine is not made")?;
    for number in 0..count {
        let guest = GuestPhysAddr::new(RAM.as_u64() + 2 * number * PAGE_SIZE_4K);
        let host = HostPhysAddr::new(guest.as_u64());
        machine.map_region(guest, host, PAGE_SIZE_4K, MappingFlags::READ_WRITE)?;
    }
    Ok(machine)
}

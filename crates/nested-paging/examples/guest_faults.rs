//! A virtual machine whose memory is filled when the guest first touches it, and read and written by the host.
//!
//! `cargo run -p nested-paging --example guest_faults`

use std::alloc::{Layout, alloc, dealloc};
use std::error::Error;
use std::ptr::{self, NonNull};

use nested_paging::x86_64::{Capabilities, Mode};
use nested_paging::{
    Ept, FaultOutcome, GuestPhysAddr, GuestUse, HostFrames, HostMap, HostMemoryKind, HostPhysAddr,
    HostPhysRange, HostUse, Invalidation, InvalidationFailed, MapType, MappingFlags, MemoryRegion,
    PAGE_SIZE_4K, Population, Vm, VmConfig, VmHal,
};

/// Frames are the program's own heap: a host-physical address is the address of the byte.
struct Heap;

impl Heap {
    /// A run of tables is aligned to its size.
    fn layout(frames: u64) -> Option<Layout> {
        let size = usize::try_from(frames.checked_mul(PAGE_SIZE_4K)?).ok()?;
        Layout::from_size_align(size, size.checked_next_power_of_two()?).ok()
    }
}

// SAFETY: the allocator hands out memory that nobody else uses, aligned as the layout says, and a pointer that it has
// exposed is valid as long as the memory is out. It may be called from several threads.
unsafe impl HostFrames for Heap {
    const PARTIAL_FREE: bool = false;

    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let layout = Self::layout(frames).filter(|layout| layout.align() as u64 >= alignment)?;
        // SAFETY: `frames` is not 0, so the size is not 0.
        let run = NonNull::new(unsafe { alloc(layout) })?;
        Some(HostPhysAddr::from_usize(run.as_ptr().expose_provenance()))
    }

    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        if let Some(layout) = Self::layout(frames) {
            // SAFETY: by the caller's conditions the run was allocated with this layout.
            unsafe { dealloc(self.pointer(base).as_ptr(), layout) };
        }
    }

    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        let pointer = ptr::with_exposed_provenance_mut(address.as_usize());
        NonNull::new(pointer).unwrap_or(NonNull::dangling())
    }
}

struct Hal {
    frames: Heap,
    /// What the host uses its memory for.
    host: HostMap,
}

// SAFETY: the frames are the heap's at every call. A device is granted, and no RAM. Nothing is reserved. No CPU walks these tables, so none can
// reach what was removed.
unsafe impl VmHal for Hal {
    type Frames = Heap;

    fn frames(&self) -> &Heap {
        &self.frames
    }

    /// The devices of the host, and no memory but what comes from `frames`. A host that keeps RAM away from its own code would
    /// ask `permits_ram` for it.
    fn grants(&self, range: HostPhysRange, r#use: GuestUse) -> bool {
        match r#use.kind() {
            HostMemoryKind::Device => self.host.permits_device(range),
            HostMemoryKind::Ram => false,
        }
    }

    fn alloc_memory_region_at(&self, _base: HostPhysAddr, _size: u64) -> bool {
        false
    }

    fn dealloc_memory_region_at(&self, _base: HostPhysAddr, _size: u64) {}

    /// A hypervisor calls `Ept::invalidate` here, on each CPU that the request addresses.
    fn invalidate(&self, _request: &Invalidation) -> Result<(), InvalidationFailed> {
        Ok(())
    }
}

/// Where the host has its UART.
const UART: u64 = 0x0900_0000;

/// What an exit handler does with an EPT violation at `gpa`.
fn on_fault(
    vm: &Vm<Ept, Hal>,
    gpa: GuestPhysAddr,
    access: MappingFlags,
) -> Result<(), Box<dyn Error>> {
    let outcome = vm.handle_page_fault(gpa, access)?;
    println!("fault at {gpa}: {outcome:?}");
    match outcome {
        FaultOutcome::Filled | FaultOutcome::Spurious | FaultOutcome::Retry => Ok(()),
        FaultOutcome::Denied | FaultOutcome::NotMapped => Err("the guest is stopped".into()),
    }
}

/// A UART in the last page below the hypervisor.
fn host_memory() -> Result<HostMap, Box<dyn Error>> {
    let range = |start, size| HostPhysRange::from_start_size(HostPhysAddr::new(start), size);
    let uses = [
        (range(UART, PAGE_SIZE_4K)?, HostUse::Device),
        (range(UART + PAGE_SIZE_4K, 0x20_0000)?, HostUse::Hypervisor),
    ];
    Ok(uses.into_iter().collect())
}

fn main() -> Result<(), Box<dyn Error>> {
    let format = Ept::new(
        Mode::Ept4,
        Capabilities::new().with_physical_address_bits(52),
    )?;
    let base = GuestPhysAddr::new(0x10_0000);
    let flags = MappingFlags::READ_WRITE | MappingFlags::EXECUTE;
    let mut ram = MemoryRegion::new("ram", base, 1 << 30, flags.bits().into(), MapType::Alloc);
    ram.population = Population::ON_FIRST_USE;
    let mut config = VmConfig::new(1, "guest", format);
    config.memory_regions = vec![ram];
    let hal = Hal {
        frames: Heap,
        host: host_memory()?,
    };
    let vm = Vm::new(config, hal)?;
    println!(
        "1 GiB of RAM, {} bytes of it mapped",
        vm.statistics().mapped_bytes
    );

    // The guest touches its memory; the second touch of a page is spurious, as when two CPUs fault at once.
    let page = GuestPhysAddr::new(0x20_3000);
    on_fault(&vm, page, MappingFlags::WRITE)?;
    on_fault(&vm, page, MappingFlags::READ)?;

    // The guest gets the UART, but not the page behind it, which is the hypervisor's.
    let (uart, device) = (
        HostPhysAddr::new(UART),
        MappingFlags::READ_WRITE | MappingFlags::DEVICE,
    );
    vm.map_region(GuestPhysAddr::new(0xf000_0000), uart, PAGE_SIZE_4K, device)?;
    let elsewhere = GuestPhysAddr::new(0xf001_0000);
    let refused = vm.map_region(elsewhere, uart, 2 * PAGE_SIZE_4K, device);
    println!("two pages from the UART on: {refused:?}");

    // The host loads an image, across pages that the guest has not touched yet, and reads it back.
    let image = [0x5a; 3 * PAGE_SIZE_4K as usize];
    vm.write_to_guest(base, &image)?;
    let mut copy = [0; 3 * PAGE_SIZE_4K as usize];
    vm.read_from_guest(base, &mut copy)?;
    assert_eq!(copy, image);
    println!("now {} bytes are mapped", vm.statistics().mapped_bytes);

    let beyond = GuestPhysAddr::new(0);
    assert!(on_fault(&vm, beyond, MappingFlags::READ).is_err());
    Ok(())
}

//! A bare table with a frame source of one's own: map, translate, unmap.
//!
//! It runs on any host, since nothing but the instructions of an invalidation needs the hardware:
//! `cargo run -p nested-paging --example bare_table`

use std::cell::RefCell;
use std::error::Error;
use std::ptr::NonNull;

use nested_paging::riscv64::{Capabilities, Mode};
use nested_paging::{
    GStage, GuestPhysAddr, GuestPhysRange, HostFrames, HostPhysAddr, Invalidation,
    InvalidationFailed, MappingFlags, NestedPageTable, PAGE_SIZE_4K, TableHost,
};

/// Where the pool lies in host-physical memory: here a number, in a hypervisor its own linker's or loader's.
const POOL_BASE: u64 = 0x8000_0000;
const POOL_FRAMES: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(4096))]
struct Frame([u8; PAGE_SIZE_4K as usize]);

/// A fixed number of frames, and which of them are out.
struct Pool {
    memory: NonNull<u8>,
    is_out: RefCell<[bool; POOL_FRAMES]>,
}

impl Pool {
    fn new() -> Self {
        let frames = vec![Frame([0; PAGE_SIZE_4K as usize]); POOL_FRAMES];
        Self {
            memory: NonNull::from(frames.leak()).cast(),
            is_out: RefCell::new([false; POOL_FRAMES]),
        }
    }
}

// SAFETY: a run is handed out when none of its frames is out, and is marked. The memory is leaked, so a pointer into it
// is valid to its end. It begins on a multiple of 4 KiB, as POOL_BASE does. `RefCell` keeps other threads away.
unsafe impl HostFrames for Pool {
    const PARTIAL_FREE: bool = true;

    fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
        let (length, step) = (frames as usize, (alignment / PAGE_SIZE_4K) as usize);
        let mut is_out = self.is_out.borrow_mut();
        let is_free = |first: &usize| match is_out.get(*first..first + length) {
            Some(run) => !run.contains(&true),
            None => false,
        };
        // POOL_BASE is a multiple of every alignment that a root asks for.
        let first = (0..POOL_FRAMES).step_by(step).find(is_free)?;
        is_out[first..first + length].fill(true);
        HostPhysAddr::new(POOL_BASE).checked_add(first as u64 * PAGE_SIZE_4K)
    }

    unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
        let first = ((base.as_u64() - POOL_BASE) / PAGE_SIZE_4K) as usize;
        self.is_out.borrow_mut()[first..first + frames as usize].fill(false);
    }

    fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
        let offset = (address.as_u64() - POOL_BASE) as usize;
        // SAFETY: the address lies in a run of this pool.
        unsafe { self.memory.byte_add(offset) }
    }
}

struct Host(Pool);

// SAFETY: the frames are the pool's at every call. No CPU walks this table, so none can use what was removed. `invalidate`
// does not touch the table.
unsafe impl TableHost for Host {
    type Frames = Pool;

    fn frames(&self) -> &Pool {
        &self.0
    }

    /// A hypervisor calls `GStage::invalidate` here, on each CPU that the request addresses.
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        match request.covers_everything() {
            true => println!("  invalidate everything on {:?}", request.scope()),
            false => println!(
                "  invalidate on {:?}: {:?}",
                request.scope(),
                request.ranges()
            ),
        }
        Ok(())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // On the machine itself, `Capabilities::detect` reads them from the hart.
    let capabilities = Capabilities::new().with_vmid_bits(14);
    let format = GStage::new(Mode::Sv39x4, capabilities)?;
    let mut table = NestedPageTable::new(format, 1, Host(Pool::new()))?;
    println!("hgatp = {:#x}", table.space().root_register);

    let ram = GuestPhysRange::from_start_size(GuestPhysAddr::new(0x8000_0000), 0x40_0000)?;
    table.map(
        ram,
        HostPhysAddr::new(0x1_4000_0000),
        MappingFlags::READ_WRITE,
    )?;
    println!("4 MiB are mapped: {:?}", table.statistics().leaves);

    let page = GuestPhysRange::from_start_size(GuestPhysAddr::new(0x8000_3000), PAGE_SIZE_4K)?;
    println!("unmap {page}:");
    table.unmap(page)?;
    println!("one block is split: {:?}", table.statistics().leaves);

    assert_eq!(table.translate(page.start()), None);
    let neighbour = table.host_of(GuestPhysAddr::new(0x8000_4567));
    assert_eq!(neighbour, Some(HostPhysAddr::new(0x1_4000_4567)));
    println!("dropping the table invalidates its address space, then returns its frames:");
    Ok(())
}

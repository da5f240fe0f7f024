//! The example, with the static functions of a host.

#[path = "../../examples/axvm_tables.rs"]
#[expect(
    dead_code,
    unreachable_pub,
    unused_attributes,
    reason = "by itself it is the root of a crate"
)]
mod axvm_tables;

use std::sync::LazyLock;

use ax_memory_addr::{PhysAddr, VirtAddr};
use axaddrspace::{AddrSpace, MappingFlags};
use page_table_generic::FrameAllocator;

use crate::READ_WRITE;
use crate::arena::Arena;

static ARENA: LazyLock<Arena> = LazyLock::new(Arena::new);

struct Handler;

impl axvm_tables::PagingHandler for Handler {
    fn alloc_frame() -> Option<PhysAddr> {
        ARENA.alloc_frame()
    }

    fn alloc_frames(frames: usize, alignment: usize) -> Option<PhysAddr> {
        ARENA.alloc_frames(frames, alignment)
    }

    fn dealloc_frame(frame: PhysAddr) {
        ARENA.dealloc_frame(frame);
    }

    fn dealloc_frames(start: PhysAddr, frames: usize) {
        ARENA.dealloc_frames(start, frames, 0x1000);
    }

    fn phys_to_virt(address: PhysAddr) -> VirtAddr {
        VirtAddr::from_mut_ptr_of(ARENA.phys_to_virt(address))
    }

    fn clean_dcache_range(_: PhysAddr, _: usize) {}
}

#[test]
fn the_example_makes_tables_that_an_address_space_uses() {
    #[cfg(target_arch = "x86_64")]
    {
        use axvm_tables::NestedPagingFormat::{Ept, Npt};
        use_it(|levels| axvm_tables::new::<Handler>(levels, Ept));
        use_it(|levels| axvm_tables::new::<Handler>(levels, Npt));
    }
    #[cfg(not(target_arch = "x86_64"))]
    use_it(axvm_tables::new::<Handler>);
}

fn use_it(
    new: impl Fn(usize) -> Result<axvm_tables::NestedPageTable<Handler>, axvm_tables::Error>,
) {
    let table = new(4).unwrap();
    let config = table.nested_paging_config();
    assert_eq!(config.levels, 4);
    let mut space = AddrSpace::new_empty(table, 0.into(), 1 << 40).unwrap();
    assert_eq!(space.page_table_root(), config.root_paddr);
    let base = 0x4000_0000;
    space
        .map_alloc(base.into(), 0x20_0000, READ_WRITE, false)
        .unwrap();
    assert!(space.handle_page_fault((base + 0x1234).into(), MappingFlags::READ));
    let host = space.translate((base + 0x1234).into()).unwrap();
    assert_eq!(host.as_usize() & 0xfff, 0x234);
    drop(space);
    assert!(ARENA.out().is_empty());
    assert!(new(2).is_err());
}

//! The least consumer of `page-table-generic`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]

/// On a host there is nothing to do but to say what to do.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("This is for its size only. Try: cargo xtask bench --size");
}

#[cfg(target_os = "none")]
mod consumer {
    #![expect(unsafe_code, reason = "gives back frames")]

    use core::sync::atomic::{Ordering, fence};

    use code_size::frames;
    use code_size::request::{Consumer, FAILURE, Request, serve};
    use page_table_generic::{
        FrameAllocator, MapConfig, PageTable, PageTableEntry, PhysAddr, TableMeta, VirtAddr,
    };

    const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
    const READ_WRITE: u64 = 0b11;
    const PRESENT: u64 = 0b111;
    const HUGE: u64 = 1 << 7;

    /// An entry in the format of EPT, on all architectures: the format is the user's part.
    #[derive(Clone, Copy, Debug)]
    #[repr(transparent)]
    struct Entry(u64);

    impl PageTableEntry for Entry {
        type PteConfig = u64;

        fn new_page(address: PhysAddr, config: u64, is_huge: bool) -> Self {
            let size = if is_huge { HUGE } else { 0 };
            Self((address.as_usize() as u64 & ADDRESS) | config | size)
        }

        fn new_table(address: PhysAddr) -> Self {
            Self((address.as_usize() as u64 & ADDRESS) | PRESENT)
        }

        fn paddr(&self, _is_dir: bool) -> PhysAddr {
            PhysAddr::from_usize((self.0 & ADDRESS) as usize)
        }

        fn config(&self, _is_dir: bool) -> u64 {
            self.0 & PRESENT
        }

        fn present(&self) -> bool {
            self.0 & PRESENT != 0
        }

        fn huge(&self, is_dir: bool) -> bool {
            is_dir && self.0 & HUGE != 0
        }

        fn unused(&self) -> bool {
            self.0 == 0
        }

        fn clear(&mut self) {
            self.0 = 0;
        }
    }

    #[derive(Clone, Copy)]
    struct Metadata;

    impl TableMeta for Metadata {
        type P = Entry;

        const PAGE_SIZE: usize = frames::FRAME_BYTES as usize;
        const LEVEL_BITS: &[usize] = &[9; 4];
        const MAX_BLOCK_LEVEL: usize = 3;
        const STRICT_ADDRESS_WIDTH: bool = true;

        /// The least that can stand for an instruction.
        fn flush(_address: Option<VirtAddr>) {
            fence(Ordering::SeqCst);
        }
    }

    #[derive(Clone, Copy)]
    struct Frames;

    impl FrameAllocator for Frames {
        fn alloc_frame(&self) -> Option<PhysAddr> {
            Some(PhysAddr::from_usize(frames::take()? as usize))
        }

        fn dealloc_frame(&self, frame: PhysAddr) {
            // SAFETY: the crate gives back what it was given, once.
            unsafe { frames::give_back(frame.as_usize() as u64) }
        }

        fn phys_to_virt(&self, address: PhysAddr) -> *mut u8 {
            frames::pointer(address.as_usize() as u64)
        }
    }

    struct Table(PageTable<Metadata, Frames>);

    impl Consumer for Table {
        fn map(&mut self, request: &Request) -> u64 {
            let config = MapConfig {
                vaddr: VirtAddr::from_usize(request.guest as usize),
                paddr: PhysAddr::from_usize(request.host as usize),
                size: request.size as usize,
                pte: READ_WRITE,
                allow_huge: true,
                flush: true,
            };
            match self.0.map(&config) {
                Ok(()) => 0,
                Err(_) => FAILURE,
            }
        }

        fn unmap(&mut self, request: &Request) -> u64 {
            let start = VirtAddr::from_usize(request.guest as usize);
            match self.0.unmap(start, request.size as usize) {
                Ok(()) => 0,
                Err(_) => FAILURE,
            }
        }

        fn translate(&self, request: &Request) -> u64 {
            let guest = VirtAddr::from_usize(request.guest as usize);
            match self.0.translate_phys(guest) {
                Ok(host) => host.as_usize() as u64,
                Err(_) => FAILURE,
            }
        }
    }

    /// # Safety
    ///
    /// Those of [`frames::provide`] and [`serve`].
    #[unsafe(no_mangle)]
    unsafe extern "C" fn _start(
        start: u64,
        end: u64,
        requests: *const Request,
        count: usize,
    ) -> u64 {
        // SAFETY: the caller keeps the same conditions.
        unsafe { frames::provide(start, end) };
        let Ok(table) = PageTable::new(Frames) else {
            return FAILURE;
        };
        // SAFETY: the caller keeps the same conditions.
        unsafe { serve(&mut Table(table), requests, count) }
    }
}

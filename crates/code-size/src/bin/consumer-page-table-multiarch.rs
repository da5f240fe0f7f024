//! The least consumer of `page_table_multiarch`.
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

    use code_size::frames;
    use code_size::request::{Consumer, FAILURE, Request, serve};
    use memory_addr::{PhysAddr, VirtAddr};
    use page_table_multiarch::{MappingFlags, PagingHandler};

    #[cfg(target_arch = "aarch64")]
    type PageTable = page_table_multiarch::aarch64::A64PageTable<Handler>;
    #[cfg(target_arch = "riscv64")]
    type PageTable = page_table_multiarch::riscv::Sv48PageTable<Handler>;
    #[cfg(target_arch = "x86_64")]
    type PageTable = page_table_multiarch::x86_64::X64PageTable<Handler>;

    struct Handler;

    impl PagingHandler for Handler {
        fn alloc_frames(frames: usize, alignment: usize) -> Option<PhysAddr> {
            let frame = match frames {
                1 => frames::take(),
                _ => frames::take_run(frames as u64, alignment as u64),
            };
            Some(PhysAddr::from_usize(frame? as usize))
        }

        fn dealloc_frames(address: PhysAddr, frames: usize) {
            for number in 0..frames as u64 {
                let frame = address.as_usize() as u64 + number * frames::FRAME_BYTES;
                // SAFETY: the crate gives back what it was given, once.
                unsafe { frames::give_back(frame) }
            }
        }

        fn phys_to_virt(address: PhysAddr) -> VirtAddr {
            VirtAddr::from_usize(address.as_usize())
        }
    }

    struct Table(PageTable);

    impl Consumer for Table {
        fn map(&mut self, request: &Request) -> u64 {
            let start = VirtAddr::from_usize(request.guest as usize);
            let host = PhysAddr::from_usize(request.host as usize);
            let target = |address: VirtAddr| host + (address - start);
            let flags = MappingFlags::READ | MappingFlags::WRITE;
            let size = request.size as usize;
            let mut cursor = self.0.cursor();
            match cursor.map_region(start, target, size, flags, true) {
                Ok(()) => 0,
                Err(_) => FAILURE,
            }
        }

        fn unmap(&mut self, request: &Request) -> u64 {
            let start = VirtAddr::from_usize(request.guest as usize);
            match self.0.cursor().unmap_region(start, request.size as usize) {
                Ok(()) => 0,
                Err(_) => FAILURE,
            }
        }

        fn translate(&self, request: &Request) -> u64 {
            match self.0.query(VirtAddr::from_usize(request.guest as usize)) {
                Ok((host, _, _)) => host.as_usize() as u64,
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
        let Ok(table) = PageTable::try_new() else {
            return FAILURE;
        };
        // SAFETY: the caller keeps the same conditions.
        unsafe { serve(&mut Table(table), requests, count) }
    }
}

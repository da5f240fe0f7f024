//! The least consumer of `aarch64-paging`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]

/// On a host there is nothing to do but to say what to do.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("This is for its size only. Try: cargo xtask bench --size");
}

#[cfg(target_os = "none")]
mod consumer {
    #![expect(unsafe_code, reason = "hands the crate frames, and takes them back")]

    use core::ptr::{self, NonNull};

    use aarch64_paging::Mapping;
    use aarch64_paging::descriptor::{PhysicalAddress, Stage2Attributes};
    use aarch64_paging::paging::{Constraints, MemoryRegion, PageTable, Stage2, Translation};
    use code_size::frames;
    use code_size::request::{Consumer, FAILURE, Request, serve};

    type Level = PageTable<Stage2Attributes>;

    const READ_WRITE: Stage2Attributes = Stage2Attributes::MEMATTR_NORMAL_INNER_WB
        .union(Stage2Attributes::MEMATTR_NORMAL_OUTER_WB)
        .union(Stage2Attributes::S2AP_ACCESS_RW)
        .union(Stage2Attributes::SH_INNER)
        .union(Stage2Attributes::ACCESS_FLAG)
        .union(Stage2Attributes::XN)
        .union(Stage2Attributes::VALID);

    struct Frames;

    impl Translation<Stage2Attributes> for Frames {
        /// The crate knows no failure here: a frame that is missing is one at address 0.
        fn allocate_table(&mut self) -> (NonNull<Level>, PhysicalAddress) {
            let address = PhysicalAddress(frames::take().unwrap_or_default() as usize);
            let table = self.physical_to_virtual(address);
            // SAFETY: the frame was just taken, and is as long as a table.
            unsafe { ptr::write_bytes(table.as_ptr(), 0, 1) };
            (table, address)
        }

        unsafe fn deallocate_table(&mut self, table: NonNull<Level>) {
            // SAFETY: the caller gives back what `allocate_table` gave, once.
            unsafe { frames::give_back(table.as_ptr().expose_provenance() as u64) }
        }

        fn physical_to_virtual(&self, address: PhysicalAddress) -> NonNull<Level> {
            let table = frames::pointer(address.0 as u64).cast();
            NonNull::new(table).unwrap_or(NonNull::dangling())
        }
    }

    struct Table(Mapping<Frames, Stage2>);

    impl Table {
        fn set(&mut self, request: &Request, attributes: Stage2Attributes) -> u64 {
            let Some(region) = region(request.guest, request.size) else {
                return FAILURE;
            };
            let host = PhysicalAddress(request.host as usize);
            match self
                .0
                .map_range(&region, host, attributes, Constraints::empty())
            {
                Ok(()) => 0,
                Err(_) => FAILURE,
            }
        }
    }

    impl Consumer for Table {
        fn map(&mut self, request: &Request) -> u64 {
            self.set(request, READ_WRITE)
        }

        fn unmap(&mut self, request: &Request) -> u64 {
            self.set(request, Stage2Attributes::empty())
        }

        fn translate(&self, request: &Request) -> u64 {
            let Some(region) = region(request.guest, 1) else {
                return FAILURE;
            };
            let mut found = FAILURE;
            let walked = self.0.walk_range(&region, &mut |_, descriptor, level| {
                if descriptor.is_valid() {
                    let mask = (1_u64 << (39_usize.saturating_sub(9 * level) & 63)) - 1;
                    let base = descriptor.output_address().0 as u64 & !mask;
                    found = base | (request.guest & mask);
                }
                Ok(())
            });
            walked.map_or(FAILURE, |()| found)
        }
    }

    fn region(guest: u64, size: u64) -> Option<MemoryRegion> {
        let end = guest.checked_add(size)?;
        Some(MemoryRegion::new(guest as usize, end as usize))
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
        let mapping = Mapping::new(Frames, 0, Stage2);
        mapping.mark_active();
        let mut table = Table(mapping);
        // SAFETY: the caller keeps the same conditions.
        let answer = unsafe { serve(&mut table, requests, count) };
        table.0.mark_inactive();
        answer
    }
}

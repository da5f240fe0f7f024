//! The least consumer of `nested-page-table`.
#![cfg_attr(target_os = "none", no_std, no_main)]
#![deny(unsafe_code)]

/// On a host there is nothing to do but to say what to do.
#[cfg(not(target_os = "none"))]
fn main() {
    println!("This is for its size only. Try: cargo xtask bench --size");
}

#[cfg(target_os = "none")]
mod consumer {
    #![expect(unsafe_code, reason = "hands out frames, and executes invalidations")]

    use core::ptr::NonNull;

    use code_size::frames;
    use code_size::request::{Consumer, FAILURE, Request, serve};
    use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
    use mapping_flags::MappingFlags;
    use nested_page_table::{
        HostFrames, Invalidation, InvalidationFailed, NestedPageTable, TableHost,
    };
    #[cfg(target_arch = "aarch64")]
    use nested_paging_aarch64::{Capabilities, Mode, Stage2 as Format};
    #[cfg(target_arch = "riscv64")]
    use nested_paging_riscv64::{Capabilities, GStage as Format, Mode};
    #[cfg(target_arch = "x86_64")]
    use nested_paging_x86_64::{Capabilities, Ept as Format, Mode};

    #[cfg(target_arch = "aarch64")]
    const MODE: Mode = Mode::IPA48;
    #[cfg(target_arch = "riscv64")]
    const MODE: Mode = Mode::Sv48x4;
    #[cfg(target_arch = "x86_64")]
    const MODE: Mode = Mode::Ept4;

    /// The machine is known when the program is compiled, as it is for the other libraries.
    const FORMAT: Format = match Format::new(MODE, Capabilities::common()) {
        Ok(format) => format,
        Err(_) => panic!("the mode is not among the capabilities"),
    };

    struct Frames;

    // SAFETY: the frames of the program are used by nobody else, and addresses are pointers.
    unsafe impl HostFrames for Frames {
        const PARTIAL_FREE: bool = true;

        fn alloc(&self, frames: u64, alignment: u64) -> Option<HostPhysAddr> {
            let frame = match (frames, alignment) {
                (1, frames::FRAME_BYTES) => frames::take(),
                _ => frames::take_run(frames, alignment),
            };
            frame.map(HostPhysAddr::new)
        }

        unsafe fn dealloc(&self, base: HostPhysAddr, frames: u64) {
            for number in 0..frames {
                // SAFETY: the caller keeps the same conditions.
                unsafe { frames::give_back(base.as_u64() + number * frames::FRAME_BYTES) }
            }
        }

        fn pointer(&self, address: HostPhysAddr) -> NonNull<u8> {
            // SAFETY: the address lies in a frame, none of which is at 0.
            unsafe { NonNull::new_unchecked(frames::pointer(address.as_u64())) }
        }
    }

    struct Host {
        frames: Frames,
    }

    // SAFETY: the frames are a field; the program has one CPU, which executes what carries a request out.
    unsafe impl TableHost for Host {
        type Frames = Frames;

        fn frames(&self) -> &Frames {
            &self.frames
        }

        fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
            // SAFETY: the program is for a hypervisor that runs with the rights that it takes.
            let _outcome = unsafe { FORMAT.invalidate(request) };
            // Of the three only INVEPT can fail.
            #[cfg(target_arch = "x86_64")]
            _outcome?;
            Ok(())
        }
    }

    struct Table<'t>(&'t mut NestedPageTable<Format, Host>);

    impl Consumer for Table<'_> {
        fn map(&mut self, request: &Request) -> u64 {
            let host = HostPhysAddr::new(request.host);
            let mapped = range(request)
                .is_some_and(|guest| self.0.map(guest, host, MappingFlags::READ_WRITE).is_ok());
            if mapped { 0 } else { FAILURE }
        }

        fn unmap(&mut self, request: &Request) -> u64 {
            let unmapped = range(request).is_some_and(|guest| self.0.unmap(guest).is_ok());
            if unmapped { 0 } else { FAILURE }
        }

        fn translate(&self, request: &Request) -> u64 {
            let guest = GuestPhysAddr::new(request.guest);
            let host = self.0.host_of(guest);
            host.map_or(FAILURE, HostPhysAddr::as_u64)
        }
    }

    fn range(request: &Request) -> Option<GuestPhysRange> {
        GuestPhysRange::from_start_size(GuestPhysAddr::new(request.guest), request.size).ok()
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
        // Not `FORMAT`: a constant of that size is copied by a call of `memcpy`.
        let Ok(format) = Format::new(MODE, Capabilities::common()) else {
            return FAILURE;
        };
        let mut table = NestedPageTable::new(format, 1, Host { frames: Frames });
        let Ok(table) = &mut table else {
            return FAILURE;
        };
        // SAFETY: the caller keeps the same conditions.
        unsafe { serve(&mut Table(table), requests, count) }
    }
}

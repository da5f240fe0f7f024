//! What a virtual machine asks of the hypervisor around it.
#![expect(
    unsafe_code,
    reason = "the trait that vouches for host memory, and its forwarders"
)]

use alloc::sync::Arc;

use guest_addr::{HostPhysAddr, HostPhysRange};
use nested_page_table::{HostFrames, Invalidation, InvalidationFailed, TableHost};

use crate::guest_use::GuestUse;
#[cfg(doc)]
use crate::guest_use::HostMemoryKind;
use crate::table_frames::TableFrames;
use crate::vmid_claim::VmidClaim;

/// The hypervisor's side of a virtual machine: memory, and the caches of the processors.
///
/// Methods are called from several CPUs at once if the machine is used so. Most calls come with the machine's lock held, so no
/// method may call back into the machine. Frames of guest memory are taken without the lock, and so are channels' frames
/// given back.
///
/// # Safety
///
/// The crate reads and writes guest memory through pointers, and gives back frames that guests had.
/// The implementor promises:
///
/// - **Frames.** [`frames`](Self::frames) returns the same source at every call.
/// - **Grants.** If [`grants`](Self::grants) returns `true` for a range and a use whose
///   [`kind`](GuestUse::kind) is [`Ram`](HostMemoryKind::Ram), then for as long as a machine has the
///   range mapped:
///   - `frames().pointer(address)` works for every address in the range. The pointer is valid for reads and
///     writes to the end of its 4 KiB page, is the same at each call, and keeps the alignment of the
///     address up to 4 KiB;
///   - no Rust code of the host uses the memory, except other machines of this crate. In particular
///     no frame that `frames()` has handed out, or will hand out meanwhile, lies in the range.
///     (For [`IdenticalRam`](GuestUse::IdenticalRam) this holds only after the range is reserved. For
///     [`IvcChannel`](GuestUse::IvcChannel) it always holds: the channel owns the frames.)
/// - **Devices.** If `grants` returns `true` for a [`Device`](HostMemoryKind::Device), no access by
///   the guest can change memory that Rust code uses. (This does not include DMA by the device, which the host and its
///   IOMMU must control.)
/// - **Reserved memory.** After [`alloc_memory_region_at`](Self::alloc_memory_region_at) returned
///   `true`, nobody else uses the range until
///   [`dealloc_memory_region_at`](Self::dealloc_memory_region_at).
/// - **Invalidation.** When [`invalidate`](Self::invalidate) returns `Ok`, no CPU that the request
///   addresses can use a removed entry. The crate then gives frames back.
///
/// A machine has a range from the call of `grants` until [`Vm::unmap_region`](crate::Vm::unmap_region) of
/// the range succeeds, the machine is dropped, or the operation that asked returns an error.
pub unsafe trait VmHal {
    /// Where frames for tables and for guest memory come from.
    type Frames: HostFrames;

    /// The source of frames; the same one at every call.
    fn frames(&self) -> &Self::Frames;

    /// Returns whether this machine's guest may have the host memory `range`, and use it as `use` says.
    ///
    /// The range consists of whole 4 KiB pages. The question comes before any other use of them: for identical, reserved
    /// and passthrough regions of the configuration, in `map_region`, and in `map_ivc_channel`. Regions that were merged
    /// into one mapping come one by one. After `false` the operation returns
    /// [`VmError::NotGranted`](crate::VmError::NotGranted).
    ///
    /// Approve only memory that the host keeps away from its own Rust code. Then every safe method of
    /// [`Vm`](crate::Vm) is safe to call. The section on safety says what an approval promises.
    fn grants(&self, range: HostPhysRange, r#use: GuestUse) -> bool;

    /// Reserves `size` bytes of host RAM from `base` on for this machine, both multiples of 4 KiB.
    /// Returns `false` if a byte of it is not free. The contents are unspecified.
    ///
    /// Called for identical regions that [`grants`](Self::grants) approved. After `false`, `grants` decides
    /// whether the guest gets the memory without a reservation
    /// ([`UnreservedIdenticalRam`](GuestUse::UnreservedIdenticalRam)). That is a warning.
    fn alloc_memory_region_at(&self, base: HostPhysAddr, size: u64) -> bool;

    /// Takes back memory that [`alloc_memory_region_at`](Self::alloc_memory_region_at) reserved, with the same
    /// arguments. No CPU and no cached translation reaches it any more.
    fn dealloc_memory_region_at(&self, base: HostPhysAddr, size: u64);

    /// Claims `vmid` for a new machine. Returns `false` if a live machine of this host has it: then the new machine is
    /// refused. Two machines with one VMID would use each other's cached translations.
    ///
    /// The default always returns `true`. Then the host must give each machine a separate VMID by other means. On x86
    /// the VMID has no meaning for the hardware.
    fn claim_vmid(&self, vmid: u16) -> bool {
        let _ = vmid;
        true
    }

    /// The machine that claimed `vmid` is gone, and its translations have been invalidated. Called without the
    /// machine's lock. Not called where the invalidation failed: the VMID then stays taken.
    fn release_vmid(&self, vmid: u16) {
        let _ = vmid;
    }

    /// Carries out `request`. Returns when every CPU that it addresses has done so, and no earlier walk can still
    /// use a removed entry.
    ///
    /// This CPU stored to the tables before the call. Make these stores visible before you signal another
    /// CPU: by a release, or by the barrier that an interrupt to another CPU needs anyway. Interrupt every CPU
    /// that is inside the guest: it uses the old translation until it leaves.
    ///
    /// # Errors
    ///
    /// [`InvalidationFailed`]: a CPU could not do it. Then nothing that the request covers is given back, and the
    /// request is repeated later.
    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed>;

    /// Writes dirty lines of the data cache in `range` back to the point of coherency, and drops
    /// them if the guest may bypass the cache.
    ///
    /// Called before the guest can see normal memory, and after `write_to_guest`. AArch64 without
    /// FEAT_S2FWB needs it (Arm ARM DDI 0487, D8, combining stage 1 and stage 2 memory types): a
    /// guest with its MMU off bypasses the cache.
    fn clean_data_cache(&self, range: HostPhysRange) {
        let _ = range;
    }

    /// Writes dirty lines of the data cache that hold bytes of `range` back to the point of coherency, and
    /// drops all of them.
    ///
    /// Called before `read_from_guest` and `write_to_guest` copy. AArch64 without FEAT_S2FWB needs it if guests
    /// may store to memory with their caches off, or by Non-cacheable mappings (Arm ARM DDI 0487, B2,
    /// "Mismatched memory attributes"). Otherwise the hypervisor reads an older line of its cache, or writes such a
    /// line back over the guest's store. Use DC CIVAC. DC IVAC would also drop the stores of a guest with its caches
    /// on. The default does nothing.
    fn drop_stale_lines(&self, range: HostPhysRange) {
        let _ = range;
    }

    /// Makes stores to `range` visible to instruction fetches of all CPUs. Called for memory that the guest may
    /// execute, after [`clean_data_cache`](Self::clean_data_cache). AArch64 and RISC-V need it: on RISC-V, `FENCE.I` on
    /// every hart that runs the guest.
    fn sync_instructions(&self, range: HostPhysRange) {
        let _ = range;
    }
}

macro_rules! forward_to_referent {
    ($($pointer:ty),+) => {$(
        // SAFETY: every promise is the referent's.
        unsafe impl<T: VmHal + ?Sized> VmHal for $pointer {
            type Frames = T::Frames;

            fn frames(&self) -> &Self::Frames {
                (**self).frames()
            }

            fn grants(&self, range: HostPhysRange, r#use: GuestUse) -> bool {
                (**self).grants(range, r#use)
            }

            fn alloc_memory_region_at(&self, base: HostPhysAddr, size: u64) -> bool {
                (**self).alloc_memory_region_at(base, size)
            }

            fn dealloc_memory_region_at(&self, base: HostPhysAddr, size: u64) {
                (**self).dealloc_memory_region_at(base, size);
            }

            fn claim_vmid(&self, vmid: u16) -> bool {
                (**self).claim_vmid(vmid)
            }

            fn release_vmid(&self, vmid: u16) {
                (**self).release_vmid(vmid);
            }

            fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
                (**self).invalidate(request)
            }

            fn clean_data_cache(&self, range: HostPhysRange) {
                (**self).clean_data_cache(range);
            }

            fn drop_stale_lines(&self, range: HostPhysRange) {
                (**self).drop_stale_lines(range);
            }

            fn sync_instructions(&self, range: HostPhysRange) {
                (**self).sync_instructions(range);
            }
        }
    )+};
}

forward_to_referent!(&T, Arc<T>);

/// The part of the abstraction that the table uses, and the table's VMID, which goes after it.
pub(crate) struct HalTableHost<H: VmHal> {
    pub(crate) hal: Arc<H>,
    pub(crate) vmid: VmidClaim<H>,
    pub(crate) frames: TableFrames<H>,
}

// SAFETY: every promise is one of `VmHal`.
unsafe impl<H: VmHal> TableHost for HalTableHost<H> {
    type Frames = TableFrames<H>;

    #[inline]
    fn frames(&self) -> &Self::Frames {
        &self.frames
    }

    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        // First: should the host unwind, nobody knows what CPUs have forgotten.
        self.vmid.set_kept(true);
        self.hal.invalidate(request)?;
        self.vmid.set_kept(false);
        Ok(())
    }
}

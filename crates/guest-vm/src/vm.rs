//! A machine behind its lock.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU16, Ordering};

use guest_addr::{GuestPhysAddr, GuestPhysRange, HostPhysAddr};
use mapping_flags::MappingFlags;
use nested_page_table::{AddressSpaceId, Format, Mapping, Statistics};

use crate::address_space::AddressSpace;
use crate::channel::IvcChannel;
use crate::config::VmConfig;
use crate::error::VmError;
use crate::fault::FaultOutcome;
use crate::fault_statistics::{FaultCounters, FaultStatistics};
use crate::hal::VmHal;
use crate::inspect::EmulatedDevice;
use crate::lock::RwLock;
use crate::setup::set_up;
use crate::setup_error::SetupError;
use crate::warning::SetupReport;

/// The memory of one virtual machine, with a page table in the format `F` on the hypervisor `H`.
///
/// - **All or nothing.** An operation that returns an error has changed nothing: neither the table
///   nor what the machine knows about its regions, and no frame is lost. There are two exceptions, which
///   the errors name: a change that the host could not invalidate stands
///   ([`VmError::NotInvalidated`]), and pages that were populated stay so where frames for the next table
///   were missing. No error takes back what a running guest could see.
/// - **Readers and writers.** Operations may be called from several CPUs at once. Faults, guest copies, `translate`, `visit`
///   and statistics run in parallel. Changes (`map_region`, `unmap_region`, `protect_region`, channels) run one by one, in the
///   order in which they came, and no reader that comes later gets in before them. They hold the lock while CPUs are asked to forget
///   translations. **A CPU that waits for the lock must be able to acknowledge an invalidation**: call with
///   interrupts enabled, or have the hypervisor answer such requests while it spins.
///   [`handle_page_fault`](Self::handle_page_fault) alone never waits. Frames of guest memory are taken, cleared and
///   cleaned without the lock.
/// - **Frames last.** Memory is given back after every CPU has forgotten its translations.
/// - **Beside a running guest** every operation is allowed except dropping the machine:
///
/// | operation | what a running guest may notice |
/// |---|---|
/// | [`translate`](Self::translate), [`visit`](Self::visit), statistics | nothing |
/// | [`handle_page_fault`](Self::handle_page_fault), [`read_from_guest`](Self::read_from_guest), [`write_to_guest`](Self::write_to_guest) | pages appear, zeroed; a copy races with the guest's own accesses, word by word |
/// | [`map_region`](Self::map_region), [`alloc_ivc_channel`](Self::alloc_ivc_channel), [`map_ivc_channel`](Self::map_ivc_channel) | pages appear, in no particular order, with what the host memory contains |
/// | [`unmap_region`](Self::unmap_region), [`protect_region`](Self::protect_region), [`release_ivc_channel`](Self::release_ivc_channel) | the range changes page by page, and has changed everywhere on return; pages outside it that share a large leaf may be absent for a moment while the leaf is split, and such a fault ends `Spurious` or `Retry` |
///
/// Dropping the machine unmaps everything, invalidates, and gives back what was allocated or
/// reserved. No CPU may enter the guest any more.
pub struct Vm<F: Format, H: VmHal> {
    pub(crate) space: RwLock<AddressSpace<F, H>>,
    pub(crate) hal: Arc<H>,
    format: F,
    root: HostPhysAddr,
    pub(crate) vmid: AtomicU16,
    report: SetupReport,
    pub(crate) emulated: Vec<EmulatedDevice>,
    pub(crate) faults: FaultCounters,
}

impl<F: Format, H: VmHal> Vm<F, H> {
    /// Makes the machine that `config` describes, with memory and passed-through devices mapped.
    ///
    /// `hal` may be a reference or an `Arc`, which several machines can share. Warnings are in the
    /// [`setup_report`](Self::setup_report) and, with the feature `arceos`, in the log.
    ///
    /// # Errors
    ///
    /// Everything that was reserved or allocated is given back.
    ///
    /// - [`SetupError::Flags`]: the flags of a region have unknown bits, or are invalid for the
    ///   format.
    /// - [`SetupError::Plan`]: regions are empty, run past the last address, or conflict.
    /// - [`SetupError::VmidInUse`]: the host knows of a live machine with this VMID.
    /// - [`SetupError::Table`]: the VMID is too wide, or there are no frames for the root.
    /// - [`SetupError::Region`]: a region lies beyond the format's input or output width, the host does
    ///   not grant its memory, or there are no frames for it.
    pub fn new<'a>(config: VmConfig<'a, F>, hal: H) -> Result<Self, SetupError<'a>> {
        let (space, report) = set_up(&config, hal)?;
        for warning in &report.warnings {
            crate::log::warn(format_args!(
                "VM {}: {}: {warning}",
                config.name,
                warning.code()
            ));
        }
        Ok(Self {
            root: space.table.root(),
            vmid: AtomicU16::new(space.table.space().vmid),
            hal: Arc::clone(&space.hal),
            format: *space.table.format(),
            space: RwLock::new(space),
            report,
            emulated: EmulatedDevice::all(&config.emulated_regions),
            faults: FaultCounters::new(),
        })
    }

    /// What happened when the machine was set up.
    #[must_use]
    pub const fn setup_report(&self) -> &SetupReport {
        &self.report
    }

    /// The hypervisor's side, as it was given.
    #[must_use]
    pub fn hal(&self) -> &H {
        &self.hal
    }

    /// The format of the page table.
    #[must_use]
    pub const fn format(&self) -> &F {
        &self.format
    }

    /// The host-physical address of the root of the page table.
    #[must_use]
    pub const fn page_table_root(&self) -> HostPhysAddr {
        self.root
    }

    /// The VMID, and the register value that makes the page table the current one.
    #[must_use]
    pub fn address_space_id(&self) -> AddressSpaceId {
        // Without the lock: a CPU on its way into the guest has to answer requests.
        let vmid = self.vmid.load(Ordering::Relaxed);
        AddressSpaceId {
            vmid,
            root_register: self.format.root_register(self.root, vmid),
        }
    }

    /// Maps `size` bytes of guest memory from `gpa` on to the host memory from `hpa` on, if
    /// [`VmHal::grants`] approves. The host still owns the memory: it is never zeroed and never given
    /// back.
    ///
    /// Linear in the number of leaves made, and logarithmic in that of regions.
    ///
    /// # Errors
    ///
    /// - [`VmError::Range`]: `size` is zero, or a range runs past the last address.
    /// - [`VmError::Map`]: an address or the size is not a multiple of 4 KiB, the flags make no
    ///   sense for the format, an address exceeds its width, or there are no frames for tables.
    /// - [`VmError::Occupied`]: a page is in use. Emulated devices count, and so does allocated memory that
    ///   is not populated yet.
    /// - [`VmError::NotGranted`]: the host does not let the guest have the memory.
    /// - [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn map_region(
        &self,
        gpa: GuestPhysAddr,
        hpa: HostPhysAddr,
        size: u64,
        flags: MappingFlags,
    ) -> Result<(), VmError> {
        let guest = GuestPhysRange::from_start_size(gpa, size)?;
        self.space.write().map_region(guest, hpa, flags)
    }

    /// Unmaps `size` bytes from `gpa` on, across regions of any kind, and gives back the frames of
    /// allocated memory in the range. Holes and emulated devices are skipped. Reserved host memory is
    /// given back when the machine is dropped.
    ///
    /// # Errors
    ///
    /// - [`VmError::Range`]: `size` is zero, or the range runs past the last address.
    /// - [`VmError::Unmap`]: the range is not aligned to 4 KiB, exceeds the input width, or there
    ///   are no frames to split a leaf at its edges.
    /// - [`VmError::IvcChannelInRange`]: the range touches a channel.
    /// - [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn unmap_region(&self, gpa: GuestPhysAddr, size: u64) -> Result<(), VmError> {
        let guest = GuestPhysRange::from_start_size(gpa, size)?;
        self.space.write().unmap(guest)
    }

    /// Gives `size` bytes from `gpa` on the permissions `flags`: `READ`, `WRITE`, `EXECUTE` and
    /// `USER`. Each page keeps its memory type. A page that is not populated yet gets the permissions when it is
    /// populated. Holes and emulated devices are skipped.
    ///
    /// # Errors
    ///
    /// - [`VmError::Range`]: `size` is zero, or the range runs past the last address.
    /// - [`VmError::Protect`]: the range is not aligned to 4 KiB or exceeds the input width, the
    ///   permissions make no sense for the format or for a page's memory type, or there are no
    ///   frames to split leaves.
    /// - [`VmError::IvcChannelInRange`]: the range touches a channel.
    /// - [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn protect_region(
        &self,
        gpa: GuestPhysAddr,
        size: u64,
        flags: MappingFlags,
    ) -> Result<(), VmError> {
        let guest = GuestPhysRange::from_start_size(gpa, size)?;
        self.space.write().protect(guest, flags)
    }

    /// The leaf that translates `gpa`, or `None` where nothing is mapped. Its range ends where the
    /// leaf does, so [`Mapping::host_of`] never leads past it.
    pub fn translate(&self, gpa: GuestPhysAddr) -> Option<Mapping> {
        self.space.read().table.translate(gpa)
    }

    /// Handles a fault of the guest at `gpa`. `access` is what the guest tried: `READ`, `WRITE`,
    /// `EXECUTE`, or several. `USER` next to `EXECUTE` says that the guest fetched in its user mode. Only formats that
    /// restrict user execution look at it. Other flags are ignored.
    ///
    /// An absent page of allocated memory is filled with a zeroed frame. If the page already permits the
    /// access, it does not change and no frame is taken: the calling CPU forgets its translation.
    ///
    /// **A limit.** The machine cannot see which table the CPU walks. If the register does not hold
    /// [`address_space_id`](Self::address_space_id)`.root_register`, the guest faults at one page for ever,
    /// and every outcome is `Spurious`. With the right register there is one spurious fault for each CPU and change of
    /// a page. A virtual CPU that gets `Spurious` a thousand times in a row at one address makes no progress:
    /// stop it. [`fault_statistics`](Self::fault_statistics) shows such a run.
    ///
    /// # Errors
    ///
    /// - [`VmError::NoAccess`]: `access` has none of `READ`, `WRITE` and `EXECUTE`.
    /// - [`VmError::NotInvalidated`]: the calling CPU could not forget its translation, or others that the
    ///   page was absent.
    /// - [`VmError::NoFrames`]: there is no frame for the page.
    /// - [`VmError::Map`]: there are no frames for tables, or the frame lies beyond the output
    ///   width.
    pub fn handle_page_fault(
        &self,
        gpa: GuestPhysAddr,
        access: MappingFlags,
    ) -> Result<FaultOutcome, VmError> {
        let outcome = self.resolve_fault(gpa, access);
        self.faults.count(gpa, &outcome);
        outcome
    }

    /// How often the guest faulted, and what came of it.
    pub fn fault_statistics(&self) -> FaultStatistics {
        self.faults.snapshot()
    }

    /// Copies guest memory from `gpa` on into `buffer`, all of it or nothing. The guest, and machines that
    /// share the memory, may write it meanwhile. Every aligned word of 2, 4 or 8 bytes in the
    /// range is read by one access, so it is never torn. Words are read in no particular
    /// order, and the accesses are relaxed. A driver that depends on an order reads twice, with a fence in between.
    ///
    /// The host may read pages that the guest may not. Pages that are not populated yet are populated. A change of the
    /// address space waits until the copy is done.
    ///
    /// # Errors
    ///
    /// - [`VmError::Range`]: the range runs past the last address.
    /// - [`VmError::NotMapped`]: a byte of the range has no memory.
    /// - [`VmError::DeviceMemory`]: a byte of the range is device memory.
    /// - [`VmError::NoFrames`], [`VmError::Map`], [`VmError::NoBookkeepingMemory`]: a page could
    ///   not be populated.
    pub fn read_from_guest(&self, gpa: GuestPhysAddr, buffer: &mut [u8]) -> Result<(), VmError> {
        self.read_bytes(gpa, buffer)
    }

    /// Copies `data` into guest memory from `gpa` on, all of it or nothing. Like
    /// [`read_from_guest`](Self::read_from_guest), it never tears an aligned word of 2, 4 or 8 bytes. It cleans caches,
    /// so a guest with its MMU off sees the data, and a guest can execute it.
    ///
    /// The host may write pages that the guest may not, to load images. Pages that are not populated yet are
    /// populated. A change of the address space waits until the copy is done.
    ///
    /// # Errors
    ///
    /// Those of [`read_from_guest`](Self::read_from_guest).
    pub fn write_to_guest(&self, gpa: GuestPhysAddr, data: &[u8]) -> Result<(), VmError> {
        self.write_bytes(gpa, data)
    }

    /// Makes a channel of `size` bytes, rounded up to 4 KiB, of zeroed, consecutive frames. Maps it with
    /// `READ` and `WRITE` at the first free place in the configuration's ranges for channels, and returns
    /// where.
    ///
    /// # Errors
    ///
    /// - [`VmError::Range`]: `size` is zero, or rounding it up exceeds 2^64.
    /// - [`VmError::NoIvcSpace`]: no range has so many free bytes in a row.
    /// - [`VmError::NoFrames`], [`VmError::Map`]: there are no frames for the channel or for
    ///   tables.
    /// - [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn alloc_ivc_channel(&self, size: u64) -> Result<(GuestPhysRange, IvcChannel<H>), VmError> {
        self.alloc_channel(size)
    }

    /// Maps `channel`, which another machine made, from `gpa` on, if [`VmHal::grants`] of this machine
    /// approves. Its contents stay what they are.
    ///
    /// Both guests should map the channel with the same memory type. Otherwise a store of one guest is visible to the
    /// other only after cache maintenance.
    ///
    /// # Errors
    ///
    /// - [`VmError::Range`]: the channel would run past the last address.
    /// - [`VmError::Map`]: `gpa` is not a multiple of 4 KiB, the flags make no sense for the format, an
    ///   address exceeds its width, or there are no frames for tables.
    /// - [`VmError::Occupied`]: a page is in use.
    /// - [`VmError::NotGranted`]: the host does not let this guest have the channel.
    /// - [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn map_ivc_channel(
        &self,
        gpa: GuestPhysAddr,
        channel: &IvcChannel<H>,
        flags: MappingFlags,
    ) -> Result<(), VmError> {
        self.space.write().map_channel(gpa, channel, flags)
    }

    /// Unmaps the channel that begins at `gpa`, whichever machine made it. Its frames are given back when
    /// no other machine maps it and no [`IvcChannel`] of it is left. Dropping a machine releases its
    /// channels too.
    ///
    /// # Errors
    ///
    /// - [`VmError::NoIvcChannel`]: no channel begins at `gpa`.
    /// - [`VmError::Unmap`]: there are no frames to split a leaf.
    /// - [`VmError::NoBookkeepingMemory`]: the heap is exhausted.
    pub fn release_ivc_channel(&self, gpa: GuestPhysAddr) -> Result<(), VmError> {
        self.space.write().release_channel(gpa)
    }

    /// Calls `visit` for every leaf that has a byte in `range`, by ascending address.
    ///
    /// No lock is held while `visit` runs: it may call any method of this machine, and may panic. The leaves
    /// are read a few at a time. If the machine is changed meanwhile, each leaf is one that was there
    /// at some moment during the call, and a leaf that was there all the time is visited once.
    pub fn visit(&self, range: GuestPhysRange, mut visit: impl FnMut(Mapping)) {
        let mut rest = Some(range);
        while let Some(part) = rest {
            let leaves = self.space.read().leaves(part);
            leaves.iter().for_each(&mut visit);
            rest = leaves.rest;
        }
    }

    /// How many tables and leaves the page table has.
    pub fn statistics(&self) -> Statistics {
        self.space.read().table.statistics()
    }
}

impl<F: Format, H: VmHal> fmt::Debug for Vm<F, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vm")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

//! Regions at and beyond the widths of a mode, and what must come back all the same.
#![allow(clippy::unwrap_used, reason = "tests")]

#[macro_use]
mod common;

use std::sync::{Arc, Mutex};

use common::*;
use guest_addr::{HostPhysAddr, HostPhysRange};
use guest_vm::{FaultOutcome, GuestUse, IVC_DEVICE_TYPE, MapType, Vm, VmConfig, VmHal};
use mapping_flags::MappingFlags;
use nested_page_table::{Format, Invalidation, InvalidationFailed};
use nested_paging_aarch64::{Capabilities, Mode, Stage2};
use simulated_host::SimulatedHost;

const RAM: u64 = 0x8000_0000;

/// A set-up that failed at a region beyond the input width kept everything that came before.
fn a_failed_set_up_gives_everything_back<B: Backend>() {
    let host = host::<B>();
    let beyond = 1 << B::format().geometry().input_bits();
    let mut config = config::<B>();
    config.memory_regions = vec![
        ram(RAM, 0x4000, RW, MapType::Alloc),
        ram(RAM + 0x10000, 0x4000, RW, MapType::Identical),
        ram(beyond, 0x1000, RW, MapType::Alloc),
    ];
    assert!(Vm::new(config, host.clone()).is_err());
    assert_eq!(host.simulated_frames().outstanding_count(), 0);
    assert_eq!(host.reserved_regions(), []);
    assert_eq!(host.take_violations(), []);
}

/// A lazy region beyond the input width was accepted, and kept the frames of all others on drop.
fn a_lazy_region_beyond_the_width_is_refused<B: Backend>() {
    for start in [1 << B::format().geometry().input_bits(), u64::MAX - 0xfff] {
        let host = host::<B>();
        let mut config = config::<B>();
        config.memory_regions = vec![
            ram(RAM, 0x4000, RW, MapType::Alloc),
            lazy(start, 0x1000, RW),
        ];
        config.emulated_regions = vec![emulated(0x4000_0000, 0x10_0000, IVC_DEVICE_TYPE)];
        assert!(Vm::new(config, host.clone()).is_err());
        assert_eq!(host.simulated_frames().outstanding_count(), 0);
    }
}

on_every_backend!(
    a_failed_set_up_gives_everything_back,
    a_lazy_region_beyond_the_width_is_refused
);

/// Records what was cleaned.
struct Cleaner {
    inner: Arc<SimulatedHost>,
    cleaned: Mutex<Vec<HostPhysRange>>,
}

// SAFETY: every promise is the simulated host's.
unsafe impl VmHal for Cleaner {
    type Frames = <SimulatedHost as VmHal>::Frames;

    fn frames(&self) -> &Self::Frames {
        VmHal::frames(&*self.inner)
    }

    fn grants(&self, range: HostPhysRange, r#use: GuestUse) -> bool {
        self.inner.grants(range, r#use)
    }

    fn alloc_memory_region_at(&self, base: HostPhysAddr, size: u64) -> bool {
        self.inner.alloc_memory_region_at(base, size)
    }

    fn dealloc_memory_region_at(&self, base: HostPhysAddr, size: u64) {
        self.inner.dealloc_memory_region_at(base, size);
    }

    fn invalidate(&self, request: &Invalidation) -> Result<(), InvalidationFailed> {
        VmHal::invalidate(&*self.inner, request)
    }

    fn clean_data_cache(&self, range: HostPhysRange) {
        self.cleaned.lock().unwrap().push(range);
    }
}

/// Caches were cleaned for host memory that does not exist, before the mapping was refused.
#[test]
fn what_is_refused_is_not_cleaned() {
    let (inner, cleaned) = (host::<Aarch64>(), Mutex::default());
    let cleaner = Arc::new(Cleaner { inner, cleaned });
    let vm = Vm::new(config::<Aarch64>(), cleaner.clone()).unwrap();
    let wide = [
        (1 << 50, 1 << 60, 1 << 50),
        (0, 1 << 48, 0x1000),
        (1 << 40, 0, 0x1000),
    ];
    for (guest, host, size) in wide {
        assert!(vm.map_region(gpa(guest), hpa(host), size, RW).is_err());
    }
    assert_eq!(*cleaner.cleaned.lock().unwrap(), []);
}

/// A fetch in user mode that `USER` forbids was called spurious, for ever.
#[test]
fn a_user_fetch_is_denied_where_user_decides() {
    let capabilities = Capabilities::common().with_user_execute_control();
    let format = Stage2::new(Mode::ipa(40).unwrap(), capabilities).unwrap();
    let mut config = VmConfig::new(5, "test", format);
    config.memory_regions = vec![ram(RAM, 0x1000, RWX, MapType::Alloc)];
    let vm = Vm::new(config, host::<Aarch64>()).unwrap();
    let fault = |access| vm.handle_page_fault(gpa(RAM), access).unwrap();
    assert_eq!(
        fault(MappingFlags::EXECUTE | MappingFlags::USER),
        FaultOutcome::Denied
    );
    assert_eq!(fault(MappingFlags::EXECUTE), FaultOutcome::Spurious);
    assert_eq!(
        fault(MappingFlags::READ | MappingFlags::USER),
        FaultOutcome::Spurious
    );
}

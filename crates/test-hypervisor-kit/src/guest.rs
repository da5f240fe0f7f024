//! A virtual machine under test, and the question that every test asks.
#![expect(unsafe_code, reason = "writes what guests find into the arena")]

use alloc::format;
use core::cell::Cell;
use core::fmt::{self, Write};

use nested_paging::guest_addr::PAGE_SIZE_4K;
use nested_paging::guest_vm::{SetupError, VmConfig, VmError};
use nested_paging::nested_page_table::{AddressSpaceId, Format};
use nested_paging::{GuestPhysAddr, HostPhysAddr, HostPhysRange, MappingFlags, Vm, VmHal};
use reference_mmu::{Access, MemoryKind, NestedMmu, PhysicalMemory, Walk};

use crate::damage::Damage;
use crate::deviation::{Surprise, is_known};
use crate::machine::{Machine, Mode};
use crate::probe::{Action, Outcome, Probe, Way};
use crate::report::{Failure, failure};
use crate::test_hal::TestHal;

/// Where stores go, so that they leave the signature alone.
const STORE_OFFSET: u64 = 0x800;

pub(crate) type AttributesOf<M> = <<M as Machine>::Mmu as NestedMmu>::Attributes;
type WalkOf<M> = Walk<AttributesOf<M>, <<M as Machine>::Mmu as NestedMmu>::Fault>;

/// A virtual machine under test.
pub(crate) struct Guest<'m, M: Machine> {
    pub(crate) machine: &'m M,
    pub(crate) vm: Vm<M::Format, TestHal<M::Hal>>,
    /// Another abstraction of the same kind, for what tests do to memory themselves.
    pub(crate) hal: M::Hal,
    mmu: M::Mmu,
    input_bits: u32,
    sabotage: bool,
    damage: Cell<Option<Damage>>,
}

/// What a suite is run with.
pub(crate) struct Bench<'m, M: Machine> {
    pub(crate) machine: &'m M,
    pub(crate) mode: Mode<M::Format>,
    pub(crate) sabotage: bool,
}

impl<'m, M: Machine> Bench<'m, M> {
    /// A machine without memory, but for the code that does the probes.
    pub(crate) fn guest(&self) -> Result<Guest<'m, M>, Failure> {
        self.guest_with(|_| ())
    }

    /// A machine with what `configure` adds, and the code that does the probes.
    pub(crate) fn guest_with(
        &self,
        configure: impl FnOnce(&mut VmConfig<'_, M::Format>),
    ) -> Result<Guest<'m, M>, Failure> {
        let Self {
            machine,
            mode,
            sabotage,
        } = *self;
        let mut config = VmConfig::new(1, mode.name, mode.format);
        configure(&mut config);
        let hal = TestHal(machine.hal(&mode.format));
        let vm = Vm::new(config, hal).map_err(|error| setup_failure(&error))?;
        let mmu = machine.mmu(&mode.format, vm.address_space_id());
        let mut guest = Guest {
            machine,
            hal: machine.hal(&mode.format),
            mmu,
            vm,
            input_bits: mode.format.geometry().input_bits(),
            sabotage: false,
            damage: Cell::new(None),
        };
        let code = MappingFlags::READ | MappingFlags::EXECUTE;
        guest.map(M::CODE.as_u64(), machine.guest_code(), M::CODE_SIZE, code)?;
        guest.sabotage = sabotage;
        Ok(guest)
    }

    pub(crate) fn accepts(&self, flags: MappingFlags) -> bool {
        self.mode.format.check_flags(flags).is_ok()
    }
}

fn setup_failure(error: &SetupError<'_>) -> Failure {
    failure(format_args!("the machine was refused: {error}"))
}

pub(crate) fn refused(error: VmError) -> Failure {
    failure(format_args!("the operation was refused: {error}"))
}

impl<M: Machine> Guest<'_, M> {
    /// [`Vm::map_region`] and, under sabotage, damage.
    pub(crate) fn map(
        &self,
        gpa: u64,
        hpa: HostPhysAddr,
        size: u64,
        flags: MappingFlags,
    ) -> Result<(), Failure> {
        let gpa = GuestPhysAddr::new(gpa);
        self.repair();
        self.vm.map_region(gpa, hpa, size, flags).map_err(refused)?;
        self.damage(gpa);
        Ok(())
    }

    pub(crate) fn unmap(&self, gpa: u64, size: u64) -> Result<(), Failure> {
        let gpa = GuestPhysAddr::new(gpa);
        self.repair();
        self.vm.unmap_region(gpa, size).map_err(refused)
    }

    pub(crate) fn protect(&self, gpa: u64, size: u64, flags: MappingFlags) -> Result<(), Failure> {
        let gpa = GuestPhysAddr::new(gpa);
        self.repair();
        self.vm.protect_region(gpa, size, flags).map_err(refused)
    }

    pub(crate) fn space(&self) -> AddressSpaceId {
        self.vm.address_space_id()
    }

    /// Under sabotage: makes the leaf at `gpa` lead elsewhere, and repairs the one that did before.
    fn damage(&self, gpa: GuestPhysAddr) {
        self.repair();
        if self.sabotage {
            let damage = Damage::inflict(self.machine, &self.mmu, gpa);
            self.damage.set(damage);
        }
    }

    fn repair(&self) {
        if let Some(damage) = self.damage.take() {
            damage.repair(self.machine);
        }
    }

    /// What the reference walker says.
    fn walk(&self, gpa: GuestPhysAddr, access: Access) -> WalkOf<M> {
        self.mmu.walk(self.machine.memory(), gpa, access)
    }

    /// Fails unless every way to load, store and execute at `gpa` agrees on `expected`: the host
    /// address of the page's first byte, and which of `READ`, `WRITE` and `EXECUTE` are allowed.
    pub(crate) fn expect(
        &self,
        gpa: u64,
        expected: Option<(HostPhysAddr, MappingFlags)>,
    ) -> Result<(), Failure> {
        let page = GuestPhysAddr::new(gpa);
        // Entering a guest may make an emulator forget what it should have been told to forget.
        for way in [Way::Instruction, Way::Guest] {
            for action in [Action::Load, Action::Store(!gpa), Action::Execute] {
                let allowed = expected.filter(|(_, flags)| flags.contains(action.flag()));
                let reached = self.ask(page, action, way)?;
                let wanted = allowed.map(|(host, _)| host);
                if reached != wanted {
                    return Err(failure(format_args!(
                        "{action:x?} at {page} by {way:?} reached {reached:x?}, not {wanted:x?}"
                    )));
                }
            }
        }
        Ok(())
    }

    /// The memory type at `gpa` according to the reference, in neutral terms and in the
    /// architecture's.
    pub(crate) fn memory_type(&self, gpa: u64) -> Result<(MemoryKind, AttributesOf<M>), Failure> {
        match self.walk(GuestPhysAddr::new(gpa), Access::Read).outcome {
            Ok(found) => Ok((found.kind, found.attributes)),
            Err(fault) => Err(failure(format_args!("{gpa:#x}: {fault}"))),
        }
    }

    /// The memory type at `gpa` according to the hardware, if it shows it.
    pub(crate) fn visible_memory_type(&self, gpa: u64) -> Option<AttributesOf<M>> {
        self.machine
            .memory_type(self.space(), GuestPhysAddr::new(gpa))
    }

    /// Has the hardware do `action` in the page at `page`, and asks the reference and the table
    /// what it should have done: the host page that all three reach, or `None` when all three say
    /// that it faults.
    pub(crate) fn ask(
        &self,
        page: GuestPhysAddr,
        action: Action,
        way: Way,
    ) -> Result<Option<HostPhysAddr>, Failure> {
        let offset = match action {
            Action::Store(_) => STORE_OFFSET,
            _ => 0,
        };
        let probe = Probe {
            address: GuestPhysAddr::new(page.as_u64() | offset),
            action,
            way: match self.machine.has_probe_instructions() {
                true => way,
                false => Way::Guest,
            },
        };
        let walk = self.walk(probe.address, action.access());
        let reference = walk.outcome.ok().map(|translation| translation.address);
        let table = self.translate(probe.address, action);
        let expected = match &walk.outcome {
            Ok(translation) => Outcome::Done(self.prepare(translation.address, action)?),
            Err(fault) => Outcome::Fault(self.machine.fault(fault, &probe)),
        };
        let hardware = self.machine.probe(self.space(), probe);
        let stored = match (action, reference) {
            (Action::Store(word), Some(host)) => self.machine.memory().read(host) == Some(word),
            _ => true,
        };
        if hardware == expected && stored && table == reference {
            return Ok(reference.map(HostPhysAddr::align_down_4k));
        }
        let surprise = Surprise {
            probe,
            input_bits: self.input_bits,
            expected,
            hardware,
        };
        if table == reference && is_known(self.machine.deviations(), &surprise) {
            return Ok(reference.map(HostPhysAddr::align_down_4k));
        }
        Err(self.disagreement(&surprise, &walk, table, stored))
    }

    /// What the table says: where the byte at `address` leads if `action` is allowed.
    fn translate(&self, address: GuestPhysAddr, action: Action) -> Option<HostPhysAddr> {
        let leaf = self.vm.translate(address)?;
        leaf.host_of(address)
            .filter(|_| leaf.flags.contains(action.flag()))
    }

    /// Makes sure that a guest finds at `host` what tells the page from others, and says what.
    fn prepare(&self, host: HostPhysAddr, action: Action) -> Result<u64, Failure> {
        if !self.machine.arena().contains(host) {
            return Err(failure(format_args!("{host} is outside the arena")));
        }
        let tag = page_tag(host);
        let signature = self.machine.signature(tag);
        let memory = self.machine.memory();
        let word = match action {
            Action::Store(word) => {
                // SAFETY: nobody has a value in the arena.
                unsafe { memory.write(host, !word) };
                return Ok(word);
            }
            Action::Load => signature,
            Action::Execute => u64::from(tag),
        };
        if memory.read(host) != Some(signature) {
            // SAFETY: as above.
            unsafe { memory.write(host, signature) };
            let word = HostPhysRange::from_start_size(host, 8);
            if let Ok(word) = word {
                self.hal.clean_data_cache(word);
                self.hal.sync_instructions(word);
            }
        }
        Ok(word)
    }

    fn disagreement(
        &self,
        surprise: &Surprise,
        walk: &WalkOf<M>,
        table: Option<HostPhysAddr>,
        stored: bool,
    ) -> Failure {
        let Surprise {
            probe,
            expected,
            hardware,
            ..
        } = surprise;
        let mut text = format!("{probe}: the hardware says {hardware}");
        let lost = if stored {
            ""
        } else {
            ", but nothing was stored"
        };
        let _ = write!(text, "{lost}; the reference {expected}");
        let _ = match &walk.outcome {
            Ok(found) => write!(text, " ({})", found.address),
            Err(fault) => write!(text, " ({fault})"),
        };
        let _ = match table {
            Some(host) => write!(text, "; the table {host}"),
            None => write!(text, "; the table that it is not allowed"),
        };
        for step in walk.steps.iter() {
            let _ = write!(text, "; level {} has {:#x}", step.level, step.value);
        }
        text
    }
}

/// A number that pages close to each other, and pages at the same place of different blocks, do not
/// share.
fn page_tag(host: HostPhysAddr) -> u16 {
    let page = host.as_u64() / PAGE_SIZE_4K;
    (page.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 48) as u16
}

impl<M: Machine> Drop for Guest<'_, M> {
    fn drop(&mut self) {
        self.repair();
    }
}

impl<M: Machine> fmt::Debug for Guest<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guest")
            .field("vm", &self.vm)
            .finish_non_exhaustive()
    }
}

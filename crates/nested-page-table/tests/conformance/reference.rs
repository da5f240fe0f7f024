//! The reference MMU as the machine's page walker, and as a complete enumeration.

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use reference_mmu::{Access, GuestMode, MemoryKind, NestedMmu, PhysicalMemory};
use simulated_host::{Outcome, Permissions, SparseMemory, Step, Translation, Walk, Walker};

/// What the tests need to know of a reference MMU.
pub(crate) trait Reference: Send + Sync + 'static {
    type Mmu: NestedMmu;

    /// The MMU with its root register set. Panics on a value that the hardware would refuse.
    fn mmu(&self, root_register: u64) -> Self::Mmu;
    /// Whether the fault says that nothing is there.
    fn is_absent(fault: &<Self::Mmu as NestedMmu>::Fault) -> bool;
    /// The height above the pages of the architecture's own level number.
    fn height(level: u8) -> u8;
    /// The memory type as a number.
    fn memory_type(attributes: &<Self::Mmu as NestedMmu>::Attributes) -> u64;
    /// What the flags should make of the memory.
    fn expected_kind(&self, flags: MappingFlags) -> MemoryKind;
}

struct Reader<'a>(&'a dyn Fn(HostPhysAddr) -> Option<u64>);

impl PhysicalMemory for Reader<'_> {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        (self.0)(address)
    }
}

pub(crate) const ACCESSES: [Access; 4] = [
    Access::Read,
    Access::Execute(GuestMode::Supervisor),
    Access::Execute(GuestMode::User),
    Access::Write,
];

/// The adapter between the two crates' terms.
pub(crate) struct ReferenceWalker<R> {
    pub(crate) reference: R,
    pub(crate) input_bits: u32,
}

impl<R: Reference> Walker for ReferenceWalker<R> {
    fn input_bits(&self) -> u32 {
        self.input_bits
    }

    fn walk(
        &self,
        read: &dyn Fn(HostPhysAddr) -> Option<u64>,
        root_register: u64,
        gpa: GuestPhysAddr,
    ) -> Walk {
        let mmu = self.reference.mmu(root_register);
        let mut walk = mmu.walk(&Reader(read), gpa, Access::Read);
        for access in &ACCESSES[1..] {
            match &walk.outcome {
                Err(fault) if !R::is_absent(fault) => {
                    walk = mmu.walk(&Reader(read), gpa, *access);
                }
                _ => break,
            }
        }
        let steps: Vec<Step> = walk
            .steps
            .iter()
            .map(|step| Step {
                address: step.entry,
                value: step.value,
                level: R::height(step.level),
            })
            .collect();
        let shift = steps
            .last()
            .map_or(12, |step| 12 + 9 * u32::from(step.level));
        let outcome = match &walk.outcome {
            Ok(found) => {
                let page = !(found.page_size - 1);
                Outcome::Translation(Translation {
                    host: HostPhysAddr::new(found.address.as_u64() & page),
                    permissions: permissions(found.permissions),
                    memory_type: R::memory_type(&found.attributes),
                })
            }
            Err(fault) if R::is_absent(fault) => Outcome::Absent,
            Err(_) => Outcome::Fault,
        };
        Walk::new(root_register, gpa, 1 << shift, &steps, outcome)
    }
}

fn permissions(of: reference_mmu::Permissions) -> Permissions {
    [
        (of.read, Permissions::READ),
        (of.write, Permissions::WRITE),
        (of.execute_supervisor, Permissions::EXECUTE),
        (of.execute_user, Permissions::EXECUTE_USER),
    ]
    .into_iter()
    .filter(|(granted, _)| *granted)
    .fold(Permissions::NONE, |all, (_, one)| all.with(one))
}

/// A leaf as the reference MMU sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) guest: u64,
    pub(crate) size: u64,
    pub(crate) host: u64,
    pub(crate) permissions: reference_mmu::Permissions,
    pub(crate) kind: MemoryKind,
}

struct Physical<'a>(&'a SparseMemory);

impl PhysicalMemory for Physical<'_> {
    fn read(&self, address: HostPhysAddr) -> Option<u64> {
        self.0.read(address)
    }
}

/// Everything that one table maps, by the reference MMU alone.
pub(crate) trait Enumerate: Send + Sync {
    /// The leaves in ascending order. Panics on an entry that is neither absent nor legal.
    fn leaves(&self, memory: &SparseMemory, root_register: u64) -> Vec<Seen>;
    /// What the flags should look like to the hardware.
    fn expected(&self, flags: MappingFlags) -> (reference_mmu::Permissions, MemoryKind);
    /// The accesses that succeed at `gpa`, accessed and dirty bits considered.
    fn usable(&self, memory: &SparseMemory, root_register: u64, gpa: u64) -> [bool; 4];
    /// Lets the hardware access `gpa`, which sets accessed and dirty bits if it tracks them.
    fn touch(&self, memory: &SparseMemory, root_register: u64, gpa: u64, write: bool) -> bool;
    /// The accessed and dirty bits of the page at `gpa`.
    fn state(&self, memory: &SparseMemory, root_register: u64, gpa: u64) -> (bool, bool);
}

impl<R: Reference> Enumerate for R {
    fn leaves(&self, memory: &SparseMemory, root_register: u64) -> Vec<Seen> {
        let mut leaves = Vec::new();
        self.mmu(root_register)
            .for_each_region(&Physical(memory), |region| {
                let found = region.outcome.unwrap_or_else(|why| {
                    panic!("{:#x?} at guest {}: {why}", region.value, region.start)
                });
                leaves.push(Seen {
                    guest: region.start.as_u64(),
                    size: region.size,
                    host: found.address.as_u64(),
                    permissions: found.permissions,
                    kind: found.kind,
                });
            });
        leaves
    }

    fn expected(&self, flags: MappingFlags) -> (reference_mmu::Permissions, MemoryKind) {
        let permissions = reference_mmu::Permissions {
            read: flags.contains(MappingFlags::READ),
            write: flags.contains(MappingFlags::WRITE),
            execute_user: flags.contains(MappingFlags::EXECUTE),
            execute_supervisor: flags.contains(MappingFlags::EXECUTE),
        };
        (permissions, self.expected_kind(flags))
    }

    fn usable(&self, memory: &SparseMemory, root_register: u64, gpa: u64) -> [bool; 4] {
        let (mmu, gpa) = (self.mmu(root_register), GuestPhysAddr::new(gpa));
        ACCESSES.map(|access| mmu.walk(&Physical(memory), gpa, access).outcome.is_ok())
    }

    fn touch(&self, memory: &SparseMemory, root_register: u64, gpa: u64, write: bool) -> bool {
        let access = if write { Access::Write } else { Access::Read };
        let gpa = GuestPhysAddr::new(gpa);
        let walk = self.mmu(root_register).walk(&Physical(memory), gpa, access);
        for step in walk.steps.iter() {
            if let Some(value) = step.update {
                assert!(memory.write(step.entry, value));
            }
        }
        walk.outcome.is_ok()
    }

    fn state(&self, memory: &SparseMemory, root_register: u64, gpa: u64) -> (bool, bool) {
        let (mmu, gpa) = (self.mmu(root_register), GuestPhysAddr::new(gpa));
        let found = ACCESSES
            .iter()
            .find_map(|access| mmu.walk(&Physical(memory), gpa, *access).outcome.ok())
            .expect("a page that stayed mapped is mapped");
        (found.accessed.unwrap_or(true), found.dirty.unwrap_or(true))
    }
}

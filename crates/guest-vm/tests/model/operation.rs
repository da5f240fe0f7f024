//! What is done to a machine, and what may come of it.

use guest_vm::{FaultOutcome, VmError};
use mapping_flags::MappingFlags;
use nested_page_table::{MapError, ProtectError, UnmapError};
use proptest::prelude::*;

use crate::common::{CPUS, PAGE, READ, RW, RWX, WRITE};
use crate::{HOST_PAGES, PAGES};

#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Map {
        page: u64,
        count: u64,
        host: u64,
        flags: MappingFlags,
    },
    Unmap {
        page: u64,
        count: u64,
    },
    Protect {
        page: u64,
        count: u64,
        flags: MappingFlags,
    },
    Fault {
        page: u64,
        access: MappingFlags,
        cpu: usize,
    },
    Write {
        at: u64,
        size: usize,
        byte: u8,
    },
    Read {
        at: u64,
        size: usize,
    },
    AllocChannel {
        size: u64,
    },
    ReleaseChannel {
        page: u64,
    },
}

pub(crate) fn flags() -> impl Strategy<Value = MappingFlags> {
    let legal = [
        READ,
        RW,
        RWX,
        RW | MappingFlags::USER,
        MappingFlags::PASSTHROUGH,
        READ | MappingFlags::UNCACHED,
    ];
    prop::sample::select(legal.to_vec())
}

pub(crate) fn permissions() -> impl Strategy<Value = MappingFlags> {
    prop::sample::select(vec![READ, RW, RWX, RW | MappingFlags::USER])
}

pub(crate) fn page() -> impl Strategy<Value = u64> {
    let edges = [
        0, 511, 512, 529, 530, 699, 700, 900, 904, 905, 906, 920, 1000, 1023, 1024, 1030,
    ];
    prop_oneof![0..PAGES, prop::sample::select(edges.to_vec())]
}

pub(crate) fn count() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 1_u64..4, 2 => 1_u64..600, 1 => Just(512_u64)]
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    let access = prop::sample::select(vec![READ, WRITE, MappingFlags::EXECUTE]);
    let (at, size) = (0..PAGES * PAGE, prop_oneof![0_usize..20, 0_usize..20_000]);
    prop_oneof![
        (page(), count(), 0..HOST_PAGES, flags()).prop_map(|(page, count, host, flags)| {
            Operation::Map {
                page,
                count,
                host,
                flags,
            }
        }),
        (page(), count()).prop_map(|(page, count)| Operation::Unmap { page, count }),
        (page(), count(), permissions()).prop_map(|(page, count, flags)| Operation::Protect {
            page,
            count,
            flags
        }),
        (page(), access, 0..CPUS).prop_map(|(page, access, cpu)| Operation::Fault {
            page,
            access,
            cpu
        }),
        (at.clone(), size.clone(), 1_u8..).prop_map(|(at, size, byte)| Operation::Write {
            at,
            size,
            byte
        }),
        (at, size).prop_map(|(at, size)| Operation::Read { at, size }),
        (0_u64..0x6000).prop_map(|size| Operation::AllocChannel { size }),
        page().prop_map(|page| Operation::ReleaseChannel { page }),
    ]
}

/// What an operation came to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Done {
    Nothing,
    Fault(FaultOutcome),
    Bytes(Vec<u8>),
    /// The first page and the number of pages.
    Channel(u64, u64),
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Refusal {
    OutOfMemory,
    Occupied,
    Channel,
    Flags,
    Absent,
    Device,
    Range,
    NoSpace,
}

pub(crate) fn refusal(error: VmError) -> Done {
    Done::Refused(match error {
        VmError::Map(MapError::OutOfMemory { .. })
        | VmError::Unmap(UnmapError::OutOfMemory { .. })
        | VmError::Protect(ProtectError::OutOfMemory { .. })
        | VmError::NoFrames { .. } => Refusal::OutOfMemory,
        VmError::Occupied { .. } => Refusal::Occupied,
        VmError::IvcChannelInRange { .. } | VmError::NoIvcChannel { .. } => Refusal::Channel,
        VmError::Protect(_) => Refusal::Flags,
        VmError::NotMapped { .. } => Refusal::Absent,
        VmError::DeviceMemory { .. } => Refusal::Device,
        VmError::Range(_) => Refusal::Range,
        VmError::NoIvcSpace { .. } => Refusal::NoSpace,
        other => panic!("unexpected: {other}"),
    })
}

//! Random operations on a machine against a model of single pages, with every allocation failing in
//! turn.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

#[path = "../common/mod.rs"]
mod common;
mod operation;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::*;
use guest_addr::GuestPhysRange;
use guest_vm::{FaultOutcome, IVC_DEVICE_TYPE, MapType, Vm, VmError};
use mapping_flags::MappingFlags;
use operation::{Done, Operation, Refusal, operation, refusal};
use proptest::prelude::*;
use simulated_host::{Failure, Outcome, SimulatedHost};

/// The pages that are looked at: three tables of 2 MiB.
const WINDOW: u64 = 0x8000_0000;
const PAGES: u64 = 1536;
/// Where host memory for linear mappings exists.
const HOST: u64 = 0x1_0000_0000;
const HOST_PAGES: u64 = 1024;

const EMULATED: core::ops::Range<u64> = 900..904;
const CHANNELS: core::ops::Range<u64> = 904..920;
const IDENTICAL: core::ops::Range<u64> = 1000..1030;
const EAGER: core::ops::Range<u64> = 0..530;
const LAZY: core::ops::Range<u64> = 530..700;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Backing {
    Linear(u64),
    /// With the host page, once it is known.
    Allocated(Option<u64>),
    Channel(u64),
    Emulated,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Page {
    backing: Backing,
    flags: MappingFlags,
}

struct Test<B: Backend> {
    vm: TestVm<B>,
    host: Arc<SimulatedHost>,
    pages: BTreeMap<u64, Page>,
    /// What was written, by host address where it is known and by guest page where it is not.
    bytes: BTreeMap<u64, u8>,
}

fn at(page: u64) -> u64 {
    WINDOW + page * PAGE
}

impl<B: Backend> Test<B> {
    fn new() -> Self {
        let host = host::<B>();
        // The longest mapping begins on the last of them.
        assert!(host.memory().add(hpa(HOST), HOST_PAGES + 600, 0));
        let range =
            |pages: &core::ops::Range<u64>| (at(pages.start), (pages.end - pages.start) * PAGE);
        let mut config = config::<B>();
        let (eager, lazies, identical) = (range(&EAGER), range(&LAZY), range(&IDENTICAL));
        config.memory_regions = vec![
            ram(eager.0, eager.1, RWX, MapType::Alloc),
            lazy(lazies.0, lazies.1, RW),
            ram(identical.0, identical.1, RW, MapType::Identical),
        ];
        let (trap, ivc) = (range(&EMULATED), range(&CHANNELS));
        config.emulated_regions = vec![
            emulated(trap.0, trap.1, 1),
            emulated(ivc.0, ivc.1, IVC_DEVICE_TYPE),
        ];
        let vm = Vm::new(config, host.clone()).unwrap();
        let mut pages = BTreeMap::new();
        pages.extend(EAGER.map(|page| {
            (
                page,
                Page {
                    backing: Backing::Allocated(None),
                    flags: RWX,
                },
            )
        }));
        pages.extend(LAZY.map(|page| {
            (
                page,
                Page {
                    backing: Backing::Allocated(None),
                    flags: RW,
                },
            )
        }));
        pages.extend(IDENTICAL.map(|page| {
            (
                page,
                Page {
                    backing: Backing::Linear(at(page)),
                    flags: RW,
                },
            )
        }));
        let trap = Page {
            backing: Backing::Emulated,
            flags: MappingFlags::empty(),
        };
        pages.extend(EMULATED.map(|page| (page, trap)));
        let mut test = Self {
            vm,
            host,
            pages,
            bytes: BTreeMap::new(),
        };
        test.learn(EAGER);
        test
    }

    fn run(&self, operation: &Operation) -> Done {
        let vm = &self.vm;
        let done = |result: Result<(), VmError>| result.map_or_else(refusal, |()| Done::Nothing);
        match *operation {
            Operation::Map {
                page,
                count,
                host,
                flags,
            } => done(vm.map_region(gpa(at(page)), hpa(HOST + host * PAGE), count * PAGE, flags)),
            Operation::Unmap { page, count } => done(vm.unmap_region(gpa(at(page)), count * PAGE)),
            Operation::Protect { page, count, flags } => {
                done(vm.protect_region(gpa(at(page)), count * PAGE, flags))
            }
            Operation::Fault { page, access, cpu } => {
                self.host.run_on(cpu);
                let result = vm.handle_page_fault(gpa(at(page) + 0x123), access);
                result.map_or_else(refusal, Done::Fault)
            }
            Operation::Write { at, size, byte } => {
                done(vm.write_to_guest(gpa(WINDOW + at), &vec![byte; size]))
            }
            Operation::Read { at, size } => {
                let mut bytes = vec![0xee; size];
                let result = vm.read_from_guest(gpa(WINDOW + at), &mut bytes);
                result.map_or_else(refusal, |()| Done::Bytes(bytes))
            }
            Operation::AllocChannel { size } => {
                vm.alloc_ivc_channel(size)
                    .map_or_else(refusal, |(guest, _)| {
                        let page = (guest.start().as_u64() - WINDOW) / PAGE;
                        Done::Channel(page, guest.size() / PAGE)
                    })
            }
            Operation::ReleaseChannel { page } => done(vm.release_ivc_channel(gpa(at(page)))),
        }
    }

    /// What has to come of it, and the model afterwards. `None` means a refusal.
    fn expect(&self, operation: &Operation) -> Result<(Done, BTreeMap<u64, Page>), Refusal> {
        let mut next = self.pages.clone();
        let done = match *operation {
            Operation::Map {
                page,
                count,
                host,
                flags,
            } => {
                if self.pages.range(page..page + count).next().is_some() {
                    return Err(Refusal::Occupied);
                }
                let linear = |n| Backing::Linear(HOST + (host + n) * PAGE);
                next.extend((0..count).map(|n| {
                    (
                        page + n,
                        Page {
                            backing: linear(n),
                            flags,
                        },
                    )
                }));
                Done::Nothing
            }
            Operation::Unmap { page, count } => {
                self.refuse_channels(page, count)?;
                next.retain(|number, content| {
                    content.backing == Backing::Emulated || !(page..page + count).contains(number)
                });
                Done::Nothing
            }
            Operation::Protect { page, count, flags } => {
                self.refuse_channels(page, count)?;
                for (_, content) in next.range_mut(page..page + count) {
                    let kind = content.flags & MappingFlags::MEMORY_TYPE;
                    if content.backing == Backing::Emulated {
                        continue;
                    }
                    (flags | kind).validate().map_err(|_| Refusal::Flags)?;
                    content.flags = flags | kind;
                }
                Done::Nothing
            }
            Operation::Fault { page, access, .. } => Done::Fault(self.expect_fault(page, access)),
            Operation::Write { at, size, .. } => {
                self.check_bytes(at, size)?;
                Done::Nothing
            }
            Operation::Read { at, size } => {
                self.check_bytes(at, size)?;
                Done::Bytes((0..size as u64).map(|n| self.byte(at + n)).collect())
            }
            Operation::AllocChannel { size } => {
                let count = size.div_ceil(PAGE);
                if count == 0 {
                    return Err(Refusal::Range);
                }
                let free = |start: &u64| self.pages.range(*start..start + count).next().is_none();
                let start = (CHANNELS.start..=CHANNELS.end - count).find(free);
                let start = start.ok_or(Refusal::NoSpace)?;
                let page = Page {
                    backing: Backing::Channel(start),
                    flags: RW,
                };
                next.extend((start..start + count).map(|number| (number, page)));
                Done::Channel(start, count)
            }
            Operation::ReleaseChannel { page } => {
                let channel = Backing::Channel(page);
                if self
                    .pages
                    .get(&page)
                    .is_none_or(|content| content.backing != channel)
                {
                    return Err(Refusal::Channel);
                }
                next.retain(|_, content| content.backing != channel);
                Done::Nothing
            }
        };
        Ok((done, next))
    }

    fn refuse_channels(&self, page: u64, count: u64) -> Result<(), Refusal> {
        let mut pages = self.pages.range(page..page + count);
        match pages.any(|(_, content)| matches!(content.backing, Backing::Channel(_))) {
            true => Err(Refusal::Channel),
            false => Ok(()),
        }
    }

    fn expect_fault(&self, page: u64, access: MappingFlags) -> FaultOutcome {
        match self.pages.get(&page) {
            None
            | Some(Page {
                backing: Backing::Emulated,
                ..
            }) => FaultOutcome::NotMapped,
            Some(content) if !content.flags.contains(access) => FaultOutcome::Denied,
            Some(Page {
                backing: Backing::Allocated(None),
                ..
            }) => FaultOutcome::Filled,
            Some(_) => FaultOutcome::Spurious,
        }
    }

    fn check_bytes(&self, at: u64, size: usize) -> Result<(), Refusal> {
        if size == 0 {
            return Ok(());
        }
        for page in at / PAGE..=(at + size as u64 - 1) / PAGE {
            match self.pages.get(&page) {
                None
                | Some(Page {
                    backing: Backing::Emulated,
                    ..
                }) => return Err(Refusal::Absent),
                Some(content) if content.flags.contains(MappingFlags::DEVICE) => {
                    return Err(Refusal::Device);
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Where the model keeps the byte at an offset in the window: linear memory by its host
    /// address, memory of the machine's own by guest address.
    fn key(&self, at: u64) -> u64 {
        match self.pages.get(&(at / PAGE)).map(|content| content.backing) {
            Some(Backing::Linear(host)) => host + at % PAGE,
            _ => u64::MAX - at,
        }
    }

    fn byte(&self, at: u64) -> u8 {
        self.bytes.get(&self.key(at)).copied().unwrap_or(0)
    }

    /// Runs `operation` with the first, second, and so on allocation failing, until it does not.
    fn step(&mut self, operation: &Operation) {
        let expected = self.expect(operation);
        for k in 1.. {
            let frames = self.host.simulated_frames().outstanding_count();
            self.host.simulated_frames().fail_at(k, Failure::FromThenOn);
            let done = self.run(operation);
            self.host.simulated_frames().fail_at(0, Failure::Once);
            if done != Done::Refused(Refusal::OutOfMemory) {
                self.finish(operation, expected, done);
                return;
            }
            if !self.learn_populated(operation) {
                assert!(
                    self.host.simulated_frames().outstanding_count() <= frames,
                    "frames are lost"
                );
            }
            self.audit();
            // Large ones would take as many attempts as pages.
            if k == 4 {
                let done = self.run(operation);
                self.finish(operation, expected, done);
                return;
            }
        }
    }

    fn finish(
        &mut self,
        operation: &Operation,
        expected: Result<(Done, BTreeMap<u64, Page>), Refusal>,
        done: Done,
    ) {
        match expected {
            Err(refusal) => assert_eq!(done, Done::Refused(refusal)),
            Ok((expected, next)) => {
                assert_eq!(done, expected);
                self.forget_bytes(&next);
                self.pages = next;
                self.after(operation, &done);
            }
        }
        self.audit();
    }

    /// Memory of the machine's own that was given back holds nothing any more.
    fn forget_bytes(&mut self, next: &BTreeMap<u64, Page>) {
        self.bytes.retain(|key, _| {
            let offset = u64::MAX - key;
            offset >= PAGES * PAGE || next.contains_key(&(offset / PAGE))
        });
    }

    fn after(&mut self, operation: &Operation, done: &Done) {
        match *operation {
            Operation::Fault { page, .. } if *done == Done::Fault(FaultOutcome::Filled) => {
                self.learn(page..page + 1);
            }
            Operation::Write { at, size, .. } | Operation::Read { at, size } if size > 0 => {
                self.learn(at / PAGE..(at + size as u64 - 1) / PAGE + 1);
                if let Operation::Write { byte, .. } = *operation {
                    for offset in at..at + size as u64 {
                        let key = self.key(offset);
                        self.bytes.insert(key, byte);
                    }
                }
            }
            _ => {}
        }
    }

    /// A copy that ran out of frames for tables keeps the pages that it has linked already, since a guest may
    /// have stored to them. Says whether there were any.
    fn learn_populated(&mut self, operation: &Operation) -> bool {
        let (Operation::Write { at, size, .. } | Operation::Read { at, size }) = *operation else {
            return false;
        };
        let last = (at + size.max(1) as u64 - 1) / PAGE;
        let mut any = false;
        for (page, content) in self.pages.range_mut(at / PAGE..=last) {
            if content.backing == Backing::Allocated(None)
                && let Some((host, _)) = walk(&self.vm, &self.host, WINDOW + page * PAGE)
            {
                content.backing = Backing::Allocated(Some(host));
                any = true;
            }
        }
        any
    }

    /// Allocated pages in `pages` have frames now: they must keep them.
    fn learn(&mut self, pages: core::ops::Range<u64>) {
        for (page, content) in self.pages.range_mut(pages) {
            if content.backing == Backing::Allocated(None) {
                let (host, _) = walk(&self.vm, &self.host, at(*page)).expect("it was filled");
                content.backing = Backing::Allocated(Some(host));
            }
        }
    }

    /// The hardware sees the model, and no CPU remembers anything else.
    fn audit(&self) {
        let window = GuestPhysRange::from_start_size(gpa(WINDOW), PAGES * PAGE).unwrap();
        let register = self.vm.address_space_id().root_register;
        let mut walks = self
            .host
            .machine()
            .touch_range(register, window)
            .into_iter()
            .peekable();
        for page in 0..PAGES {
            while walks.peek().is_some_and(|walk| walk.last() < gpa(at(page))) {
                walks.next();
            }
            let walk = walks.peek().expect("the walks cover the window");
            let found = match walk.outcome() {
                Outcome::Translation(found) => {
                    let offset = at(page) - walk.gpa().as_u64();
                    Some((found.host.as_u64() + offset, found.permissions))
                }
                Outcome::Absent => None,
                Outcome::Fault => panic!("a fault at page {page}: {walk:?}"),
            };
            let content = self.pages.get(&page);
            let expected = content.and_then(|content| match content.backing {
                Backing::Linear(host) | Backing::Allocated(Some(host)) => Some(host),
                Backing::Channel(_) => found.map(|(host, _)| host),
                Backing::Allocated(None) | Backing::Emulated => None,
            });
            let flags = content.map_or(MappingFlags::empty(), |content| content.flags);
            let expected = expected.map(|host| (host, permissions_of(flags)));
            assert_eq!(found, expected, "page {page}: {content:?}");
            let channel =
                content.is_some_and(|content| matches!(content.backing, Backing::Channel(_)));
            assert!(!channel || found.is_some());
        }
        assert_clean(&self.host);
    }
}

fn check<B: Backend>(operations: &[Operation]) {
    let mut test = Test::<B>::new();
    for operation in operations {
        test.step(operation);
    }
    shut_down(test.vm, &test.host);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn machine_is_its_model_on_riscv64(operations in prop::collection::vec(operation(), 1..20)) {
        check::<Riscv64>(&operations);
    }

    #[test]
    fn machine_is_its_model_on_aarch64(operations in prop::collection::vec(operation(), 1..20)) {
        check::<Aarch64>(&operations);
    }

    #[test]
    fn machine_is_its_model_on_x86_64(operations in prop::collection::vec(operation(), 1..20)) {
        check::<X86>(&operations);
    }

    #[test]
    fn machine_is_its_model_on_amd(operations in prop::collection::vec(operation(), 1..20)) {
        check::<Amd>(&operations);
    }
}

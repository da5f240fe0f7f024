//! Random calls of the address space, compared with a map of pages.

use std::collections::BTreeMap;

use axaddrspace::MappingFlags;
use proptest::prelude::*;

use crate::machine::{Machine, WRITE};
use crate::{ALL, Check, READ_WRITE, Rig, gpa, on_every_machine};

const PAGE: usize = 0x1000;

#[derive(Clone, Debug)]
enum Call {
    MapLinear {
        page: usize,
        pages: usize,
        host: usize,
        writable: bool,
    },
    MapAlloc {
        page: usize,
        pages: usize,
        populate: bool,
    },
    Unmap {
        page: usize,
        pages: usize,
    },
    Fault {
        page: usize,
        access: MappingFlags,
    },
    Write {
        page: usize,
        value: u64,
    },
}

fn call() -> impl Strategy<Value = Call> {
    // Around the boundary of two blocks, and blocks.
    let page = || prop_oneof![500..520_usize, Just(512), Just(1024)];
    let pages = || prop_oneof![1..8_usize, Just(512)];
    let access = prop_oneof![
        Just(MappingFlags::READ),
        Just(MappingFlags::WRITE),
        Just(MappingFlags::EXECUTE)
    ];
    prop_oneof![
        (page(), pages(), 0..3_usize, any::<bool>()).prop_map(|(page, pages, host, writable)| {
            let host = 0x10_0000_0000 + host * 0x20_0000 + page % 512 * PAGE;
            Call::MapLinear {
                page,
                pages,
                host,
                writable,
            }
        }),
        (page(), 1..8_usize, any::<bool>()).prop_map(|(page, pages, populate)| Call::MapAlloc {
            page,
            pages,
            populate
        }),
        (page(), pages()).prop_map(|(page, pages)| Call::Unmap { page, pages }),
        (page(), access).prop_map(|(page, access)| Call::Fault { page, access }),
        (page(), any::<u64>()).prop_map(|(page, value)| Call::Write { page, value }),
    ]
}

/// What stands behind a page.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Backing {
    Linear {
        host: usize,
        writable: bool,
    },
    /// Its contents, and whether it is there yet.
    Memory {
        value: u64,
        present: bool,
        populate: bool,
    },
}

type Model = BTreeMap<usize, Backing>;

fn apply<F: Machine>(rig: &mut Rig<F>, model: &mut Model, call: &Call) {
    match *call {
        Call::MapLinear {
            page,
            pages,
            host,
            writable,
        } => {
            let flags = if writable {
                READ_WRITE
            } else {
                MappingFlags::READ
            };
            let mapped = rig
                .space
                .map_linear(gpa(page * PAGE), host.into(), pages * PAGE, flags);
            let backing = |index| Backing::Linear {
                host: host + index * PAGE,
                writable,
            };
            insert(model, page, pages, mapped.is_ok(), backing);
        }
        Call::MapAlloc {
            page,
            pages,
            populate,
        } => {
            let mapped = rig
                .space
                .map_alloc(gpa(page * PAGE), pages * PAGE, ALL, populate);
            let backing = |_| Backing::Memory {
                value: 0,
                present: populate,
                populate,
            };
            insert(model, page, pages, mapped.is_ok(), backing);
        }
        Call::Unmap { page, pages } => {
            rig.space.unmap(gpa(page * PAGE), pages * PAGE).unwrap();
            model.retain(|at, _| !(page..page + pages).contains(at));
        }
        Call::Fault { page, access } => {
            let handled = rig.space.handle_page_fault(gpa(page * PAGE), access);
            let lazy = matches!(
                model.get(&page),
                Some(Backing::Memory {
                    populate: false,
                    ..
                })
            );
            assert_eq!(handled, lazy, "{page}");
            if let Some(Backing::Memory {
                present,
                populate: false,
                ..
            }) = model.get_mut(&page)
            {
                *present = true;
            }
        }
        Call::Write { page, value } => {
            let Some(Backing::Memory {
                value: old,
                present: true,
                ..
            }) = model.get_mut(&page)
            else {
                return;
            };
            let host = rig.reach(page * PAGE, WRITE).unwrap();
            rig.arena.set_word(host, value);
            *old = value;
        }
    }
}

/// A range that is free is mapped, and no other.
fn insert(
    model: &mut Model,
    page: usize,
    pages: usize,
    mapped: bool,
    backing: impl Fn(usize) -> Backing,
) {
    let is_free = model.range(page..page + pages).next().is_none();
    assert_eq!(mapped, is_free, "{page} {pages}");
    if is_free {
        model.extend((0..pages).map(|index| (page + index, backing(index))));
    }
}

fn compare<F: Machine>(rig: &Rig<F>, model: &Model) {
    for page in (490..540).chain([1023, 1024, 1025, 1535, 1536]) {
        let found = rig.translate(page * PAGE);
        match model.get(&page) {
            None | Some(Backing::Memory { present: false, .. }) => {
                assert_eq!(found, None, "{page}")
            }
            Some(Backing::Linear { host, writable }) => {
                assert_eq!(found, Some(*host), "{page}");
                assert_eq!(rig.reach(page * PAGE, WRITE).is_some(), *writable);
            }
            Some(Backing::Memory { value, .. }) => {
                let host = found.unwrap();
                assert_eq!(rig.arena.word(host), Some(*value), "{page}");
            }
        }
    }
}

struct Sequence(Vec<Call>);

impl Check for Sequence {
    fn check<F: Machine>(&self, format: F) {
        let mut rig = Rig::new(format);
        let mut model = Model::new();
        for call in &self.0 {
            apply(&mut rig, &mut model, call);
            compare(&rig, &model);
        }
        let Rig { arena, space } = rig;
        drop(space);
        assert!(arena.out().is_empty());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_address_space_equals_a_map_of_pages(calls in prop::collection::vec(call(), 1..25)) {
        on_every_machine(&Sequence(calls));
    }
}

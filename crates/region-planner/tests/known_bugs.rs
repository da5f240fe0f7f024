//! Mistakes that planners and hypervisors are known to have shipped. Each test carries the
//! mistake's name and fails if it comes back.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use guest_addr::{GuestPhysAddr, HostPhysAddr};
use mapping_flags::MappingFlags;
use region_planner::{OverlapReason, PlanError, Region, RegionKind, plan};

const RWX: MappingFlags = MappingFlags::READ_WRITE.union(MappingFlags::EXECUTE);

fn gpa(raw: u64) -> GuestPhysAddr {
    GuestPhysAddr::new(raw)
}

fn hpa(raw: u64) -> HostPhysAddr {
    HostPhysAddr::new(raw)
}

/// First and last guest byte, host start, sources.
fn planned<'a>(regions: &mut [Region<'a>]) -> Vec<(u64, u64, Option<u64>, Vec<&'a str>)> {
    let plan = plan(regions).expect("the regions stand together");
    plan.mappings()
        .map(|mapping| {
            let (guest, host) = (mapping.guest(), mapping.host().map(HostPhysAddr::as_u64));
            let sources = mapping.sources().map(Region::name).collect();
            (guest.start().as_u64(), guest.last().as_u64(), host, sources)
        })
        .collect()
}

#[test]
fn host_base_of_a_device_is_ignored() {
    let mut regions = [Region::passthrough(
        "gicc",
        gpa(0x801_0000),
        hpa(0x804_0000),
        0x1_0000,
    )];
    let expected = (0x801_0000, 0x801_ffff, Some(0x804_0000), vec!["gicc"]);
    assert_eq!(planned(&mut regions), [expected]);
}

#[test]
fn length_is_rounded_instead_of_the_end() {
    let mut regions = [Region::passthrough(
        "uart",
        gpa(0x1000_0ff0),
        hpa(0x1000_0ff0),
        0x20,
    )];
    let expected = (0x1000_0000, 0x1000_1fff, Some(0x1000_0000), vec!["uart"]);
    assert_eq!(planned(&mut regions), [expected]);
}

#[test]
fn removing_one_device_keeps_only_that_one() {
    let device = |name, base| Region::passthrough(name, gpa(base), hpa(base), 0x1000);
    let all = [
        device("a", 0x1000),
        device("b", 0x3000),
        device("c", 0x5000),
    ];
    let mut without_b: Vec<_> = all
        .into_iter()
        .filter(|region| region.name() != "b")
        .collect();
    let names: Vec<_> = planned(&mut without_b)
        .into_iter()
        .map(|mapping| mapping.3)
        .collect();
    assert_eq!(names, [["a"], ["c"]]);
}

#[test]
fn first_entry_decides_how_all_entries_are_read() {
    let rtc = Region::device_tree("/rtc", gpa(0x9000), hpa(0x9000), 0x1000);
    let gicc = Region::passthrough("gicc", gpa(0x1000), hpa(0x4000), 0x1000);
    for mut regions in [[rtc, gicc], [gicc, rtc]] {
        let expected = [
            (0x1000, 0x1fff, Some(0x4000), vec!["gicc"]),
            (0x9000, 0x9fff, Some(0x9000), vec!["/rtc"]),
        ];
        assert_eq!(planned(&mut regions), expected);
    }
}

#[test]
fn planning_again_doubles_the_entries() {
    let mut regions = [
        Region::passthrough("b", gpa(0x2000), hpa(0x2000), 0x1000),
        Region::device_tree("/a", gpa(0x1000), hpa(0x1000), 0x2000),
    ];
    let once = planned(&mut regions);
    assert_eq!(once, [(0x1000, 0x2fff, Some(0x1000), vec!["/a", "b"])]);
    assert_eq!(planned(&mut regions), once);
}

#[test]
fn overlap_does_not_say_between_whom() {
    let mut regions = [
        Region::passthrough("local-apic", gpa(0xfee0_0000), hpa(0xfee0_0000), 0x1000),
        Region::emulated("apic-access", gpa(0xfee0_0f00), 0x100),
    ];
    let errors = plan(&mut regions).expect_err("an emulated page is passed through");
    let [
        PlanError::Overlap {
            first,
            second,
            reason: OverlapReason::Kind,
        },
    ] = errors[..]
    else {
        panic!("{errors:?}");
    };
    assert_eq!((first.index(), second.index()), (0, 1));
    let message = errors[0].to_string();
    for part in [
        "local-apic",
        "apic-access",
        "0xfee00000-0xfee00fff",
        "0xfee00f00-0xfee00fff",
    ] {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
}

#[test]
fn flags_of_a_region_cannot_be_chosen() {
    let uncached = MappingFlags::READ_WRITE | MappingFlags::UNCACHED;
    let mut regions = [
        Region::passthrough("sram", gpa(0x1000), hpa(0x1000), 0x1000).with_flags(uncached),
        Region::passthrough("uart", gpa(0x2000), hpa(0x2000), 0x1000),
    ];
    let plan = plan(&mut regions).expect("neighbours with other flags do not merge");
    let flags: Vec<_> = plan.mappings().map(|mapping| mapping.flags()).collect();
    assert_eq!(flags, [uncached, MappingFlags::PASSTHROUGH]);
}

#[test]
fn flags_of_memory_are_ignored() {
    let mut regions = [Region::alloc(
        "rom",
        gpa(0x1000),
        0x1000,
        MappingFlags::READ,
    )];
    let plan = plan(&mut regions).expect("one region");
    assert!(
        plan.mappings()
            .all(|mapping| mapping.flags() == MappingFlags::READ)
    );
}

#[test]
fn devices_smaller_than_a_page_expose_their_neighbours_silently() {
    let mut regions = [
        Region::passthrough("uart0", gpa(0x1000), hpa(0x9000), 0x100),
        Region::passthrough("uart1", gpa(0x1080), hpa(0x9080), 0x100),
    ];
    let plan = plan(&mut regions).expect("the two agree");
    let warnings: Vec<_> = plan.warnings().collect();
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].code(), "page-exposure");
    let message = warnings[0].to_string();
    assert!(
        message.contains("0xe80 bytes") && message.contains("uart0 and 1 more"),
        "{message}"
    );
}

#[test]
fn small_device_is_rounded_up_to_the_next_page() {
    let mut regions = [Region::passthrough(
        "bar",
        gpa(0x4000_0800),
        hpa(0x5000_0800),
        0x100,
    )];
    let expected = (0x4000_0000, 0x4000_0fff, Some(0x5000_0000), vec!["bar"]);
    assert_eq!(planned(&mut regions), [expected]);
}

#[test]
fn overlap_is_dropped_silently() {
    let memory = Region::reserved("memory", gpa(0x8000_0000), 0x1000_0000, RWX);
    let bar = Region::passthrough("bar", gpa(0x8800_0000), hpa(0x8800_0000), 0x1000);
    for mut regions in [[memory, bar], [bar, memory]] {
        let errors = plan(&mut regions).expect_err("a device lies in RAM");
        assert!(matches!(
            errors[..],
            [PlanError::Overlap {
                reason: OverlapReason::Kind,
                ..
            }]
        ));
    }
}

#[test]
fn emulated_device_is_hidden_by_a_mapping() {
    let mut regions = [
        Region::device_tree("/soc", gpa(0x0), hpa(0x0), 0x1_0000),
        Region::emulated("console", gpa(0x4010), 0x10),
    ];
    let expected = [
        (0x0, 0x3fff, Some(0x0), vec!["/soc"]),
        (0x5000, 0xffff, Some(0x5000), vec!["/soc"]),
    ];
    assert_eq!(planned(&mut regions), expected);
}

#[test]
fn only_the_first_error_is_reported() {
    let mut regions = [
        Region::passthrough("empty", gpa(0x1000), hpa(0x1000), 0),
        Region::passthrough("top", gpa(0xffff_ffff_ffff_f000), hpa(0x0), 0x1001),
        Region::passthrough("far", gpa(0x0), hpa(0xffff_ffff_ffff_f000), 0x1001),
        Region::passthrough("crooked", gpa(0x10_0010), hpa(0x10_0020), 0x10),
        Region::alloc("low", gpa(0x20_0000), 0x2000, RWX),
        Region::identical("high", gpa(0x20_1000), 0x2000, RWX),
        Region::alloc("twice", gpa(0x30_0000), 0x10, RWX),
        Region::alloc("again", gpa(0x30_000f), 0x10, RWX),
    ];
    let errors = plan(&mut regions).expect_err("nothing but mistakes");
    let names = |error: &PlanError<'_>| error.to_string();
    let messages: Vec<_> = errors.iter().map(names).collect();
    assert_eq!(messages.len(), 6, "{messages:#?}");
    for (message, name) in messages
        .iter()
        .zip(["empty", "top", "far", "crooked", "low", "twice"])
    {
        assert!(message.starts_with(name), "{message}");
    }
}

#[test]
fn arithmetic_wraps_at_the_end_of_the_space() {
    let top = 0xffff_ffff_ffff_e000;
    let mut regions = [
        Region::device_tree("/last", gpa(top + 0x1fff), hpa(top + 0x1fff), 1),
        Region::passthrough("before", gpa(top), hpa(top), 0x1000),
        Region::passthrough("first", gpa(0x0), hpa(0x0), 1),
        Region::passthrough("low-to-top", gpa(0x1000), hpa(top + 0x1000), 0x1000),
        Region::passthrough("next-to-zero", gpa(0x2000), hpa(0x0), 0x1000),
    ];
    let expected = [
        (0x0, 0xfff, Some(0x0), vec!["first"]),
        // Equal differences modulo 2^64, but no linear range of host memory.
        (0x1000, 0x1fff, Some(top + 0x1000), vec!["low-to-top"]),
        (0x2000, 0x2fff, Some(0x0), vec!["next-to-zero"]),
        (top, u64::MAX, Some(top), vec!["before", "/last"]),
    ];
    assert_eq!(planned(&mut regions), expected);
}

#[test]
fn all_of_the_space_is_an_error_unless_it_is_emulated() {
    let half = 1 << 63;
    let mut halves = [
        Region::identical("low", gpa(0), half, RWX),
        Region::identical("high", gpa(half), half, RWX),
    ];
    let errors = plan(&mut halves).expect_err("2^64 bytes");
    assert!(matches!(errors[..], [PlanError::WholeSpace { region }] if region.name() == "low"));
    let mut trap = [
        Region::emulated("all", gpa(0), u64::MAX),
        Region::device_tree("/gone", gpa(0x1000), hpa(0x1000), 0x1000),
    ];
    assert_eq!(planned(&mut trap), []);
    assert_eq!(trap[0].kind(), RegionKind::Emulated);
}

#[test]
fn a_region_inside_another_goes_unnamed_beside_a_wider_conflict() {
    let mut regions = [
        Region::passthrough("alpha", gpa(0x1000), hpa(0x1000), 0x8000),
        Region::passthrough("beta", gpa(0x2000), hpa(0x2000), 0x4000),
        Region::alloc("ram", gpa(0x3000), 0x1000, RWX),
    ];
    let errors = plan(&mut regions).expect_err("RAM lies in both");
    let pairs: Vec<_> = errors
        .iter()
        .map(|error| match error {
            PlanError::Overlap { first, second, .. } => (first.name(), second.name()),
            _ => ("", ""),
        })
        .collect();
    assert_eq!(pairs, [("alpha", "ram"), ("beta", "ram")]);
}

/// One host page was mapped as cached RAM and as a device, which differ in memory type.
#[test]
fn ram_is_not_passed_through_at_another_address() {
    let mut regions = [
        Region::reserved("ram", GuestPhysAddr::new(0x4000_0000), 0x100_0000, RWX),
        Region::passthrough(
            "window",
            GuestPhysAddr::new(0x5000_0000),
            HostPhysAddr::new(0x4000_0000),
            0x10_0000,
        ),
    ];
    let errors = plan(&mut regions).expect_err("the window is RAM");
    assert!(
        matches!(errors[..], [PlanError::HostAlias { ram, device, host }]
            if ram.name() == "ram" && device.name() == "window" && host.size() == 0x10_0000),
        "{errors:?}"
    );
}

/// Every mapping of many is named with one other at most.
#[test]
fn a_page_that_many_regions_pass_through_is_linear() {
    let host = HostPhysAddr::new(0x9000);
    let mut regions: Vec<_> = (0..50_000_u64)
        .map(|n| Region::passthrough("d", GuestPhysAddr::new(n * 0x2000), host, 0x1000))
        .collect();
    let planned = plan(&mut regions).expect("it is a warning");
    let codes = planned.warnings().map(|warning| warning.code());
    assert_eq!(codes.filter(|code| *code == "host-alias").count(), 49_999);
}

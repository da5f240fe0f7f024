//! `decode`: how it is called, and how it prints.

#![expect(clippy::unwrap_used, reason = "the helpers of a test may fail it")]

mod common;

use common::guest_map;

fn decode(arguments: &[&str]) -> common::Answer {
    guest_map(&[&["decode"], arguments].concat())
}

#[test]
fn the_exit_comes_first_then_the_fields() {
    let text = decode(&["esr_el2=0x93c28047", "HPFAR=0x90000", "far-el2=0x123"]).accepted();
    assert!(
        text.starts_with("The guest writes guest 0x9000123: Translation fault, level 3.\n"),
        "{text}"
    );
    for part in [
        "31:26  EC     0x24  data abort from a lower exception level",
        "20:16  SRT    2     register x2",
        "guest-map explain CONFIG.toml 0x9000123",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn every_register_fits_80_columns() {
    for value in ["0x0", "0xffffffffffffffff", "0x93c28047", "0x80023558"] {
        for name in [
            "hgatp",
            "scause",
            "htval",
            "stval",
            "htinst",
            "vtcr",
            "vttbr",
            "esr",
            "hpfar",
            "far",
            "eptp",
            "qualification",
            "gpa",
            "ncr3",
            "exitinfo1",
            "exitinfo2",
        ] {
            let text = decode(&[&format!("{name}={value}")]).accepted();
            let long = text.lines().find(|line| line.chars().count() > 80);
            assert_eq!(long, None);
        }
        for (mode, level) in [
            ("sv39x4", "0"),
            ("ipa40", "3"),
            ("ept4", "1"),
            ("npt4", "2"),
        ] {
            let entry = format!("entry={value}");
            let text = decode(&[&entry, "--mode", mode, "--level", level]).accepted();
            let long = text.lines().find(|line| line.chars().count() > 80);
            assert_eq!(long, None);
        }
    }
}

#[test]
fn json_has_what_the_text_has() {
    let answer = decode(&["scause=23", "htval=0x2400000", "--format", "json"]).json();
    let fault = &answer["faults"][0];
    assert_eq!(fault["access"], "write");
    assert_eq!(fault["gpa"], "0x9000000");
    let field = &answer["registers"][0]["fields"][1];
    assert_eq!((&field["high"], &field["low"]), (&62.into(), &0.into()));
    assert_eq!(field["value"], "0x17");
    assert_eq!(field["meaning"], "store/AMO guest-page fault");
}

#[test]
fn wrong_usage_says_what_to_write() {
    for (arguments, wanted) in [
        (&["esr=93c28047"][..], "was 0x93c28047 meant?"),
        (&["esr"], "write NAME=VALUE"),
        (&["vbar=1"], "there are entry, hgatp"),
        (&["esr=1", "ESR_EL2=1"], "esr_el2 is given twice"),
        (&["entry=1"], "give --mode"),
        (&["entry=1", "--mode", "ept4"], "give --level 1 to 4"),
        (&["entry=1", "--mode", "sv39x4", "--level", "3"], "0 to 2"),
        (&["entry=1", "--mode", "sv40"], "there is no mode"),
        (&["esr=1", "--level", "1"], "--level is for entry"),
    ] {
        let answer = decode(arguments);
        assert_eq!(
            (answer.status, answer.stdout.as_str()),
            (2, ""),
            "{arguments:?}"
        );
        let text = answer.stderr.replace("\n    ", " ");
        assert!(text.contains(wanted), "{text}");
    }
}

//! Which processors need a broadcast `TLBI` and `DSB` once more: values of `MIDR_EL1`, written by hand
//! from the processors' manuals (the model, the variant in bits 23:20, the revision in bits 3:0).

use nested_paging_aarch64::{Capabilities, IdRegisters};

fn repeats(midr_el1: u64) -> bool {
    let mut registers = IdRegisters::default();
    registers.midr_el1 = midr_el1;
    let capabilities = Capabilities::from_id_registers(&registers);
    // The processor's name changes nothing else.
    let others = match capabilities.repeat_tlbi() {
        true => Capabilities::new().with_repeat_tlbi(),
        false => Capabilities::new(),
    };
    assert_eq!(capabilities, others);
    capabilities.repeat_tlbi()
}

#[test]
fn processors_with_the_errata_repeat() {
    for (midr_el1, name) in [
        (0x410f_d050, "Cortex-A55 r0p0"),
        (0x412f_d050, "Cortex-A55 r2p0"),
        (0x410f_d460, "Cortex-A510 r0p0"),
        (0x411f_d461, "Cortex-A510 r1p1"),
        (0x410f_d0b0, "Cortex-A76 r0p0"),
        (0x413f_d0b0, "Cortex-A76 r3p0"),
        (0x414f_d0b1, "Cortex-A76 r4p1"),
        (0x410f_d0e0, "Cortex-A76AE"),
        (0x411f_d0d0, "Cortex-A77 r1p0"),
        (0x411f_d410, "Cortex-A78 r1p0"),
        (0x410f_d420, "Cortex-A78AE"),
        (0x410f_d4b0, "Cortex-A78C"),
        (0x412f_d470, "Cortex-A710 r2p0"),
        (0x411f_d440, "Cortex-X1 r1p0"),
        (0x410f_d4c0, "Cortex-X1C"),
        (0x412f_d480, "Cortex-X2 r2p0"),
        (0x411f_d4e0, "Cortex-X3 r1p0"),
        (0x410f_d821, "Cortex-X4 r0p1"),
        (0x410f_d850, "Cortex-X925"),
        (0x410f_d8c0, "C1-Ultra"),
        (0x410f_d900, "C1-Premium"),
        (0x413f_d0c1, "Neoverse N1 r3p1"),
        (0x410f_d490, "Neoverse N2"),
        (0x411f_d401, "Neoverse V1 r1p1"),
        (0x410f_d4f0, "Neoverse V2"),
        (0x410f_d840, "Neoverse V3"),
        (0x410f_d830, "Neoverse V3AE"),
        (0x6d0f_d490, "Azure Cobalt 100"),
        (0x4e0f_0100, "NVIDIA Olympus"),
        (0x510f_8000, "Falkor, first release"),
        (0x510f_2010, "Kryo, a part of 0x2xx"),
        (0x511f_2ff2, "Kryo, the last part"),
        (0x51cf_804e, "Kryo 4xx Gold rcpe, a Cortex-A76 r0p0"),
        (0x51ff_804e, "Kryo 4xx Gold rfpe, a Cortex-A76 r3p0"),
    ] {
        assert!(repeats(midr_el1), "{name}");
    }
}

#[test]
fn others_do_not() {
    for (midr_el1, name) in [
        (0x0000_0000, "nothing known"),
        (0x410f_d034, "Cortex-A53"),
        (0x411f_d071, "Cortex-A57"),
        (0x410f_d083, "Cortex-A72"),
        (0x410f_d092, "Cortex-A73"),
        (0x411f_d462, "Cortex-A510 r1p2, where it is mended"),
        (0x412f_d460, "Cortex-A510 r2p0"),
        (0x410f_d4d0, "Cortex-A715"),
        (0x410f_d810, "Cortex-A720"),
        (0x410f_d8b0, "C1-Pro"),
        (0x4e0f_0040, "NVIDIA Carmel"),
        (0x511f_8000, "Falkor, another variant"),
        (0x510f_8001, "Kryo 2xx Gold, the same part"),
        (0x510f_3000, "past the Kryo parts"),
        (0x51ff_804f, "Kryo 4xx Gold rfpf, a Cortex-A76 r3p1"),
        (0x51bf_804e, "before Kryo 4xx Gold rcpe"),
        (0x610f_0220, "Apple M1"),
        (0xc00f_ac30, "AmpereOne"),
        // Fields of another architecture version mean something else.
        (0x4107_d050, "not the ID scheme of Armv7 and later"),
        // The same part of another implementer is another processor.
        (0x420f_d050, "a Broadcom"),
    ] {
        assert!(!repeats(midr_el1), "{name}");
    }
}

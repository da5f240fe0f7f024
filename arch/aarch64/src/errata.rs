//! Processors that break a rule which invalidation rests on.

/// A model in some or all of its releases, by the fields of `MIDR_EL1` (Arm ARM DDI 0487, "MIDR_EL1,
/// Main ID Register").
struct Processor {
    implementer: u64,
    /// The first and the last `PartNum`.
    parts: (u64, u64),
    /// The first and the last release: the variant in bits 7:4, the revision in bits 3:0, so that
    /// r3p1 is `0x31`.
    releases: (u64, u64),
}

const ARM: u64 = 0x41;
const NVIDIA: u64 = 0x4e;
const QUALCOMM: u64 = 0x51;
const MICROSOFT: u64 = 0x6d;

const EVERY_RELEASE: (u64, u64) = (0x00, 0xff);

/// Every release of a model.
const fn every(implementer: u64, part: u64) -> Processor {
    Processor {
        implementer,
        parts: (part, part),
        releases: EVERY_RELEASE,
    }
}

/// On these processors, broadcast `TLBI` and `DSB` remove the translations, but do not wait for every
/// access that was translated before. A further broadcast `TLBI` and `DSB` wait for them.
///
/// Sources: Linux, `arm64_repeat_tlbi_list` in `arch/arm64/kernel/cpu_errata.c`, with commits
/// a8f78680ee6b (what has to be repeated) and cfd391e74134 (CVE-2025-10263), and the numbers of
/// `arch/arm64/include/asm/cputype.h`; Xen, `ARM64_WORKAROUND_REPEAT_TLBI`, with 1286807 only.
const REPEAT_TLBI: &[Processor] = &[
    // Cortex-A55: 2441007.
    every(ARM, 0xd05),
    // Cortex-A510, r0p0 to r1p1: 2441009.
    Processor {
        implementer: ARM,
        parts: (0xd46, 0xd46),
        releases: (0x00, 0x11),
    },
    // Cortex-A76: 1286807 up to r3p0, and 4193800 in every release.
    every(ARM, 0xd0b),
    // Cortex-A76AE: 4193801.
    every(ARM, 0xd0e),
    // Cortex-A77: 4193798.
    every(ARM, 0xd0d),
    // Cortex-A78: 4193791.
    every(ARM, 0xd41),
    // Cortex-A78AE: 4193793.
    every(ARM, 0xd42),
    // Cortex-A78C: 4193794.
    every(ARM, 0xd4b),
    // Cortex-A710: 4193788.
    every(ARM, 0xd47),
    // Cortex-X1: 4193791.
    every(ARM, 0xd44),
    // Cortex-X1C: 4193792.
    every(ARM, 0xd4c),
    // Cortex-X2: 4193788.
    every(ARM, 0xd48),
    // Cortex-X3: 4193786.
    every(ARM, 0xd4e),
    // Cortex-X4: 4118414.
    every(ARM, 0xd82),
    // Cortex-X925: 4193781.
    every(ARM, 0xd85),
    // C1-Ultra and C1-Premium: listed with 4118414.
    every(ARM, 0xd8c),
    every(ARM, 0xd90),
    // Neoverse N1: 4193800.
    every(ARM, 0xd0c),
    // Neoverse N2: 4193789.
    every(ARM, 0xd49),
    // Neoverse V1: 4193790.
    every(ARM, 0xd40),
    // Neoverse V2: 4193787.
    every(ARM, 0xd4f),
    // Neoverse V3 and V3AE: 4193784.
    every(ARM, 0xd84),
    every(ARM, 0xd83),
    // Microsoft Azure Cobalt 100, a Neoverse N2: 4193789.
    every(MICROSOFT, 0xd49),
    // NVIDIA Olympus: T410-OLY-1029.
    every(NVIDIA, 0x010),
    // Qualcomm Falkor, first release: 1009.
    Processor {
        implementer: QUALCOMM,
        parts: (0x800, 0x800),
        releases: (0x00, 0x00),
    },
    // Qualcomm Kryo, all its parts: 1009.
    Processor {
        implementer: QUALCOMM,
        parts: (0x200, 0x2ff),
        releases: EVERY_RELEASE,
    },
    // Qualcomm Kryo 4xx Gold, rcpe to rfpe, a Cortex-A76 of r0p0 to r3p0: 1286807.
    Processor {
        implementer: QUALCOMM,
        parts: (0x804, 0x804),
        releases: (0xce, 0xfe),
    },
];

/// Whether the processor with this `MIDR_EL1` needs a broadcast `TLBI` and `DSB` once more.
pub(crate) const fn needs_repeated_tlbi(midr_el1: u64) -> bool {
    let mut rest = REPEAT_TLBI;
    while let [processor, others @ ..] = rest {
        if processor.is(midr_el1) {
            return true;
        }
        rest = others;
    }
    false
}

impl Processor {
    const fn is(&self, midr_el1: u64) -> bool {
        let implementer = midr_el1 >> 24 & 0xff;
        // 0b1111: the fields have the meaning that they have in ID registers of Armv7 and later.
        let architecture = midr_el1 >> 16 & 0xf;
        let part = midr_el1 >> 4 & 0xfff;
        let release = midr_el1 >> 16 & 0xf0 | midr_el1 & 0xf;
        implementer == self.implementer
            && architecture == 0xf
            && within(part, self.parts)
            && within(release, self.releases)
    }
}

const fn within(value: u64, (first, last): (u64, u64)) -> bool {
    first <= value && value <= last
}

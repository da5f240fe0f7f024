//! The architecture, from the CPUs.

use core::fmt;

use crate::properties::{Properties, strings, text};
use crate::selection::Selection;
use crate::tree::DeviceTree;
use crate::walk::Level;

/// An architecture whose CPUs a device tree describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Architecture {
    /// 64-bit RISC-V.
    Riscv64,
    /// 64-bit Arm.
    Aarch64,
    /// 64-bit x86.
    X86_64,
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Riscv64 => "riscv64",
            Self::Aarch64 => "aarch64",
            Self::X86_64 => "x86_64",
        })
    }
}

impl DeviceTree<'_> {
    /// The architecture of the first CPU that tells it, or `None`.
    ///
    /// CPUs are the nodes `/cpus/cpu` and `/cpus/cpu@*`, whatever their status. By the bindings in
    /// Linux's `Documentation/devicetree/bindings`:
    ///
    /// - RISC-V: `compatible` has `riscv`, or there is a `riscv,isa` or `riscv,isa-base`, and neither
    ///   says 32 bits (`riscv/cpus.yaml`, `riscv/extensions.yaml`);
    /// - AArch64: `compatible` has an `arm,` CPU, or `enable-method` is one of Arm's
    ///   (`arm/cpus.yaml`), except for the CPUs that only have 32 bits;
    /// - x86-64: `compatible` has an `intel,`, `amd,` or `x86` CPU.
    #[must_use]
    pub fn architecture(&self) -> Option<Architecture> {
        let mut walk = self.walk(Selection::default());
        while let Some(properties) = walk.next_node() {
            if is_cpu(walk.levels())
                && let Some(architecture) = of_cpu(&properties)
            {
                return Some(architecture);
            }
        }
        None
    }
}

fn is_cpu(levels: &[Level<'_>]) -> bool {
    match levels {
        [_, cpus, cpu] => {
            cpus.name == b"cpus" && (cpu.name == b"cpu" || cpu.name.starts_with(b"cpu@"))
        }
        _ => false,
    }
}

fn of_cpu(cpu: &Properties<'_>) -> Option<Architecture> {
    let compatible = cpu.value_of("compatible").unwrap_or_default();
    let is_compatible = |matches: fn(&[u8]) -> bool| strings(compatible).any(matches);
    let isa = text(cpu.value_of("riscv,isa").unwrap_or_default());
    let isa_base = text(cpu.value_of("riscv,isa-base").unwrap_or_default());
    if !isa.is_empty() || !isa_base.is_empty() || is_compatible(|name| name == b"riscv") {
        let is_32_bit = isa.starts_with(b"rv32") || isa_base.starts_with(b"rv32");
        return (!is_32_bit).then_some(Architecture::Riscv64);
    }
    if is_compatible(is_arm_of_32_bits) {
        return None;
    }
    let enable_method = text(cpu.value_of("enable-method").unwrap_or_default());
    let is_started_as_arm = matches!(enable_method, b"psci" | b"spin-table");
    if is_started_as_arm || is_compatible(|name| name.starts_with(b"arm,")) {
        return Some(Architecture::Aarch64);
    }
    is_compatible(is_x86).then_some(Architecture::X86_64)
}

fn is_x86(compatible: &[u8]) -> bool {
    compatible.starts_with(b"intel,")
        || compatible.starts_with(b"amd,")
        || compatible.starts_with(b"x86")
}

/// The CPUs of `arm/cpus.yaml` without AArch64: ARMv7 and older, the R and M profiles, and the A32.
fn is_arm_of_32_bits(compatible: &[u8]) -> bool {
    const FAMILIES: [&[u8]; 5] = [
        b"arm,arm7",
        b"arm,arm9",
        b"arm,arm1",
        b"arm,cortex-r",
        b"arm,cortex-m",
    ];
    const CPUS: [&[u8]; 11] = [
        b"arm,cortex-a5",
        b"arm,cortex-a7",
        b"arm,cortex-a8",
        b"arm,cortex-a9",
        b"arm,cortex-a12",
        b"arm,cortex-a15",
        b"arm,cortex-a17",
        b"arm,cortex-a32",
        b"qcom,krait",
        b"qcom,scorpion",
        b"brcm,brahma-b15",
    ];
    CPUS.contains(&compatible) || FAMILIES.iter().any(|family| compatible.starts_with(family))
}

//! VTTBR_EL2 and VTCR_EL2.

use core::fmt;

use guest_addr::HostPhysAddr;

use crate::bits::{bit, field, mask};

/// What the processing element implements, and HCR_EL2.FWB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// ID_AA64MMFR0_EL1.PARange: 0 to 6 for 32, 36, 40, 42, 44, 48 and 52 bits.
    pub pa_range: u8,
    /// HCR_EL2.FWB is set (FEAT_S2FWB): MemAttr is read in the other way.
    pub force_write_back: bool,
    /// FEAT_XNX: XN has two bits.
    pub execute_never_extended: bool,
    /// FEAT_VMID16: VTCR_EL2.VS exists.
    pub vmid16: bool,
    /// FEAT_HAFDBS, access flag (ID_AA64MMFR1_EL1.HAFDBS of 1 and more): VTCR_EL2.HA exists.
    pub hardware_access_flag: bool,
    /// FEAT_HAFDBS, dirty state (ID_AA64MMFR1_EL1.HAFDBS of 2 and more): VTCR_EL2.HD and the
    /// descriptor's DBM exist.
    pub hardware_dirty_state: bool,
}

/// A processing element's stage 2: VTTBR_EL2, VTCR_EL2, HCR_EL2.FWB and the features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2 {
    pub(super) root: HostPhysAddr,
    pub(super) start_level: u8,
    /// IAsize: the bits of an intermediate physical address.
    pub(super) input_bits: u32,
    /// The bits of an output address.
    pub(super) output_bits: u32,
    /// VTCR_EL2.HA.
    pub(super) access_flag: bool,
    /// VTCR_EL2.HA and HD.
    pub(super) dirty_state: bool,
    pub(super) features: Features,
}

/// Why the registers select no translation, or not the one that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The features have a PARange that is not 0 to 6.
    PhysicalAddressRange {
        /// What was given.
        pa_range: u8,
    },
    /// VTCR_EL2 bit 31, which is RES1, is 0.
    Res1Clear,
    /// VTCR_EL2 has bits set that are RES0, or belong to features that are missing or not modelled.
    ReservedBits {
        /// Those that are set.
        bits: u64,
    },
    /// TG0 does not select the 4 KiB granule (0).
    Granule {
        /// The value of bits 15:14.
        tg0: u64,
    },
    /// SH0 is 1, which is reserved.
    Shareability,
    /// PS is larger than PARange or reserved.
    OutputSize {
        /// The value of bits 18:16.
        ps: u64,
        /// PARange, in the same encoding.
        pa_range: u8,
    },
    /// 64 - T0SZ is outside 25 to the smaller of 48 and the physical address size.
    InputSize {
        /// The bits of an intermediate physical address that were asked for.
        bits: u64,
    },
    /// SL0 is 3, or it is 2 (level 0) although physical addresses are narrower than 44 bits.
    StartLevel {
        /// The value of bits 7:6.
        sl0: u64,
    },
    /// SL0 and T0SZ contradict each other: the walk would need more than 16 concatenated tables, or
    /// its first level would resolve no bit.
    InconsistentStartLevel {
        /// The level that SL0 selects.
        level: u8,
        /// The bits of an intermediate physical address.
        input_bits: u32,
    },
    /// VTTBR_EL2 has VMID bits 15:8 set with 8-bit VMIDs.
    WideVmid {
        /// The value of bits 63:48.
        vmid: u64,
    },
    /// VTTBR_EL2.CnP is set, which is RES0 without FEAT_TTCNP and a promise about other processing
    /// elements with it.
    CommonNotPrivate,
    /// The root is not aligned to its size, all concatenated tables together.
    UnalignedRoot {
        /// The address of the root as it was given.
        root: HostPhysAddr,
        /// Its size and alignment in bytes.
        alignment: u64,
    },
    /// The root lies above the output size: every access would get an Address size fault, level 0.
    RootAboveOutputSize {
        /// The address of the root.
        root: HostPhysAddr,
        /// The bits of an output address.
        output_bits: u32,
    },
}

impl Stage2 {
    /// The stage 2 that the registers select.
    ///
    /// # Errors
    ///
    /// Each variant of [`ConfigError`] is one rule; the first one that is broken is reported, in
    /// the order of the variants.
    pub fn new(vttbr: u64, vtcr: u64, features: Features) -> Result<Self, ConfigError> {
        let pa_max = pa_max(features.pa_range)?;
        check_reserved(vtcr, features)?;
        let output_bits = output_size(vtcr, features.pa_range)?;
        let input_bits = input_size(vtcr, pa_max)?;
        let start_level = start_level(vtcr, pa_max, input_bits)?;
        let root_bits = input_bits - (12 + 9 * (3 - u32::from(start_level))) + 3;
        Ok(Self {
            root: root(vtcr, vttbr, root_bits, output_bits)?,
            start_level,
            input_bits,
            output_bits,
            access_flag: bit(vtcr, 21),
            dirty_state: bit(vtcr, 21) && bit(vtcr, 22),
            features,
        })
    }
}

/// ID_AA64MMFR0_EL1.PARange and VTCR_EL2.PS share one encoding (`AArch64.PAMax`).
const SIZES: [u32; 7] = [32, 36, 40, 42, 44, 48, 52];

fn pa_max(pa_range: u8) -> Result<u32, ConfigError> {
    let size = SIZES.get(usize::from(pa_range));
    size.copied()
        .ok_or(ConfigError::PhysicalAddressRange { pa_range })
}

/// VTCR_EL2: T0SZ 5:0, SL0 7:6, IRGN0 9:8, ORGN0 11:10, SH0 13:12, TG0 15:14, PS 18:16, VS 19, HA 21,
/// HD 22, RES1 31. Above bit 31 are DS, SL2 and other features, in 30:25 HWU and NSA, NSW.
fn check_reserved(vtcr: u64, features: Features) -> Result<(), ConfigError> {
    if !bit(vtcr, 31) {
        return Err(ConfigError::Res1Clear);
    }
    let missing = [
        (19, features.vmid16),
        (21, features.hardware_access_flag),
        (22, features.hardware_dirty_state),
    ];
    let reserved = missing
        .iter()
        .filter(|(_, present)| !present)
        .fold(mask(63, 32) | mask(30, 23) | mask(20, 20), |all, (n, _)| {
            all | mask(*n, *n)
        });
    let bits = vtcr & reserved;
    if bits != 0 {
        return Err(ConfigError::ReservedBits { bits });
    }
    match (field(vtcr, 15, 14), field(vtcr, 13, 12)) {
        (0, 1) => Err(ConfigError::Shareability),
        (0, _) => Ok(()),
        (tg0, _) => Err(ConfigError::Granule { tg0 }),
    }
}

/// `AArch64.PhysicalAddressSize`: without FEAT_LPA2 the 4 KiB granule puts out at most 48 bits.
fn output_size(vtcr: u64, pa_range: u8) -> Result<u32, ConfigError> {
    let ps = field(vtcr, 18, 16);
    match SIZES.get(ps as usize) {
        Some(size) if ps <= u64::from(pa_range) => Ok((*size).min(48)),
        _ => Err(ConfigError::OutputSize { ps, pa_range }),
    }
}

/// `AArch64.S2MinTxSZ` (16, and not beyond PAMax) and `AArch64.MaxTxSZ` (39 without FEAT_TTST). An
/// implementation may clamp the value or fault: `AArch64.S2TxSZFaults`.
fn input_size(vtcr: u64, pa_max: u32) -> Result<u32, ConfigError> {
    let bits = 64 - field(vtcr, 5, 0);
    match u32::try_from(bits) {
        Ok(size) if size >= 25 && size <= pa_max.min(48) => Ok(size),
        _ => Err(ConfigError::InputSize { bits }),
    }
}

/// `AArch64.S2StartLevel`, `AArch64.S2InvalidSL` and `AArch64.S2InconsistentSL` for TG4KB.
fn start_level(vtcr: u64, pa_max: u32, input_bits: u32) -> Result<u8, ConfigError> {
    let level = match field(vtcr, 7, 6) {
        0 => 2,
        1 => 1,
        2 if pa_max >= 44 => 0,
        sl0 => return Err(ConfigError::StartLevel { sl0 }),
    };
    // Granule bits 12 and stride 9: the first table resolves at least one bit, at most 9 + 4.
    let levels = 3 - u32::from(level);
    let min = levels * 9 + 12 + 1;
    let max = min + (9 - 1) + 4;
    if (min..=max).contains(&input_bits) {
        return Ok(level);
    }
    Err(ConfigError::InconsistentStartLevel { level, input_bits })
}

/// VTTBR_EL2: CnP 0, BADDR 47:1, VMID 63:48. `AArch64.S2TTBaseAddress`: the bits below the size of the
/// table are taken as zero.
fn root(
    vtcr: u64,
    vttbr: u64,
    root_bits: u32,
    output_bits: u32,
) -> Result<HostPhysAddr, ConfigError> {
    let vmid = field(vttbr, 63, 48);
    if !bit(vtcr, 19) && vmid > 0xff {
        return Err(ConfigError::WideVmid { vmid });
    }
    if bit(vttbr, 0) {
        return Err(ConfigError::CommonNotPrivate);
    }
    let root = HostPhysAddr::new(vttbr & mask(47, 1));
    if !root.has_zero_low_bits(root_bits) {
        let alignment = 1 << root_bits;
        return Err(ConfigError::UnalignedRoot { root, alignment });
    }
    if !root.fits_in(output_bits) {
        return Err(ConfigError::RootAboveOutputSize { root, output_bits });
    }
    Ok(root)
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PhysicalAddressRange { pa_range } => {
                write!(f, "PARange is {pa_range}: give a number from 0 to 6")
            }
            Self::Res1Clear => f.write_str("VTCR_EL2 bit 31 is RES1: set it"),
            Self::ReservedBits { bits } => write!(
                f,
                "VTCR_EL2 has bits {bits:#x} set that are RES0 here: clear them"
            ),
            Self::Granule { tg0 } => {
                write!(f, "VTCR_EL2.TG0 is {tg0}: use 0, the 4 KiB granule")
            }
            Self::Shareability => f.write_str("VTCR_EL2.SH0 is 1, which is reserved"),
            Self::OutputSize { ps, pa_range } => {
                write!(f, "VTCR_EL2.PS is {ps}: use at most PARange, {pa_range}")
            }
            Self::InputSize { bits } => write!(
                f,
                "VTCR_EL2.T0SZ asks for {bits} bits: use 25 to 48, and no more than physical addresses have"
            ),
            Self::StartLevel { sl0 } => write!(
                f,
                "VTCR_EL2.SL0 is {sl0}: use 0 or 1, or 2 with physical addresses of 44 bits and more"
            ),
            Self::InconsistentStartLevel { level, input_bits } => write!(
                f,
                "a walk from level {level} cannot resolve {input_bits} bits: change SL0 or T0SZ"
            ),
            Self::WideVmid { vmid } => {
                write!(f, "VMID {vmid:#x} is wider than 8 bits: set VTCR_EL2.VS")
            }
            Self::CommonNotPrivate => f.write_str("VTTBR_EL2.CnP is set: clear it"),
            Self::UnalignedRoot { root, alignment } => {
                write!(
                    f,
                    "the root table at {root} must be aligned to {alignment:#x}"
                )
            }
            Self::RootAboveOutputSize { root, output_bits } => write!(
                f,
                "the root table at {root} is above the output size of {output_bits} bits"
            ),
        }
    }
}

impl core::error::Error for ConfigError {}

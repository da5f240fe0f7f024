//! Formats by the number of their levels, which is how `axvm` chooses.

use core::fmt;

use nested_page_table::Format;
use nested_paging_aarch64::{self as aarch64, Stage2};
use nested_paging_riscv64::{self as riscv64, GStage};
use nested_paging_x86_64::{self as x86_64, Ept, Nested, Npt};

/// Why there is no format with so many levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LevelsError<M> {
    /// No nested page table of the architecture has this many levels.
    Levels {
        /// The number that was asked for.
        levels: usize,
    },
    /// The capabilities do not allow the mode with this many levels.
    Mode(M),
}

impl<M: fmt::Display> fmt::Display for LevelsError<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Levels { levels } => write!(
                f,
                "no nested page table of this architecture has {levels} levels"
            ),
            Self::Mode(error) => error.fmt(f),
        }
    }
}

impl<M: core::error::Error> core::error::Error for LevelsError<M> {}

/// A format that `axvm` can use: one that knows the number which `axvm`'s CPU crates expect in
/// [`NestedPagingConfig::mode`](axvm_types::NestedPagingConfig::mode).
pub trait AxvmFormat: Format {
    /// RISC-V: hgatp.MODE. AArch64: the width of the host's physical addresses in bits. x86: 0.
    fn axvm_mode(&self) -> usize;
}

impl AxvmFormat for GStage {
    fn axvm_mode(&self) -> usize {
        match self.geometry().levels() {
            3 => 8,
            4 => 9,
            _ => 10,
        }
    }
}

impl AxvmFormat for Stage2 {
    fn axvm_mode(&self) -> usize {
        self.geometry().output_bits() as usize
    }
}

impl AxvmFormat for Ept {
    fn axvm_mode(&self) -> usize {
        0
    }
}

impl AxvmFormat for Npt {
    fn axvm_mode(&self) -> usize {
        0
    }
}

impl AxvmFormat for Nested {
    fn axvm_mode(&self) -> usize {
        0
    }
}

/// The RISC-V G-stage of 3, 4 or 5 levels: Sv39x4, Sv48x4 or Sv57x4.
///
/// # Errors
///
/// - [`LevelsError::Levels`]: another number of levels.
/// - [`LevelsError::Mode`]: the capabilities lack the mode.
pub const fn g_stage(
    levels: usize,
    capabilities: riscv64::Capabilities,
) -> Result<GStage, LevelsError<riscv64::ModeError>> {
    use riscv64::Mode;
    let mode = match levels {
        3 => Mode::Sv39x4,
        4 => Mode::Sv48x4,
        5 => Mode::Sv57x4,
        _ => return Err(LevelsError::Levels { levels }),
    };
    match GStage::new(mode, capabilities) {
        Ok(format) => Ok(format),
        Err(error) => Err(LevelsError::Mode(error)),
    }
}

/// Stage 2 of AArch64 with 3 or 4 levels: 39 or 48 bits of guest-physical address, as `axvm` 0.8 has them.
/// [`Stage2::vtcr`] is the value of VTCR_EL2 that goes with the table.
///
/// # Errors
///
/// - [`LevelsError::Levels`]: another number of levels.
/// - [`LevelsError::Mode`]: the width exceeds the CPU's physical address range.
pub const fn stage_2(
    levels: usize,
    capabilities: aarch64::Capabilities,
) -> Result<Stage2, LevelsError<aarch64::ModeError>> {
    let mode = match levels {
        3 => aarch64::Mode::ipa(39),
        4 => aarch64::Mode::ipa(48),
        _ => return Err(LevelsError::Levels { levels }),
    };
    match mode {
        Err(error) => Err(LevelsError::Mode(error)),
        Ok(mode) => match Stage2::new(mode, capabilities) {
            Ok(format) => Ok(format),
            Err(error) => Err(LevelsError::Mode(error)),
        },
    }
}

/// Intel's extended page tables of 4 or 5 levels. [`Nested`] can hold the format, or that of [`npt`].
///
/// # Errors
///
/// - [`LevelsError::Levels`]: another number of levels.
/// - [`LevelsError::Mode`]: the capabilities lack the mode.
pub const fn ept(
    levels: usize,
    capabilities: x86_64::Capabilities,
) -> Result<Ept, LevelsError<x86_64::ModeError>> {
    use x86_64::Mode;
    let mode = match levels {
        4 => Mode::Ept4,
        5 => Mode::Ept5,
        _ => return Err(LevelsError::Levels { levels }),
    };
    match Ept::new(mode, capabilities) {
        Ok(format) => Ok(format),
        Err(error) => Err(LevelsError::Mode(error)),
    }
}

/// AMD's nested page tables of 4 or 5 levels: as many as the host's own tables have. [`Nested`] can hold the format, or that
/// of [`ept`].
///
/// # Errors
///
/// - [`LevelsError::Levels`]: another number of levels.
/// - [`LevelsError::Mode`]: the capabilities lack the mode.
pub const fn npt(
    levels: usize,
    capabilities: x86_64::npt::Capabilities,
) -> Result<Npt, LevelsError<x86_64::npt::ModeError>> {
    use x86_64::npt::Mode;
    let mode = match levels {
        4 => Mode::Npt4,
        5 => Mode::Npt5,
        _ => return Err(LevelsError::Levels { levels }),
    };
    match Npt::new(mode, capabilities) {
        Ok(format) => Ok(format),
        Err(error) => Err(LevelsError::Mode(error)),
    }
}

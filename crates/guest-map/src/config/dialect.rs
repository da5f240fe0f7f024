//! Two dialects of configurations, told apart by their keys.
//!
//! The classic one has positional rows of addresses. That of axvmconfig 0.8 names physical devices by
//! path alone. A key that decides mappings means something in one of them, so that both in one
//! file are refused.

use std::ops::Range;

use crate::problem::Fault;

/// Which dialect a key belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Of {
    Both,
    Classic,
    Axvmconfig,
    /// Decides no mapping: known to axvmconfig, and left out with a warning in a classic file, where
    /// it occurs too.
    AxvmconfigOptional,
}

/// The keys of a document that tell its dialect, with their places.
#[derive(Debug, Default)]
pub(super) struct Dialect {
    classic: Vec<(String, Range<usize>)>,
    axvmconfig: Vec<(String, Range<usize>)>,
}

impl Dialect {
    pub(super) fn add(&mut self, section: &str, key: &str, of: Of, span: Range<usize>) {
        let name = format!("[{section}] {key}");
        match of {
            Of::Classic => self.classic.push((name, span)),
            Of::Axvmconfig => self.axvmconfig.push((name, span)),
            Of::Both | Of::AxvmconfigOptional => {}
        }
    }

    pub(super) const fn is_axvmconfig(&self) -> bool {
        !self.axvmconfig.is_empty()
    }

    /// What is wrong with keys of both in one file.
    pub(super) fn mixed(&self) -> Option<Fault> {
        let (_, span) = self
            .axvmconfig
            .first()
            .filter(|_| !self.classic.is_empty())?;
        let names = |keys: &[(String, Range<usize>)]| {
            let names: Vec<_> = keys.iter().map(|(name, _)| name.as_str()).collect();
            names.join(", ")
        };
        Some(Fault {
            offset: span.start,
            text: format!(
                "keys of two formats: {} belong to the classic format, and {} to that of \
                 axvmconfig 0.8: use the keys of one",
                names(&self.classic),
                names(&self.axvmconfig),
            ),
        })
    }
}

/// The refusal of a format that is neither.
pub(super) fn machine_format(span: Range<usize>) -> Fault {
    Fault {
        offset: span.start,
        text: "the format with [machine] and [[memory.regions]] is not read; the nearest that is, is that of \
               axvmconfig 0.8: [base] guest_type = \"passthrough\" or \"virtualized\", [kernel] \
               memory_regions = [[gpa, size, flags, map_type]], [devices] passthrough and disabled"
            .into(),
    }
}

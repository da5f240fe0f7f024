//! What the registers of an exit say together.

use serde::Serialize;

use crate::report::json::Hexadecimal;

/// What the guest did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Access {
    Read,
    Write,
    Execute,
}

impl Access {
    /// The end of "The guest ...".
    pub(super) const fn verb(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Execute => "executes",
        }
    }
}

/// One exit.
#[derive(Debug, Serialize)]
pub(crate) struct Fault {
    /// `None` where the registers do not tell.
    pub(crate) access: Option<Access>,
    /// The guest-physical address.
    pub(crate) gpa: Option<Hexadecimal>,
    /// How many low bits of the address the registers do not tell.
    pub(crate) unknown_low_bits: u8,
    /// The access was the hardware's, to a table of the guest.
    pub(crate) is_guest_walk: bool,
    pub(crate) cause: String,
    /// What to know besides.
    pub(crate) notes: Vec<&'static str>,
}

impl Fault {
    pub(super) fn new(access: Option<Access>, cause: impl Into<String>) -> Self {
        Self {
            access,
            gpa: None,
            unknown_low_bits: 0,
            is_guest_walk: false,
            cause: cause.into(),
            notes: Vec::new(),
        }
    }

    /// The same at an address.
    pub(super) const fn at(mut self, address: u64) -> Self {
        self.gpa = Some(Hexadecimal(address));
        self
    }

    pub(super) fn with_note(mut self, note: &'static str) -> Self {
        self.notes.push(note);
        self
    }

    /// `The guest writes 0x9000000: data abort, translation fault at level 1.`
    pub(super) fn sentence(&self) -> String {
        let who = match self.is_guest_walk {
            true => "The walk of the guest's own tables",
            false => "The guest",
        };
        let what = match (self.is_guest_walk, self.access) {
            (true, _) => "needs",
            (false, Some(access)) => access.verb(),
            (false, None) => "exits",
        };
        let place = match (&self.gpa, self.unknown_low_bits) {
            (Some(Hexadecimal(address)), 0) => format!(" guest {address:#x}"),
            (Some(Hexadecimal(address)), bits) => {
                let last = address | ((1 << bits) - 1);
                format!(" something in guest {address:#x}-{last:#x}")
            }
            (None, _) if self.access.is_some() || self.is_guest_walk => {
                " an address that is not told".into()
            }
            (None, _) => String::new(),
        };
        format!("{who} {what}{place}: {}.", self.cause)
    }
}

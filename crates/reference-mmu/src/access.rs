//! What a guest asks of an address, and what a translation lets it do.

/// What the guest does to the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// A load.
    Read,
    /// A store, or an atomic operation.
    Write,
    /// An instruction fetch by a guest in this mode.
    Execute(GuestMode),
}

/// The mode that the guest executes in.
///
/// On x86 the question is not the privilege level but whether the guest's own page tables call the
/// linear address a user-mode one (SDM 3C, "Mode-Based Execute Control").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestMode {
    /// VU-mode, EL0, a user-mode linear address.
    User,
    /// VS-mode, EL1, a supervisor-mode linear address.
    Supervisor,
}

/// What a translation lets the guest do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permissions {
    /// Loads.
    pub read: bool,
    /// Stores.
    pub write: bool,
    /// Instruction fetches in [`GuestMode::User`].
    pub execute_user: bool,
    /// Instruction fetches in [`GuestMode::Supervisor`].
    pub execute_supervisor: bool,
}

impl Permissions {
    /// Whether `access` is among the permissions.
    #[must_use]
    pub const fn allow(self, access: Access) -> bool {
        match access {
            Access::Read => self.read,
            Access::Write => self.write,
            Access::Execute(GuestMode::User) => self.execute_user,
            Access::Execute(GuestMode::Supervisor) => self.execute_supervisor,
        }
    }
}

//! Messages for the host's log. Without the feature `arceos` there is no log, and they go nowhere.

use core::fmt::Arguments;

/// Something is lost that nobody can be told by a result.
pub(crate) fn error(message: Arguments<'_>) {
    #[cfg(feature = "arceos")]
    ::log::error!("{message}");
    #[cfg(not(feature = "arceos"))]
    let _ = message;
}

/// What is also a value in the set-up report.
pub(crate) fn warn(message: Arguments<'_>) {
    #[cfg(feature = "arceos")]
    ::log::warn!("{message}");
    #[cfg(not(feature = "arceos"))]
    let _ = message;
}

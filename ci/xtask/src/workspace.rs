//! Where this workspace is.

use std::path::PathBuf;

use cargo_metadata::{Metadata, MetadataCommand};

/// The folder of the workspace.
///
/// # Errors
///
/// When cargo does not say.
pub(crate) fn root() -> Result<PathBuf, String> {
    Ok(metadata()?.workspace_root.into_std_path_buf())
}

/// Where cargo builds.
///
/// # Errors
///
/// When cargo does not say.
pub(crate) fn target_directory() -> Result<PathBuf, String> {
    Ok(metadata()?.target_directory.into_std_path_buf())
}

/// What cargo knows about the packages of the workspace.
///
/// # Errors
///
/// When cargo does not say.
pub(crate) fn metadata() -> Result<Metadata, String> {
    let metadata = MetadataCommand::new().no_deps().exec();
    metadata.map_err(|error| error.to_string())
}

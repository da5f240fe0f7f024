//! A plan on paper: for people, for programs, as a picture.

pub(crate) mod json;
pub(crate) mod size;
pub(crate) mod svg;
pub(crate) mod table;
mod wrap;

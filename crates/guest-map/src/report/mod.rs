//! A plan on paper: for people, for programs, as a picture.

pub(crate) mod html;
pub(crate) mod json;
mod picture;
pub(crate) mod size;
pub(crate) mod svg;
pub(crate) mod table;
pub(crate) mod words;
pub(crate) mod wrap;

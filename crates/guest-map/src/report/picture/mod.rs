//! The picture of a plan, as far as [SVG](super::svg) and [HTML](super::html) share it.
//!
//! - [`mod@space`]: the blocks of a plan, and the order that they have in each address space.
//! - [`mod@sum_up`]: neighbours become one row where there are too many for a picture.
//! - [`mod@layout`]: the height of every row. What has the same addresses in both spaces stands at the same
//!   height.
//! - [`mod@draw`]: the elements of the picture.
//! - [`mod@text`]: names and numbers, escaped and cut to a width.

mod draw;
mod layout;
mod space;
mod sum_up;
pub(super) mod text;

pub(super) use draw::{Widths, draw, draw_legend};
pub(super) use layout::{Sheet, rows_of};
pub(super) use space::{Block, blocks_of};

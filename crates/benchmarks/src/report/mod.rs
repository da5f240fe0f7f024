//! Results for people: a table and a plot.

mod markdown;
mod plot;

pub(crate) use markdown::markdown;
pub(crate) use plot::plot;

use crate::results::Row;

/// The distinct values of `key` in `rows`, in the order in which they first occur.
fn distinct<'r>(rows: &'r [Row], key: impl Fn(&'r Row) -> &'r str) -> Vec<&'r str> {
    let mut values = Vec::new();
    for row in rows {
        let value = key(row);
        if !values.contains(&value) {
            values.push(value);
        }
    }
    values
}

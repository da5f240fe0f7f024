//! Names and numbers in a picture.

use std::fmt::{self, Display, Write};

use crate::printable::printable;

/// Text of a file as XML and HTML have it, in content and in attributes: what would be markup is escaped, and
/// what cannot be seen is U+FFFD.
pub(crate) struct Escaped<T>(pub(crate) T);

impl<T: AsRef<str>> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for character in printable(self.0.as_ref()).chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                character => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

/// How many columns of a fixed font `text` takes: those of East Asia are twice as wide.
fn columns(text: &str) -> usize {
    text.chars().map(columns_of).sum()
}

const fn columns_of(character: char) -> usize {
    match character {
        '\0'..'\u{1100}' | '\u{2000}'..'\u{2e80}' => 1,
        _ => 2,
    }
}

/// `name` in at most `width` columns. Of a path the end is kept, since it names the device.
pub(crate) fn shorten(name: &str, width: usize) -> String {
    if columns(name) <= width {
        return name.into();
    }
    let mut room = width.saturating_sub(1);
    let fits = move |character: &char| {
        let columns = columns_of(*character);
        let fits = columns <= room;
        room = room.saturating_sub(columns);
        fits
    };
    if name.starts_with('/') {
        let kept: Vec<_> = name.chars().rev().take_while(fits).collect();
        let kept: String = kept.into_iter().rev().collect();
        return format!("…{kept}");
    }
    let kept: String = name.chars().take_while(fits).collect();
    format!("{kept}…")
}

/// The first of `names` and how many more there are, in at most `width` columns.
pub(crate) fn shorten_all<'n>(mut names: impl Iterator<Item = &'n str>, width: usize) -> String {
    let first = names.next().unwrap_or_default();
    match names.count() {
        0 => shorten(first, width),
        more => {
            let more = format!(" +{more}");
            shorten(first, width.saturating_sub(more.len())) + &more
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_is_text() {
        let name = "<script>alert(\"1\" & '2')</script>";
        let escaped = "&lt;script&gt;alert(&quot;1&quot; &amp; &#39;2&#39;)&lt;/script&gt;";
        assert_eq!(Escaped(name).to_string(), escaped);
    }

    /// XML has no U+0000 and no U+FFFE, and a mark of direction would turn around what follows.
    #[test]
    fn what_cannot_be_seen_is_replaced() {
        for character in [
            '\0', '\u{1b}', '\u{202e}', '\u{2067}', '\u{200f}', '\u{fffe}',
        ] {
            assert_eq!(Escaped(format!("a{character}b")).to_string(), "a\u{fffd}b");
        }
        assert_eq!(Escaped("größe 串口").to_string(), "größe 串口");
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shorten("uart", 4), "uart");
        assert_eq!(shorten("console", 4), "con…");
        assert_eq!(shorten("/soc/serial@fe65", 12), "…serial@fe65");
        assert_eq!(shorten("串口串口", 5), "串口…");
        assert_eq!(shorten_all(["a", "b", "c"].into_iter(), 9), "a +2");
        assert_eq!(shorten_all(["longer", "b"].into_iter(), 7), "lon… +1");
        assert_eq!(shorten_all([].into_iter(), 7), "");
    }
}

//! Names from files, on a terminal and in a picture.

use std::borrow::Cow;

/// `text` with U+FFFD for every character that is not to be seen but acts: a name must not steer a terminal,
/// spoil a picture, or turn around the text that follows it.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match is_plain || !text.contains(acts) {
        true => text.into(),
        false => text.replace(acts, "\u{fffd}").into(),
    }
}

/// Control characters, marks of direction (Unicode 16, UAX #9, section 2), separators of lines, and the
/// characters that XML does not have (XML 1.0, production 2).
fn acts(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{61c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{fffe}'
                | '\u{ffff}'
        )
}

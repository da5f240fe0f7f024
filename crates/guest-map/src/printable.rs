//! Names from files, on a terminal.

use std::borrow::Cow;

/// `text` with U+FFFD for every control character: a name must not steer a terminal or spoil a
/// picture.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let is_plain = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    match is_plain || !text.contains(char::is_control) {
        true => text.into(),
        false => text.replace(char::is_control, "\u{fffd}").into(),
    }
}

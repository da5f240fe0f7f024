//! Bochs's debug console: what is written to port 0xe9 goes to its standard output.

use super::cpu;

/// The port. Guests use it too: their I/O does not exit.
pub(crate) const PORT: u16 = 0xe9;

/// Writes a byte.
pub(crate) fn put(byte: u8) {
    cpu::write_port(PORT, byte);
}

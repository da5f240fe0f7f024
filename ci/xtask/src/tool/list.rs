//! Every tool.

use std::sync::OnceLock;

use super::Tool;

/// QEMU for riscv64.
pub(crate) static QEMU_RISCV64: Tool = Tool::new(
    "qemu-system-riscv64",
    &["qemu-system-riscv"],
    r#"run usr/bin/qemu-system-riscv64 -L "$root/usr/share/qemu" "$@""#,
    "--version",
);

/// QEMU for aarch64.
pub(crate) static QEMU_AARCH64: Tool = Tool::new(
    "qemu-system-aarch64",
    &["qemu-system-arm"],
    r#"run usr/bin/qemu-system-aarch64 -L "$root/usr/share/qemu" "$@""#,
    "--version",
);

/// Bochs. Any of its displays will do: none is opened.
pub(crate) static BOCHS: Tool = Tool::new(
    "bochs-bin",
    &["bochs", "bochs-term"],
    r#"export LTDL_LIBRARY_PATH="$libraries/bochs/plugins" BXSHARE="$root/usr/share/bochs"
run usr/bin/bochs-bin "$@""#,
    "--help",
);

/// The compiler of device trees.
pub(crate) static DTC: Tool = Tool::new(
    "dtc",
    &["device-tree-compiler"],
    r#"run usr/bin/dtc "$@""#,
    "--version",
);

/// Valgrind, as far as callgrind is concerned. That is linked statically, and the program that it watches
/// runs with the system's libraries.
pub(crate) static CALLGRIND: Tool = Tool::new(
    "valgrind",
    &["valgrind"],
    r#"export VALGRIND_LIB="$root/usr/libexec/valgrind" VALGRIND_LAUNCHER="$root/usr/bin/valgrind"
for callgrind in "$VALGRIND_LIB"/callgrind-*64-linux; do break; done
exec "$callgrind" --tool=callgrind "$@""#,
    "--version",
);

/// A compiler with the source of its library.
pub(crate) static RUSTC: Tool = Tool::new(
    "rustc",
    &["rustc-web", "rust-web-src"],
    r#"run usr/bin/rustc "$@""#,
    "--version",
);

/// A linker for bare-metal programs.
pub(crate) static LLD: Tool = Tool::new(
    "ld.lld",
    &["lld"],
    r#"run usr/bin/ld.lld "$@""#,
    "--version",
);

/// The packages of a browser and what drives it; a font, since there may be none; and a program that changes which
/// loader a program asks for.
const BROWSER: &[&str] = &[
    "chromium",
    "chromium-driver",
    "fonts-dejavu-core",
    "patchelf",
];

/// A browser. It starts itself again by the name that the kernel has for it, without the script: so the program itself
/// has to ask for the loader beside it. Libraries that name folders of the system find each other through the variable.
pub(crate) static CHROMIUM: Tool = Tool::new(
    "chromium",
    BROWSER,
    r#"program=$root/usr/lib/chromium/chromium
if [ "$(run usr/bin/patchelf --print-interpreter "$program")" != "$loader" ]; then
    (run usr/bin/patchelf --set-interpreter "$loader" "$program")
fi
export LD_LIBRARY_PATH="$libraries:$libraries/pulseaudio" FONTCONFIG_FILE="$root/fonts.conf"
echo "<fontconfig><dir>$root/usr/share/fonts</dir><cachedir>$root/var/cache/fontconfig</cachedir></fontconfig>" \
    > "$FONTCONFIG_FILE"
exec "$program" "$@""#,
    "--version",
);

/// What drives the browser.
pub(crate) static CHROMEDRIVER: Tool = Tool::new(
    "chromedriver",
    BROWSER,
    r#"run usr/bin/chromedriver "$@""#,
    "--version",
);

impl Tool {
    pub(super) const fn new(
        name: &'static str,
        packages: &'static [&'static str],
        start: &'static str,
        version: &'static str,
    ) -> Self {
        Self {
            name,
            packages,
            start,
            version,
            found: OnceLock::new(),
        }
    }
}

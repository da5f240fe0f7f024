//! Runs the tool on files that a test writes.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use dtoolkit::model::{DeviceTree, DeviceTreeNode, DeviceTreeProperty};

/// What the tool answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Answer {
    fn of(output: Output) -> Self {
        Self {
            status: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Standard output, of a run that succeeded.
    pub(crate) fn accepted(self) -> String {
        assert_eq!(
            (self.status, self.stderr.as_str()),
            (0, ""),
            "{}",
            self.stdout
        );
        self.stdout
    }

    /// The errors on standard error, of a run that refused its input: each in one line, however it was wrapped.
    pub(crate) fn refused(self) -> Vec<String> {
        assert_eq!(
            (self.status, self.stdout.as_str()),
            (1, ""),
            "{}",
            self.stderr
        );
        let long = self.stderr.lines().find(|line| line.chars().count() > 80);
        // A word without a space may be longer than a line.
        assert!(
            long.is_none_or(|line| !line.trim_start().contains(' ')),
            "{long:?}"
        );
        let joined = self.stderr.replace("\n    ", " ");
        joined.lines().map(String::from).collect()
    }

    /// JSON, of a run that succeeded.
    pub(crate) fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.accepted()).unwrap()
    }
}

pub(crate) fn guest_map(arguments: &[&str]) -> Answer {
    let mut command = Command::new(env!("CARGO_BIN_EXE_guest-map"));
    Answer::of(command.args(arguments).output().unwrap())
}

/// Runs the tool with `input` on its standard input.
pub(crate) fn guest_map_reading(arguments: &[&str], input: &[u8]) -> Answer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_guest-map"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Dropped at the end of the statement: the tool reads to the end.
    child.stdin.take().unwrap().write_all(input).unwrap();
    Answer::of(child.wait_with_output().unwrap())
}

/// A folder that goes away with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("guest-map-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// Where a file of this name is, or will be.
    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().into()
    }

    /// Writes a file and says where it is.
    pub(crate) fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> String {
        let path = self.0.join(name);
        fs::write(&path, contents).unwrap();
        path.to_str().unwrap().into()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A configuration with these `memory_regions` and this content of `[devices]`.
pub(crate) fn config(memory: &str, devices: &str) -> String {
    format!(
        "[base]\nid = 7\nname = \"guest\"\n[kernel]\nmemory_regions = [{memory}]\n[devices]\n{devices}\n"
    )
}

/// Runs a command on a configuration that is written to `vm.toml`.
pub(crate) fn run(command: &str, text: &str, options: &[&str]) -> Answer {
    let folder = Folder::new();
    let file = folder.file("vm.toml", text);
    guest_map(&[&[command, &file], options].concat())
}

pub(crate) fn plan_json(text: &str, options: &[&str]) -> serde_json::Value {
    run("plan", text, &[options, &["--format", "json"]].concat()).json()
}

pub(crate) fn example(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("examples")
        .join(name);
    path.to_str().unwrap().into()
}

/// A device-tree node with `reg` in two cells each for address and size.
pub(crate) fn device(name: &str, reg: &[(u64, u64)]) -> DeviceTreeNode {
    let node = DeviceTreeNode::new_unchecked(name);
    let numbers = reg.iter().flat_map(|&(address, size)| [address, size]);
    let bytes: Vec<u8> = numbers.flat_map(u64::to_be_bytes).collect();
    match bytes.is_empty() {
        true => node,
        false => with_property(node, "reg", &bytes),
    }
}

pub(crate) fn with_property(mut node: DeviceTreeNode, name: &str, value: &[u8]) -> DeviceTreeNode {
    node.add_property(DeviceTreeProperty::new_unchecked(name, value));
    node
}

pub(crate) fn with_text(node: DeviceTreeNode, name: &str, text: &str) -> DeviceTreeNode {
    with_property(node, name, &[text.as_bytes(), b"\0"].concat())
}

/// A bus whose children have the addresses of the CPU.
pub(crate) fn bus(name: &str, children: Vec<DeviceTreeNode>) -> DeviceTreeNode {
    let mut node = with_property(DeviceTreeNode::new_unchecked(name), "ranges", &[]);
    for cells in ["#address-cells", "#size-cells"] {
        node = with_property(node, cells, &2_u32.to_be_bytes());
    }
    for child in children {
        node.add_child(child);
    }
    node
}

/// A flattened tree with one RISC-V CPU and these nodes below the root.
pub(crate) fn riscv_tree(children: Vec<DeviceTreeNode>) -> Vec<u8> {
    let cpu = with_text(
        DeviceTreeNode::new_unchecked("cpu@0"),
        "compatible",
        "riscv",
    );
    let mut cpus = DeviceTreeNode::new_unchecked("cpus");
    cpus.add_child(cpu);
    let mut tree = DeviceTree::new();
    tree.root = bus("", children);
    tree.root.add_child(cpus);
    tree.to_dtb()
}

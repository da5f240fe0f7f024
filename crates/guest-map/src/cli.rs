//! The command line.

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use guest_addr::{GuestPhysAddr, HostPhysAddr, HostPhysRange};

use crate::architecture::Architecture;
use crate::capabilities::Capability;
use crate::decode::Given;
use crate::warning::{Code, Warning};

/// Plans, checks and prints the guest-physical memory map of a virtual machine.
#[derive(Debug, Parser)]
#[command(
    name = "guest-map",
    version,
    max_term_width = 80,
    disable_help_subcommand = true,
    after_help = "guest-map help lists topics: the configuration, device trees, warnings, ..."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print what a configuration maps, where it leads and what the page tables cost
    Plan {
        /// The configurations of virtual machines; a picture is of one
        #[arg(required = true, value_name = "CONFIG")]
        configs: Vec<String>,
        #[command(flatten)]
        options: Options,
        /// How to print the plan
        #[arg(long, value_enum, default_value_t = OutputFormat::Table)]
        format: OutputFormat,
        /// Also tell what passed-through devices need besides: reserved memory, IOMMUs, clocks,
        /// resets, an interrupt controller (table and json)
        #[arg(long)]
        explain_dependencies: bool,
    },
    /// Build the page tables of all configurations and compare them with the plans and each other
    Check {
        /// The configurations of virtual machines that run side by side
        #[arg(required = true, value_name = "CONFIG")]
        configs: Vec<String>,
        #[command(flatten)]
        options: Options,
        /// How to print the answer
        #[arg(long, value_enum, default_value_t = TextFormat::Text)]
        format: TextFormat,
    },
    /// Print where a guest-physical address leads, and the page-table entries on the way
    Translate {
        /// The configuration of a virtual machine; - is standard input
        config: String,
        /// The guest-physical address, such as 0x8000_0000
        #[arg(value_parser = parse_address)]
        gpa: GuestPhysAddr,
        #[command(flatten)]
        options: Options,
        /// How to print the answer
        #[arg(long, value_enum, default_value_t = TextFormat::Text)]
        format: TextFormat,
    },
    /// Explain an address: which entry of the configuration mapped it, and by which table entries
    Explain {
        /// The configuration of a virtual machine; - is standard input
        config: String,
        /// The guest-physical address, such as 0x8000_0000
        #[arg(value_parser = parse_address, required_unless_present = "host")]
        gpa: Option<GuestPhysAddr>,
        /// A host-physical address instead: which guest addresses lead to it
        #[arg(long, value_name = "HPA", value_parser = parse_host_address, conflicts_with = "gpa")]
        host: Option<HostPhysAddr>,
        #[command(flatten)]
        options: Options,
        /// How to print the answer
        #[arg(long, value_enum, default_value_t = TextFormat::Text)]
        format: TextFormat,
    },
    /// Print the operations that turn the map of one configuration into that of another
    Diff {
        /// The configuration before
        before: String,
        /// The configuration after
        after: String,
        #[command(flatten)]
        options: Options,
        /// How to print the answer
        #[arg(long, value_enum, default_value_t = TextFormat::Text)]
        format: TextFormat,
    },
    /// Print a commented configuration to begin with, for the board of a device tree
    Init {
        /// The host's device tree; - is standard input
        #[arg(long, value_name = "HOST.dtb")]
        dtb: String,
        /// How to print the answer
        #[arg(long, value_enum, default_value_t = TextFormat::Text)]
        format: TextFormat,
    },
    /// Take registers and table entries apart, field by field, and say what an exit was
    Decode {
        /// NAME=VALUE, such as esr_el2=0x93c28047: hgatp, scause with htval, stval and htinst;
        /// vtcr_el2, vttbr_el2, esr_el2 with hpfar_el2 and far_el2; eptp, qualification with gpa;
        /// ncr3, exitinfo1 and exitinfo2; entry, with --mode and --level
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = Given::parse)]
        registers: Vec<Given>,
        /// The level of an entry, as its architecture numbers them
        #[arg(long)]
        level: Option<u8>,
        /// A configuration: explain what it has at the address of the exit
        #[arg(long)]
        config: Option<String>,
        #[command(flatten)]
        options: Options,
        /// How to print the answer
        #[arg(long, value_enum, default_value_t = TextFormat::Text)]
        format: TextFormat,
    },
    /// Print the page tables: their leaves in runs, with levels and attributes
    Dump {
        /// The configuration of a virtual machine; - is standard input
        config: String,
        #[command(flatten)]
        options: Options,
        /// How to print the answer
        #[arg(long, value_enum, default_value_t = TextFormat::Text)]
        format: TextFormat,
    },
    /// Print the completions of a shell, to be put where it looks for them
    Completions { shell: Shell },
    /// Print the manual page, for troff: guest-map man | man -l -
    Man {
        /// Of this subcommand
        command: Option<String>,
    },
    /// Print help on a subcommand or a topic, or list the topics
    Help {
        /// A subcommand or a topic
        subject: Option<String>,
    },
}

/// What all commands understand.
#[derive(Args, Clone, Debug)]
pub(crate) struct Options {
    /// The host's device tree, which paths in configurations refer to; - is standard input
    #[arg(long, value_name = "HOST.dtb")]
    pub(crate) dtb: Option<String>,
    /// The architecture; without it, that of the CPUs in the device tree
    #[arg(long, value_enum)]
    pub(crate) arch: Option<Architecture>,
    /// The mode of the tables: sv39x4, sv48x4, sv57x4, ipa32 to ipa48, ept4, ept5, npt4 or npt5;
    /// auto is the smallest usual one that holds all mappings
    #[arg(long, default_value = "auto")]
    pub(crate) mode: String,
    /// What the processors have and what not, such as svpbmt, no-execute-only or pa-bits=36
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = Capability::parse)]
    pub(crate) capabilities: Vec<Capability>,
    /// Memory of the hypervisor, which no machine may reach; may be given several times
    #[arg(long, value_name = "BASE:SIZE", value_parser = parse_host_range)]
    pub(crate) hypervisor: Vec<HostPhysRange>,
    /// Refuse what would be a warning
    #[arg(long)]
    pub(crate) strict: bool,
    /// Accept a warning: it is not printed for people, and --strict does not refuse it
    #[arg(long, value_name = "WARNING", value_delimiter = ',', value_parser = Code::parse)]
    pub(crate) allow: Vec<Code>,
    /// How many warnings of one kind to print for people
    #[arg(long, value_enum, default_value_t = Listing::Some)]
    pub(crate) warnings: Listing,
}

/// Which warnings of one kind are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Listing {
    /// Up to three, or the first and how many there are
    Some,
    /// Every one
    All,
}

impl Options {
    /// Whether `--allow` names the kind of the warning.
    pub(crate) fn allows(&self, warning: &Warning) -> bool {
        self.allow.contains(&warning.code)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OutputFormat {
    /// For people
    Table,
    /// For programs
    Json,
    /// A picture
    Svg,
    /// A page with the picture, to zoom and to search
    Html,
}

/// How to print what is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TextFormat {
    /// For people
    #[value(alias = "table")]
    Text,
    /// For programs
    Json,
}

fn parse_address(text: &str) -> Result<GuestPhysAddr, String> {
    let number = parse_number(text).map(GuestPhysAddr::new);
    number.ok_or_else(|| match parse_number(&format!("0x{text}")) {
        Some(meant) => format!("not an address: was {meant:#x} meant?"),
        None => "not an address: write it like 0x8000_0000".into(),
    })
}

fn parse_host_address(text: &str) -> Result<HostPhysAddr, String> {
    parse_address(text).map(|address| HostPhysAddr::new(address.as_u64()))
}

fn parse_host_range(text: &str) -> Result<HostPhysRange, String> {
    let (base, size) = text
        .split_once(':')
        .ok_or("write base and size like 0x8000_0000:0x20_0000")?;
    let numbers = parse_number(base).zip(parse_number(size));
    let (base, size) = numbers.ok_or("base or size is no number: write it like 0x8000_0000")?;
    HostPhysRange::from_start_size(HostPhysAddr::new(base), size)
        .map_err(|_| "the size is 0, or the range runs past 2^64".into())
}

/// A decimal number, or a hexadecimal one that begins with `0x`; both may have underscores.
pub(crate) fn parse_number(text: &str) -> Option<u64> {
    let digits = text.replace('_', "");
    let hexadecimal = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    match hexadecimal {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16).ok(),
        None => digits.parse().ok(),
    }
}

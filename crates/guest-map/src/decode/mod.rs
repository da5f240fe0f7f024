//! Registers, table entries and the syndromes of exits, field by field.
//!
//! The layouts are those of the manuals and no code of the formats that the tool plans for: what a format
//! gets wrong shows here. What hardware makes of it all, `reference-mmu` says.

mod aarch64;
mod fault;
mod given;
mod register;
mod riscv;
mod text;
mod verdict;
mod x86_64;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::explain::Explanation;

pub(crate) use fault::Fault;
pub(crate) use given::{Given, Name, Tables};
pub(crate) use register::Register;

/// Everything that was given, decoded.
#[derive(Debug, Serialize)]
pub(crate) struct Decoded<'p, 'a> {
    /// What the registers of an exit say together.
    pub(crate) faults: Vec<Fault>,
    pub(crate) registers: Vec<Register>,
    /// What hardware makes of registers and entries.
    pub(crate) verdicts: Vec<Verdict>,
    /// What a configuration has at the address of the exit, if one was given.
    pub(crate) explanation: Option<Explanation<'p, 'a>>,
}

impl Decoded<'_, '_> {
    /// The guest address of the exit.
    pub(crate) fn address(&self) -> Option<u64> {
        let mut faults = self.faults.iter();
        faults.find_map(|fault| Some(fault.gpa?.0))
    }
}

/// What hardware makes of a register or an entry.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) about: &'static str,
    pub(crate) text: String,
}

/// Decodes the registers. An entry is one of `tables` and `level`.
///
/// # Errors
///
/// An entry whose tables or level are not known, or do not fit together; a register that is given twice.
pub(crate) fn decode<'p, 'a>(
    given: &[Given],
    tables: Option<Tables>,
    level: Option<u8>,
) -> Result<Decoded<'p, 'a>, String> {
    for (position, one) in given.iter().enumerate() {
        if given
            .iter()
            .skip(position + 1)
            .any(|other| other.name == one.name)
        {
            return Err(format!("{} is given twice", one.name.as_str()));
        }
    }
    let has_entry = value_of(given, Name::Entry).is_some();
    let place = match has_entry {
        true => Some(place_of_entry(tables, level)?),
        false if level.is_some() => return Err("--level is for entry=VALUE".into()),
        false => None,
    };
    let registers = given.iter().map(|given| decode_one(given, place));
    Ok(Decoded {
        faults: faults(given),
        registers: registers.collect(),
        verdicts: verdicts(given, place),
        explanation: None,
    })
}

fn value_of(given: &[Given], name: Name) -> Option<u64> {
    let mut found = given.iter().filter(|given| given.name == name);
    found.next().map(|given| given.value)
}

fn place_of_entry(tables: Option<Tables>, level: Option<u8>) -> Result<(Tables, u8), String> {
    let tables = tables.ok_or(
        "an entry is read by its tables: give --mode sv39x4, sv48x4, sv57x4, ipa40, ept4, ept5, \
         npt4 or npt5, and --level",
    )?;
    let levels = tables.levels();
    let (first, last) = (levels.start(), levels.end());
    match level {
        Some(level) if levels.contains(&level) => Ok((tables, level)),
        Some(level) => Err(format!(
            "there is no level {level}: these tables have {first} to {last}"
        )),
        None => Err(format!(
            "give --level {first} to {last}: {} is that of pages of 4 KiB",
            tables.page_level()
        )),
    }
}

fn decode_one(given: &Given, place: Option<(Tables, u8)>) -> Register {
    let value = given.value;
    match given.name {
        Name::Hgatp => riscv::hgatp(value),
        Name::Scause => riscv::scause(value),
        Name::Htval => riscv::htval(value),
        Name::Stval => riscv::stval(value),
        Name::Htinst => riscv::htinst(value),
        Name::VtcrEl2 => aarch64::vtcr(value),
        Name::VttbrEl2 => aarch64::vttbr(value),
        Name::EsrEl2 => aarch64::esr(value),
        Name::HpfarEl2 => aarch64::hpfar(value),
        Name::FarEl2 => aarch64::far(value),
        Name::Eptp => x86_64::eptp(value),
        Name::Qualification => x86_64::qualification(value),
        Name::Gpa => x86_64::guest_address(value),
        Name::Ncr3 => x86_64::ncr3(value),
        Name::Exitinfo1 => x86_64::exitinfo1(value),
        Name::Exitinfo2 => x86_64::exitinfo2(value),
        Name::Entry => match place {
            Some((Tables::Riscv { .. }, level)) => riscv::entry(value, level),
            Some((Tables::Ept { .. }, level)) => x86_64::ept_entry(value, level),
            Some((Tables::Nested { .. }, level)) => x86_64::nested_entry(value, level),
            Some((Tables::Aarch64, level)) => aarch64::entry(value, level),
            // An entry without a place was refused.
            None => Register::new("entry", value, ""),
        },
    }
}

fn faults(given: &[Given]) -> Vec<Fault> {
    let get = |name| value_of(given, name);
    let riscv = get(Name::Scause).map(|scause| {
        let [htval, stval, htinst] = [Name::Htval, Name::Stval, Name::Htinst].map(get);
        riscv::fault(scause, htval, stval, htinst)
    });
    let aarch64 =
        get(Name::EsrEl2).map(|esr| aarch64::fault(esr, get(Name::HpfarEl2), get(Name::FarEl2)));
    let intel = get(Name::Qualification)
        .map(|qualification| x86_64::violation(qualification, get(Name::Gpa)));
    let amd =
        get(Name::Exitinfo1).map(|exitinfo1| x86_64::nested_fault(exitinfo1, get(Name::Exitinfo2)));
    [riscv, aarch64, intel, amd].into_iter().flatten().collect()
}

fn verdicts(given: &[Given], place: Option<(Tables, u8)>) -> Vec<Verdict> {
    let get = |name| value_of(given, name);
    let refusal = |about, reason: Option<String>| Verdict {
        about,
        text: reason.unwrap_or_else(|| "accepted".into()),
    };
    let mut verdicts = Vec::new();
    if let Some(hgatp) = get(Name::Hgatp) {
        verdicts.push(refusal("hgatp", verdict::hgatp(hgatp)));
    }
    if let Some(vtcr) = get(Name::VtcrEl2) {
        let vttbr = get(Name::VttbrEl2);
        let about = match vttbr {
            Some(_) => "VTCR_EL2 with VTTBR_EL2",
            None => "VTCR_EL2",
        };
        verdicts.push(refusal(about, verdict::stage2(vtcr, vttbr)));
    }
    if let Some(eptp) = get(Name::Eptp) {
        verdicts.push(refusal("EPTP", verdict::eptp(eptp)));
    }
    if let Some(ncr3) = get(Name::Ncr3) {
        verdicts.push(refusal("nCR3", verdict::ncr3(ncr3)));
    }
    let entry = place.zip(get(Name::Entry));
    let entry = entry.and_then(|((tables, level), value)| verdict::entry(tables, level, value));
    verdicts.extend(entry.map(|text| Verdict {
        about: "the entry",
        text,
    }));
    verdicts
}

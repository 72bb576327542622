//! How: a program with a search by number instead of a comparison for every
//! call. It is made much faster than libseccomp's, and it is short, so that the
//! kernel, which tries every call once when it loads a filter, loads it faster,
//! too. Tests hold it to what libseccomp's answers.
//!
//! Where a call has several rules that could hold together and say different
//! things, which of them wins is libseccomp's to decide: then its program for
//! this call is a part of the whole.

use super::architecture::{self, audit_number};
use super::assembler::{Assembler, Label};
use super::calls::{self, X32};
use super::plan::{Action, Condition, Operator, Profile};
use super::program::{ARCHITECTURE, ARGUMENTS, NUMBER, Program, Test};
use crate::weaken::{Defence, lacks};
use oci_spec::runtime::Arch;

/// What is answered to calls of architectures that the profile has not; the
/// same as libseccomp's.
fn foreign() -> Action {
    match lacks(Defence::Interfaces) {
        true => Action::Allow,
        false => Action::KillThread,
    }
}

/// Under these conditions, this happens.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Case {
    conditions: Vec<Condition>,
    action: Action,
}

/// What happens to some call.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Always(Action),
    /// The first case whose conditions hold, else the default.
    Depends(Vec<Case>),
    /// What libseccomp makes of the rules for these names.
    Contradictory(Arch, Vec<String>),
}

/// Calls from this number on, up to the next range.
#[derive(Debug)]
struct Range {
    first: u32,
    outcome: Outcome,
    /// Their arguments have 64 bits.
    wide: bool,
}

/// The ranges of all numbers that calls of one audit number have, in order.
#[derive(Debug, Default)]
struct Table(Vec<Range>);

/// The program; `None` if that has to be libseccomp's altogether. `decide` asks
/// libseccomp for the program of a smaller profile.
pub fn generate(
    profile: &Profile,
    decide: impl Fn(&Profile) -> Option<Program>,
) -> Option<Program> {
    let mut tables: Vec<(u32, Table)> = Vec::new();
    for arch in &profile.architectures {
        let number = audit_number(*arch);
        if tables.iter().all(|(other, _)| *other != number) {
            tables.push((number, Table::default()));
        }
    }
    let mut architectures = profile.architectures.clone();
    // x86_64 and x32 have an audit number in common, and each a half of the calls.
    architectures.sort_by_key(|arch| calls::first(*arch));
    for arch in architectures {
        let number = audit_number(arch);
        let (_, table) = tables.iter_mut().find(|(other, _)| *other == number)?;
        table.extend(profile, arch)?;
    }
    let mut writer = Writer { profile, decide, code: Assembler::default() };
    let mut next = writer.code.answer(foreign().value());
    for (number, Table(ranges)) in tables.iter().rev() {
        let found = writer.search(ranges)?;
        let section = writer.code.load(NUMBER, found);
        next = writer.code.jump(Test::Equal, *number, section, next);
    }
    writer.code.load(ARCHITECTURE, next);
    writer.code.finish()
}

impl Table {
    /// Appends all calls of an architecture. `None` if only libseccomp knows them.
    fn extend(&mut self, profile: &Profile, arch: Arch) -> Option<()> {
        let wide = architecture::is_wide(arch);
        let default = Outcome::Always(profile.default);
        if self.0.is_empty() {
            self.push(0, Outcome::Always(foreign()), wide);
        }
        self.push(calls::first(arch), default.clone(), wide);
        let end = calls::end(arch);
        let (common, private): (Vec<_>, Vec<_>) =
            cases(profile, arch)?.into_iter().partition(|(number, _)| *number < end);
        let newest = calls::highest(profile, arch).filter(|_| profile.newer_unknown);
        let newer = newest.map(|highest| (highest + 1, Outcome::Always(Profile::NEWER)));
        let beyond = match arch {
            // Calls of x32 begin there.
            Arch::ScmpArchX86_64 => Some((X32, Outcome::Always(foreign()))),
            _ if end < u32::MAX => Some((end, default.clone())),
            _ => None,
        };
        self.push_calls(common, &default, wide);
        for (first, outcome) in newer.into_iter().chain(beyond) {
            self.push(first, outcome, wide);
        }
        self.push_calls(private, &default, wide);
        Some(())
    }

    fn push_calls(&mut self, calls: Vec<(u32, Outcome)>, default: &Outcome, wide: bool) {
        for (number, outcome) in calls {
            self.push(number, outcome, wide);
            self.push(number + 1, default.clone(), wide);
        }
    }

    fn push(&mut self, first: u32, outcome: Outcome, wide: bool) {
        self.0.pop_if(|last| last.first == first);
        if self.0.last().is_none_or(|last| last.outcome != outcome || last.wide != wide) {
            self.0.push(Range { first, outcome, wide });
        }
    }
}

/// All calls with rules, by number.
fn cases(profile: &Profile, arch: Arch) -> Option<Vec<(u32, Outcome)>> {
    let mut found: Vec<(u32, &str, Case)> = Vec::new();
    for rule in profile.rules.iter().filter(|rule| rule.action != profile.default) {
        for name in &rule.names {
            for (number, selector) in calls::numbers(name, arch)? {
                let mut conditions = rule.conditions.clone();
                if let Some(selector) = selector {
                    // What the first argument was is behind a pointer now.
                    conditions.retain(|condition| condition.argument != 0);
                    conditions.push(selector);
                }
                if !architecture::is_wide(arch) {
                    conditions.iter_mut().for_each(Condition::narrow);
                }
                found.push((number, name, Case { conditions, action: rule.action }));
            }
        }
    }
    found.sort_by_key(|(number, ..)| *number);
    let same = found.chunk_by(|(number, ..), (other, ..)| number == other);
    Some(same.map(|calls| (calls[0].0, outcome(calls, arch))).collect())
}

/// What all rules for one call come to. A rule without conditions wins, the
/// first of several.
fn outcome(calls: &[(u32, &str, Case)], arch: Arch) -> Outcome {
    let mut kept: Vec<Case> = Vec::new();
    for (.., case) in calls {
        if case.conditions.is_empty() {
            return Outcome::Always(case.action);
        }
        if !kept.contains(case) {
            kept.push(case.clone());
        }
    }
    let contradict =
        |one: &Case| kept.iter().any(|two| one.action != two.action && !one.excludes(two));
    if kept.iter().any(contradict) {
        let names = calls.iter().map(|(_, name, _)| (*name).to_owned());
        return Outcome::Contradictory(arch, names.collect());
    }
    Outcome::Depends(kept)
}

impl Case {
    /// Whether the two never hold together.
    fn excludes(&self, other: &Case) -> bool {
        self.conditions.iter().any(|one| {
            let same = other.conditions.iter().filter(|two| two.argument == one.argument);
            same.into_iter().any(|two| one.excludes(two) || two.excludes(one))
        })
    }
}

impl Condition {
    /// Whether this one demands a number that `other` does not take.
    fn excludes(&self, other: &Condition) -> bool {
        self.operator == Operator::Equal && !other.holds(self.value)
    }

    fn holds(&self, argument: u64) -> bool {
        match self.operator {
            Operator::NotEqual => argument != self.value,
            Operator::Less => argument < self.value,
            Operator::LessOrEqual => argument <= self.value,
            Operator::Equal => argument == self.value,
            Operator::GreaterOrEqual => argument >= self.value,
            Operator::Greater => argument > self.value,
            Operator::MaskedEqual(mask) => argument & mask == self.value,
        }
    }

    /// To 32 bits.
    fn narrow(&mut self) {
        let low = u64::from(u32::MAX);
        self.value &= low;
        if let Operator::MaskedEqual(mask) = &mut self.operator {
            *mask &= low;
        }
    }
}

/// Writes the program.
struct Writer<'p, D> {
    profile: &'p Profile,
    decide: D,
    code: Assembler,
}

impl<D: Fn(&Profile) -> Option<Program>> Writer<'_, D> {
    /// Looks for the range of the loaded number.
    fn search(&mut self, ranges: &[Range]) -> Option<Label> {
        match ranges {
            [range] => match &range.outcome {
                Outcome::Always(action) => Some(self.code.answer(action.value())),
                Outcome::Depends(cases) => Some(self.depends(cases, range.wide)),
                Outcome::Contradictory(arch, names) => self.decided(*arch, names),
            },
            _ => {
                let (low, high) = ranges.split_at(ranges.len() / 2);
                let above = self.search(high)?;
                let below = self.search(low)?;
                let first = high.first()?.first;
                Some(self.code.jump(Test::GreaterOrEqual, first, above, below))
            }
        }
    }

    /// Looks for the case whose conditions hold.
    fn depends(&mut self, cases: &[Case], wide: bool) -> Label {
        let mut next = self.code.answer(self.profile.default.value());
        for case in cases.iter().rev() {
            let mut held = self.code.answer(case.action.value());
            for condition in case.conditions.iter().rev() {
                held = compare(&mut self.code, condition, wide, held, next);
            }
            next = held;
        }
        next
    }

    /// Leaves it to libseccomp.
    fn decided(&mut self, arch: Arch, names: &[String]) -> Option<Label> {
        let mut rules = self.profile.rules.clone();
        // A call that shares a number meets the rules of that one, too.
        let shared = calls::shared_names(arch);
        let belongs = |name: &String| names.contains(name) || shared.contains(&name.as_str());
        rules.iter_mut().for_each(|rule| rule.names.retain(belongs));
        let part = Profile { architectures: vec![arch], rules, ..*self.profile };
        let program = (self.decide)(&part)?;
        Some(self.code.include(&program))
    }
}

/// Compares an argument with a number, 32 bits at a time.
fn compare(
    code: &mut Assembler,
    condition: &Condition,
    wide: bool,
    held: Label,
    failed: Label,
) -> Label {
    let (value, argument) = (condition.value, ARGUMENTS + 8 * condition.argument);
    let little = cfg!(target_endian = "little");
    let (low, high) = if little { (argument, argument + 4) } else { (argument + 4, argument) };
    let (low_value, high_value) = (value as u32, (value >> 32) as u32);
    let ordered = |code: &mut Assembler, test, held, failed| {
        let last = code.jump(test, low_value, held, failed);
        let last = code.load(low, last);
        if !wide {
            return last;
        }
        let equal = code.jump(Test::Equal, high_value, last, failed);
        let greater = code.jump(Test::Greater, high_value, held, equal);
        code.load(high, greater)
    };
    let equal = |code: &mut Assembler, mask: u64, held, failed| {
        let last = code.jump(Test::Equal, low_value, held, failed);
        let last = code.mask(mask as u32, last);
        let last = code.load(low, last);
        if !wide {
            return last;
        }
        let first = code.jump(Test::Equal, high_value, last, failed);
        let first = code.mask((mask >> 32) as u32, first);
        code.load(high, first)
    };
    match condition.operator {
        Operator::Equal => equal(code, u64::MAX, held, failed),
        Operator::NotEqual => equal(code, u64::MAX, failed, held),
        Operator::MaskedEqual(mask) => equal(code, mask, held, failed),
        Operator::GreaterOrEqual => ordered(code, Test::GreaterOrEqual, held, failed),
        Operator::Less => ordered(code, Test::GreaterOrEqual, failed, held),
        Operator::Greater => ordered(code, Test::Greater, held, failed),
        Operator::LessOrEqual => ordered(code, Test::Greater, failed, held),
    }
}

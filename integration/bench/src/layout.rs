//! Which functions a container's life needs, as a script for the linker that puts them next to each
//! other.
//!
//! A program's pages are mapped when they are first touched, sixteen at a time. Functions that are
//! used are one in eight; as the compiler leaves them they touch every part of the binary, once in
//! hako and once more in its clone.

use crate::Result;
use crate::fixture::Fixture;
use crate::subject::{FILTERED, LIMITED, Subject};
use std::collections::{BTreeMap, HashSet};
use std::path::Path;

const HEAD: &str = "/* The functions that commands execute, in the order in which `run` does, its init first: so few
   pages are mapped. `make layout` writes this file. What it names and is not there any more is
   ignored, and what it does not name comes behind it. */
SECTIONS {
  .text.used : {
";
const TAIL: &str = "  }
} INSERT BEFORE .text;
";

/// The script for a binary of which the linker has written this map.
pub fn script(fixture: &Fixture, hako: &Path, map: &Path) -> Result<String> {
    let sections = Sections::parse(&std::fs::read_to_string(map)?);
    // Most used first: what an engine asks for besides comes behind what every container needs.
    let (mut run, mut more) = (Order::default(), Order::default());
    let mut subject = Subject::runtime(fixture, "hako", hako)?;
    subject.step("run", &mut |clone, at| run.add(clone, at))?;
    subject.step_lifecycle(&mut |clone, at| more.add(clone, at))?;
    for variant in [LIMITED, FILTERED] {
        let mut subject = Subject::variant(fixture, variant, hako)?;
        // A filter is compiled once.
        subject.run()?;
        subject.step("run", &mut |clone, at| more.add(clone, at))?;
    }
    let mut known = HashSet::new();
    let patterns = run.all().chain(more.all()).filter_map(|at| sections.pattern_at(at));
    let lines = patterns.filter(|pattern| known.insert(*pattern));
    let body: String = lines.map(|pattern| format!("    {pattern}\n")).collect();
    Ok([HEAD, &body, TAIL].concat())
}

/// Addresses in the order in which they were executed first.
#[derive(Default)]
struct Order {
    by_clones: Vec<u64>,
    by_hako: Vec<u64>,
    known: HashSet<(bool, u64)>,
}

impl Order {
    fn add(&mut self, by_clone: bool, at: u64) {
        if self.known.insert((by_clone, at)) {
            if by_clone { &mut self.by_clones } else { &mut self.by_hako }.push(at);
        }
    }

    fn all(&self) -> impl Iterator<Item = u64> {
        self.by_clones.iter().chain(&self.by_hako).copied()
    }
}

/// What the linker has put where: beginnings, with ends and the patterns that fit what is there.
struct Sections(BTreeMap<u64, (u64, String)>);

impl Sections {
    /// Lines of sections are `ADDRESS ADDRESS SIZE ALIGNMENT FILE:(SECTION)`.
    fn parse(map: &str) -> Self {
        let section = |line: &str| {
            let mut words = line.split_whitespace();
            let at = u64::from_str_radix(words.next()?, 16).ok()?;
            let size = u64::from_str_radix(words.nth(1)?, 16).ok()?;
            let (file, section) = words.nth(1)?.strip_suffix(')')?.rsplit_once(":(")?;
            let pattern = pattern(file, section).filter(|_| size > 0)?;
            Some((at, (at + size, pattern)))
        };
        Self(map.lines().filter_map(section).collect())
    }

    fn pattern_at(&self, address: u64) -> Option<&str> {
        let (_, (end, pattern)) = self.0.range(..=address).next_back()?;
        (address < *end).then_some(pattern)
    }
}

/// What finds a section again, whatever the compiler's hash of it is then. `None` for what has no
/// name of its own.
fn pattern(file: &str, section: &str) -> Option<String> {
    if !section.starts_with(".text") {
        return None;
    }
    if let Some((archive, member)) = file.strip_suffix(')').and_then(|file| file.rsplit_once('(')) {
        let archive = archive.rsplit('/').next()?;
        return Some(format!("*{archive}:{member}({section})"));
    }
    const HASH: &str = "17h";
    let function = section.strip_prefix(".text.")?;
    let name = function.rfind(HASH).map_or(function, |at| &function[..at + HASH.len()]);
    Some(format!("*(.text.{name}{})", if name == function { "" } else { "*" }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_found_by_what_is_in_them() {
        let map = "     VMA      LMA     Size Align Out     In      Symbol
  2ae8c0   2ae8c0   2d8230    64 .text
  2ae8c0   2ae8c0       20    16         /lib/crt1.o:(.text)
  2ae8e0   2ae8e0       10    16         /a/hako.rcgu.o:(.text._ZN4hako4init3run17h4be9b0d4b9bb1fb0E)
  2ae8e0   2ae8e0        0     1                 hako::init::run::h4be9b0d4b9bb1fb0
  2ae8f0   2ae8f0       10    16         /lib/libc.a(malloc.o):(.text)
  2ae900   2ae900       10    16         /a/hako.rcgu.o:(.text.hako_start)
  2ae910   2ae910       10    16         /a/hako.rcgu.o:(.rodata.x)
";
        let sections = Sections::parse(map);
        let expected = [
            (0x2ae8c0, None),
            (0x2ae8e5, Some("*(.text._ZN4hako4init3run17h*)")),
            (0x2ae8f0, Some("*libc.a:malloc.o(.text)")),
            (0x2ae90f, Some("*(.text.hako_start)")),
            (0x2ae910, None),
            (0x400000, None),
        ];
        for (address, pattern) in expected {
            assert_eq!(sections.pattern_at(address), pattern, "{address:x}");
        }
    }

    #[test]
    fn clones_come_first_and_everybody_in_order() {
        let mut order = Order::default();
        for (by_clone, at) in [(false, 3), (true, 9), (false, 1), (true, 3), (false, 3)] {
            order.add(by_clone, at);
        }
        assert_eq!(order.all().collect::<Vec<_>>(), [9, 3, 3, 1]);
    }
}

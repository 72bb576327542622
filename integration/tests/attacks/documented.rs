//! What is said about the attacks, and about the switch that lets them succeed.

use super::ATTACKS;
use hako_integration::{Runtime, each};
use std::fs;
use std::process::Command;

const SECURITY: &str = include_str!("../../../docs/security.md");

/// Every `theme::test` in the document, also several in one pair of backticks.
fn named() -> Vec<&'static str> {
    let words = SECURITY.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    words
        .filter(|word| word.contains("::") && word.starts_with(|c: char| c.is_ascii_lowercase()))
        .collect()
}

#[test]
fn every_test_that_is_named_exists() {
    let list = Command::new(std::env::current_exe().unwrap()).arg("--list").output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let tests: Vec<&str> = list.lines().filter_map(|line| line.strip_suffix(": test")).collect();
    let named = named();
    assert!(named.len() > 50 && tests.len() > 300, "{} of {}", named.len(), tests.len());
    each(named, |name| assert!(tests.contains(name), "there is no such test"));
}

#[test]
fn every_attack_is_explained() {
    let named = named();
    each(ATTACKS, |attack| assert!(named.contains(&&*format!("attacks::{}", attack.name))));
}

/// A build with debugging symbols is a debug build: in it the word is found, so
/// the search is right.
#[test]
fn a_release_build_can_neither_be_weakened_nor_asked_for_faults() {
    let binary = fs::read(Runtime::new().program()).unwrap();
    let contains = |word: &[u8]| binary.windows(word.len()).any(|window| window == word);
    assert_eq!(contains(b"HAKO_WEAKEN"), contains(b"\0.debug_info\0"));
    assert_eq!(contains(b"HAKO_FAULT"), contains(b"\0.debug_info\0"));
}

//! Tables: many cases in one test, each reported by its name.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Checks every row, also after one has failed, and then fails with the list
/// of the rows that did.
pub fn each<R: Debug>(rows: impl IntoIterator<Item = R>, mut check: impl FnMut(&R)) {
    let mut failures = Vec::new();
    for row in rows {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(&row))) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            failures.push(format!("{row:?}: {}", text.unwrap_or_default()));
        }
    }
    assert!(failures.is_empty(), "{} rows failed:\n{}", failures.len(), failures.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic(expected = "2 rows failed:\n\"b\": boom b\n\"d\": boom d")]
    fn every_row_is_checked_and_failures_are_named() {
        each(["a", "b", "c", "d"], |row| assert!(["a", "c"].contains(row), "boom {row}"));
    }

    #[test]
    fn rows_that_pass_are_quiet() {
        each([1, 2], |_| {});
    }
}

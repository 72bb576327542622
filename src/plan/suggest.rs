//! "Did you mean": the closest of a list of words.

/// The word of `known` that a person most likely meant by `typed`, if any is
/// close: at most a third of its letters wrong.
pub fn closest<'a>(typed: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .filter(|word| typed.len().abs_diff(word.len()) * 3 <= word.len())
        .map(|word| (distance(typed, word), *word))
        .filter(|(distance, word)| typed != *word && distance * 3 <= word.len())
        .min()
        .map(|(_, word)| word)
}

/// Optimal string alignment distance, ignoring case: insertions, deletions,
/// replacements and exchanges of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().collect();
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let best = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { best.min(rows[i - 2][j - 2] + 1) } else { best }
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_words_are_suggested_and_far_ones_not() {
        let known = ["mounts", "hooks", "linux", "readonlyPaths"];
        assert_eq!(closest("mounst", &known), Some("mounts"));
        assert_eq!(closest("Mounts", &known), Some("mounts"));
        assert_eq!(closest("readOnlyPath", &known), Some("readonlyPaths"));
        assert_eq!(closest("windows", &known), None);
    }
}

//! Names that are near to one that wasn't found.

/// At most this many are suggested.
const SUGGESTIONS_MAX: usize = 3;
/// Longer names are compared by their first characters only.
const COMPARED_MAX: usize = 64;

/// The nearest of `known`, best first: those that begin with `name`, and those
/// that differ from it in at most a third of its characters, at least one.
pub fn matches<'a>(name: &str, known: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let allowed = (name.chars().count() / 3).max(1);
    let mut near: Vec<(usize, &str)> = known
        .filter_map(|other| {
            let distance = if !name.is_empty() && other.starts_with(name) {
                0
            } else {
                edits(name, other)
            };
            (distance <= allowed).then_some((distance, other.as_str()))
        })
        .collect();
    near.sort_unstable();
    near.truncate(SUGGESTIONS_MAX);
    near.into_iter().map(|(_, name)| name).collect()
}

/// Levenshtein's distance: insertions, deletions and substitutions.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().take(COMPARED_MAX).collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.chars().take(COMPARED_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn typos_and_beginnings_are_found_and_strangers_are_not() {
        let known: Vec<String> = ["checkout", "checkout-eu", "billing", "workers"]
            .map(String::from)
            .to_vec();
        assert_eq!(matches("chekout", known.iter()), ["checkout"]);
        assert_eq!(matches("check", known.iter()), ["checkout", "checkout-eu"]);
        assert_eq!(matches("worker", known.iter()), ["workers"]);
        assert!(matches("search", known.iter()).is_empty());
        assert!(matches("", known.iter()).is_empty());
    }

    #[test]
    fn the_distance_counts_single_edits() {
        for (a, b, edits_wanted) in [
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("ä", "a", 1),
            ("x", "x", 0),
        ] {
            assert_eq!(edits(a, b), edits_wanted, "{a} {b}");
        }
    }
}

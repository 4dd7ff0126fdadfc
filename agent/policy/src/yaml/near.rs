//! Which known word a misspelt one was probably meant to be.
//!
//! Comes in: a word and the words that are known. Goes out: the nearest of them,
//! where one is near enough to be a slip of the pen.

/// Longer words than this are no slip of a shorter one; comparing them would cost
/// the product of both lengths.
const BYTES_MAX: usize = 64;

/// The known word that needs the fewest changes of a letter (a wrong, a missing, a
/// superfluous one, two that changed places), at most one in three; case counts for
/// nothing. The first of several that are equally near.
pub(crate) fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.len() > BYTES_MAX {
        return None;
    }
    let near = known.iter().filter_map(|candidate| {
        let changes = distance(word, candidate);
        let allowed = candidate.chars().count().min(word.chars().count()) / 3;
        (changes <= allowed.max(1) && changes < word.chars().count())
            .then_some((changes, *candidate))
    });
    // Of equals the first one: `min_by_key` keeps it.
    near.min_by_key(|(changes, _)| *changes)
        .map(|(_, candidate)| candidate)
}

/// Damerau's and Levenshtein's distance, with neighbours that changed places
/// counted once.
fn distance(a: &str, b: &str) -> usize {
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<char>>();
    let (a, b) = (lower(a), lower(b));
    // Rows for the last two letters of `a` and the present one.
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.iter().enumerate() {
        let mut now = vec![i + 1; b.len() + 1];
        for (j, to) in b.iter().enumerate() {
            let swap = i > 0 && j > 0 && *from == b[j - 1] && a[i - 1] == *to;
            now[j + 1] = (last[j] + usize::from(from != to))
                .min(last[j + 1] + 1)
                .min(now[j] + 1);
            if swap {
                now[j + 1] = now[j + 1].min(before[j - 1] + 1);
            }
        }
        before = std::mem::replace(&mut last, now);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_pen_finds_its_word_and_another_word_finds_none() {
        let known = ["minReplicaCount", "maxReplicaCount", "triggers", "cpu"];
        for (slip, meant) in [
            ("minReplicaCuont", Some("minReplicaCount")),
            ("minreplicacount", Some("minReplicaCount")),
            ("maxReplicaCounts", Some("maxReplicaCount")),
            ("trigger", Some("triggers")),
            ("cpus", Some("cpu")),
            ("advanced", None),
            ("c", None),
            ("", None),
        ] {
            assert_eq!(nearest(slip, &known), meant, "{slip}");
        }
        assert_eq!(nearest(&"x".repeat(100_000), &known), None);
    }
}

//! Words in messages: what a misspelt key most likely meant, and values cut to a readable length.

/// Most characters of a value that a message repeats.
const QUOTE_LIMIT_CHARS: usize = 60;

/// A value as a message repeats it: quoted, and cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", cut(text))
}

/// The start of a text that may be long.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(QUOTE_LIMIT_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// The candidate a misspelt word most likely meant: at most a third of its letters (and at least one) are wrong, and of
/// a short one not the first (`gpu` does not mean `cpu`).
pub(crate) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    candidates
        .iter()
        .map(|candidate| (distance(word, candidate), *candidate))
        .filter(|(wrong, candidate)| *wrong <= (candidate.len() / 3).max(1))
        .filter(|(_, candidate)| candidate.len() > 3 || candidate.chars().next() == word.chars().next())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Optimal string alignment distance: insertions, deletions, replacements and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    /// Longer words are not misspelt keys; the bound keeps the table small.
    const WORD_LIMIT_CHARS: usize = 64;
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.chars().collect());
    if a.len() > WORD_LIMIT_CHARS || b.len() > WORD_LIMIT_CHARS {
        return usize::MAX;
    }
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let swapped = if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                    rows[i - 2][j - 2] + 1
                } else {
                    usize::MAX
                };
                replaced.min(swapped).min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1)
            };
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let known = ["listen", "threads", "tls", "drain_seconds"];
        for (word, near) in [
            ("thread", Some("threads")),
            ("lsiten", Some("listen")),
            ("Listen", Some("listen")),
            ("drain-seconds", Some("drain_seconds")),
            ("drain", None),
            ("tsl", Some("tls")),
            ("origin", None),
            ("ils", None),
        ] {
            assert_eq!(nearest(word, &known), near, "{word}");
        }
    }
}

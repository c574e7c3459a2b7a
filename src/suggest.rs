//! "Did you mean": the known word that is closest to a mistyped one.

/// With more edits than this, it is a different word.
const MAX_DISTANCE: usize = 3;

/// ` (did you mean WORD?)`, to append to an unknown word; empty if none is close.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    let distances = known.iter().map(|known| (strsim::damerau_levenshtein(word, known), known));
    let nearest = distances.min().filter(|(distance, _)| *distance <= MAX_DISTANCE);
    nearest.map(|(_, known)| format!(" (did you mean {known}?)")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_closest_known_word_is_suggested_if_close_enough() {
        let known = ["hub", "adapter", "adapter-wait"];
        assert_eq!(did_you_mean("adaptr", &known), " (did you mean adapter?)");
        assert_eq!(did_you_mean("hbu", &known), " (did you mean hub?)");
        assert_eq!(did_you_mean("wombat", &known), "");
        assert_eq!(did_you_mean("hub", &[]), "");
    }
}

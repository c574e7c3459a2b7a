//! Text output, in 80 columns.

use std::io::{self, Write};

use super::complain;

/// Fits any terminal.
pub(super) const WIDTH: usize = 80;

/// Prints. Returns false if nobody reads any more: without an error message if the reader has closed the pipe (`| head`).
pub(super) fn print(text: &str) -> bool {
    try_print(text).unwrap_or_else(|why| {
        complain(&why);
        false
    })
}

/// Prints. Returns false if the reader has closed the pipe.
///
/// # Errors
/// One sentence, for example if the disk is full.
pub fn try_print(text: &str) -> Result<bool, String> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(err) => Err(format!("the output cannot be written: {err}")),
    }
}

/// Truncates text to `width` characters; a truncated text ends in `…`. Control characters are replaced by `?`.
pub(super) fn cut(text: &str, width: usize) -> String {
    let clean = |c: char| if c.is_control() { '?' } else { c };
    match text.chars().count() > width {
        true => text.chars().take(width.saturating_sub(1)).map(clean).chain(['…']).collect(),
        false => text.chars().map(clean).collect(),
    }
}

/// Wraps text to lines of at most [`WIDTH`]; the first starts with `first`, the others are indented to match.
pub(super) fn wrap(first: &str, text: &str) -> String {
    let indent = first.chars().count();
    let (mut lines, mut line) = (Vec::new(), first.to_owned());
    for word in text.split_whitespace() {
        let word = cut(word, WIDTH - indent);
        let length = line.chars().count();
        if length > indent && length + 1 + word.chars().count() > WIDTH {
            lines.push(std::mem::replace(&mut line, " ".repeat(indent)));
        }
        if line.chars().count() > indent {
            line.push(' ');
        }
        line.push_str(&word);
    }
    lines.push(line);
    lines.join("\n") + "\n"
}

/// A number in at most six characters: `99999`, `100k`.
pub(super) fn short(number: u64) -> String {
    let units = ["", "k", "M", "G", "T", "P"];
    let step = units.iter().zip(std::iter::successors(Some(number), |number| Some(number / 1000)));
    let fits = step.into_iter().find(|(_, number)| *number < 100_000);
    fits.map_or_else(|| "many".into(), |(unit, number)| format!("{number}{unit}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_truncated_and_control_characters_are_replaced() {
        assert_eq!(cut("gateway", 7), "gateway");
        assert_eq!(cut("gateways", 7), "gatewa…");
        assert_eq!(cut("a\x1b[2J", 9), "a?[2J");
    }

    #[test]
    fn text_is_wrapped_between_words() {
        let text = wrap("  ! ", &"word ".repeat(40));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
        assert!(text.starts_with("  ! word word") && text.contains("\n    word"), "{text}");
        assert_eq!(wrap("> ", &"x".repeat(200)).lines().next().unwrap().chars().count(), WIDTH);
    }
}

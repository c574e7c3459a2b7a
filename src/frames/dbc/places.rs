//! The lines of a DBC file where its messages and signals are defined: the parser does not keep them, but an error has to
//! name one.

use std::collections::HashMap;

/// Line numbers; the first line is 1.
#[derive(Debug, Default)]
pub(super) struct Places<'a> {
    /// In the order of the file: the number after `BO_`, and the line.
    pub(super) messages: Vec<(u64, usize)>,
    /// By the message's position in `messages` and the signal's name.
    signals: HashMap<(usize, &'a str), usize>,
}

impl<'a> Places<'a> {
    /// Looks for the keywords at the start of a line, outside of strings: comments may have several lines.
    pub(super) fn find(text: &'a str) -> Self {
        let mut places = Self::default();
        let mut is_in_string = false;
        for (at, line) in text.lines().enumerate() {
            if !is_in_string {
                places.note(line, at + 1);
            }
            is_in_string ^= line.replace("\\\"", "").matches('"').count() % 2 == 1;
        }
        places
    }

    /// The line of a signal of the message at this position.
    pub(super) fn signal(&self, message: usize, name: &str) -> Option<usize> {
        self.signals.get(&(message, name)).copied()
    }

    fn note(&mut self, line: &'a str, number: usize) {
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some("BO_"), Some(id)) => {
                if let Ok(id) = id.parse() {
                    self.messages.push((id, number));
                }
            }
            (Some("SG_"), Some(name)) if !self.messages.is_empty() => {
                let name = name.split(':').next().unwrap_or(name);
                self.signals.entry((self.messages.len() - 1, name)).or_insert(number);
            }
            _ => {}
        }
    }
}

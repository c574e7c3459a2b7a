//! TOML files that people write: parsed without serde, so that an error can name the line of any value.

use std::{borrow::Cow, ops::Range, path::Path};

pub use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use crate::suggest::did_you_mean;

/// An error and its position in the text.
#[derive(Debug)]
pub struct Wrong {
    /// The bytes it is about.
    pub at: Range<usize>,
    /// What is wrong and what is allowed, without file and line.
    pub why: String,
}

impl Wrong {
    /// An error about a value, a key or an entry.
    pub fn new<T>(about: &Spanned<T>, why: impl Into<String>) -> Self {
        Self { at: about.span(), why: why.into() }
    }

    /// A key that does not exist. `what` says whose key, and is empty for the file itself: ` of an expectation`.
    pub fn unknown_key(key: &Spanned<Cow<'_, str>>, what: &str, known: &[&str]) -> Self {
        let nearest = did_you_mean(key.get_ref(), known);
        let why = format!("unknown key {}{what}{nearest}; valid keys: {}", key.get_ref(), known.join(", "));
        Self::new(key, why)
    }
}

/// Parses the text of a file with `read`.
///
/// # Errors
/// One sentence that starts with the file and the line.
pub fn parse<T>(
    file: &Path,
    text: &str,
    read: impl FnOnce(&DeTable<'_>) -> Result<T, Wrong>,
) -> Result<T, String> {
    let syntax = |err: toml::de::Error| Wrong {
        at: err.span().unwrap_or_default(),
        why: format!("invalid TOML: {}", err.message()),
    };
    let table = DeTable::parse(text).map_err(syntax);
    table.and_then(|table| read(table.get_ref())).map_err(|Wrong { at, why }| {
        let line = text.bytes().take(at.start).filter(|byte| *byte == b'\n').count() + 1;
        format!("{} line {line}: {why}", file.display())
    })
}

/// A key and its value, and where both are.
pub type Entry<'a, 'text> = (&'a Spanned<Cow<'text, str>>, &'a Spanned<DeValue<'text>>);

/// The entries in the order of the file, so that an error is about the later of two that do not fit together.
pub fn entries<'a, 'text>(table: &'a DeTable<'text>) -> Vec<Entry<'a, 'text>> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries
}

/// A value, roughly as written.
pub fn shown(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.to_string(),
        DeValue::Boolean(yes) => yes.to_string(),
        other => format!("({})", other.type_str()),
    }
}

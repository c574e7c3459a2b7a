//! Parses `health.toml`; an error names the line.

use std::{fs, io, ops::Range, path::Path, time::Duration};

use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{FILE, Need, Pattern, Policy};
use crate::suggest::did_you_mean;

const KEYS: [&str; 6] = ["required", "optional", "ignored", "interval", "time-limit", "failure-threshold"];
const ALLOWED_COMPONENTS: &str =
    "kernel, docker, state, bus:NAME, bus:*, adapter:NAME or adapter:* (NAME as in `canhub health`)";

/// The policy in a file, or the defaults and one sentence about the error: a typo must not keep a device in the field
/// down. Without a path it is [`FILE`], which is optional.
pub fn load(path: Option<&Path>) -> (Policy, Option<String>) {
    let file = path.unwrap_or(Path::new(FILE));
    let text = match fs::read_to_string(file) {
        Err(err) if err.kind() == io::ErrorKind::NotFound && path.is_none() => return Default::default(),
        read => read.map_err(|err| format!("cannot read {}: {err}", file.display())),
    };
    let parsed = text.and_then(|text| {
        parse(&text).map_err(|Wrong { at, why }| {
            let line = text.bytes().take(at.start).filter(|byte| *byte == b'\n').count() + 1;
            format!("{} line {line}: {why}", file.display())
        })
    });
    match parsed {
        Ok(policy) => (policy, None),
        Err(why) => (
            Policy::default(),
            Some(format!("{why}; using the defaults until the file is fixed and canhub restarted")),
        ),
    }
}

/// An error and its position in the text.
#[derive(Debug)]
struct Wrong {
    at: Range<usize>,
    why: String,
}

fn parse(text: &str) -> Result<Policy, Wrong> {
    let syntax = |err: toml::de::Error| Wrong {
        at: err.span().unwrap_or_default(),
        why: format!("invalid TOML: {}", err.message()),
    };
    let table = DeTable::parse(text).map_err(syntax)?;
    let mut policy = Policy::default();
    // In the order of the file, so that an error is about the later of two entries.
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in entries {
        match key.get_ref().as_ref() {
            "required" => needs(&mut policy, "required", value, Need::Required)?,
            "optional" => needs(&mut policy, "optional", value, Need::Optional)?,
            "ignored" => needs(&mut policy, "ignored", value, Need::Ignored)?,
            "interval" => policy.interval = seconds("interval", value, 1..=86_400)?,
            "time-limit" => policy.time_limit = seconds("time-limit", value, 1..=300)?,
            "failure-threshold" => {
                policy.threshold = number("failure-threshold", "a number", value, 1..=100)?;
            }
            other => {
                let nearest = did_you_mean(other, &KEYS);
                let why = format!("unknown key {other}{nearest}; valid keys: {}", KEYS.join(", "));
                return Err(Wrong { at: key.span(), why });
            }
        }
    }
    Ok(policy)
}

fn needs(policy: &mut Policy, key: &str, list: &Spanned<DeValue<'_>>, need: Need) -> Result<(), Wrong> {
    let wrong = |at: Range<usize>, value: &dyn std::fmt::Display| Wrong {
        at,
        why: format!("{key} = {value}: must be a list of components, each in quotes: {ALLOWED_COMPONENTS}"),
    };
    let entries = list.get_ref().as_array();
    for entry in entries.ok_or_else(|| wrong(list.span(), &shown(list)))?.iter() {
        let pattern = entry.get_ref().as_str().and_then(pattern);
        let pattern = pattern.ok_or_else(|| wrong(entry.span(), &shown(entry)))?;
        if policy.needs.iter().any(|(known, _)| *known == pattern) {
            let why =
                format!("{key} = {}: already listed, and a component may be in one list only", shown(entry));
            return Err(Wrong { at: entry.span(), why });
        }
        policy.needs.push((pattern, need));
    }
    Ok(())
}

fn pattern(text: &str) -> Option<Pattern> {
    match text.split_once(':') {
        Some((kind @ ("bus" | "adapter"), "*")) => Some(Pattern::Every(kind.to_owned())),
        Some(("bus" | "adapter", name)) if !name.is_empty() && !name.contains('*') => {
            Some(Pattern::Exactly(text.to_owned()))
        }
        None if ["kernel", "docker", "state"].contains(&text) => Some(Pattern::Exactly(text.to_owned())),
        _ => None,
    }
}

fn seconds(
    key: &str,
    value: &Spanned<DeValue<'_>>,
    allowed: std::ops::RangeInclusive<u32>,
) -> Result<Duration, Wrong> {
    number(key, "a number of seconds", value, allowed).map(|seconds| Duration::from_secs(seconds.into()))
}

fn number(
    key: &str,
    what: &str,
    value: &Spanned<DeValue<'_>>,
    allowed: std::ops::RangeInclusive<u32>,
) -> Result<u32, Wrong> {
    let integer = value.get_ref().as_integer();
    let number = integer.and_then(|digits| u32::from_str_radix(digits.as_str(), digits.radix()).ok());
    number.filter(|number| allowed.contains(number)).ok_or_else(|| Wrong {
        at: value.span(),
        why: format!(
            "{key} = {}: must be {what} from {} to {}",
            shown(value),
            allowed.start(),
            allowed.end()
        ),
    })
}

/// A value, roughly as written.
fn shown(value: &Spanned<DeValue<'_>>) -> String {
    match value.get_ref() {
        DeValue::String(text) => format!("{text:?}"),
        DeValue::Integer(digits) => digits.to_string(),
        DeValue::Float(digits) => digits.to_string(),
        DeValue::Boolean(yes) => yes.to_string(),
        other => format!("({})", other.type_str()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loaded(text: &str) -> (Policy, Option<String>) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("health.toml");
        fs::write(&file, text).unwrap();
        let (policy, complaint) = load(Some(&file));
        (policy, complaint.map(|why| why.replace(&*dir.path().to_string_lossy(), "DIR")))
    }

    #[test]
    fn all_keys_are_parsed() {
        let (policy, complaint) = loaded(
            "required = [\"docker\", \"bus:powertrain\"]\noptional = ['bus:*']\nignored = [\"adapter:usb:1d50:606f\"]\n\
             interval = 60\ntime-limit = 2\nfailure-threshold = 3\n",
        );
        assert_eq!(complaint, None);
        assert_eq!(
            (policy.interval, policy.time_limit, policy.threshold),
            (Duration::from_secs(60), Duration::from_secs(2), 3)
        );
        assert_eq!(policy.need("docker"), Need::Required);
        assert_eq!(
            (policy.need("bus:powertrain"), policy.need("bus:seat")),
            (Need::Required, Need::Optional)
        );
        assert_eq!(policy.need("adapter:usb:1d50:606f"), Need::Ignored);
        assert_eq!(loaded("").0, Policy::default());
    }

    #[test]
    fn errors_name_line_key_value_and_valid_values() {
        for (text, line, words) in [
            ("interval = 0", 1, "interval = 0: must be a number of seconds from 1 to 86400"),
            ("\n\ninterval = \"x\"", 3, "interval = \"x\": must be a number of seconds"),
            ("interval = -3", 1, "interval = -3: must be a number"),
            ("interval = 99999999999999999999", 1, "interval = 99999999999999999999: must be a number"),
            ("interval = 1.5", 1, "interval = 1.5: must be a number"),
            ("time-limit = 301", 1, "time-limit = 301: must be a number of seconds from 1 to 300"),
            ("failure-threshold = 0", 1, "failure-threshold = 0: must be a number from 1 to 100"),
            ("interval = 5\nrequired = \"bus:*\"", 2, "required = \"bus:*\": must be a list of components"),
            (
                "optional = [\n  \"docker\",\n  \"bus\",\n]",
                3,
                "optional = \"bus\": must be a list of components",
            ),
            ("ignored = [\"bus:po*\"]", 1, "ignored = \"bus:po*\": must be a list"),
            ("ignored = [7]", 1, "ignored = 7: must be a list"),
            ("required = [\"docker\"]\nignored = [\"docker\"]", 2, "\"docker\": already listed"),
            ("intervall = 30", 1, "unknown key intervall (did you mean interval?); valid keys: required,"),
            ("\n[health]\ninterval = 30", 2, "unknown key health; valid keys:"),
            ("interval = 30\ninterval = 30", 2, "invalid TOML: "),
            ("\ninterval 3\n", 2, "invalid TOML: "),
            ("\u{1F40C} = 3", 1, "invalid TOML: "),
        ] {
            let (policy, complaint) = loaded(text);
            assert_eq!(policy, Policy::default(), "{text}");
            let why = complaint.unwrap_or_else(|| panic!("{text:?} was taken"));
            assert!(why.starts_with(&format!("DIR/health.toml line {line}: ")), "{text:?}: {why}");
            assert!(why.contains(words) && why.contains("using the defaults"), "{text:?}: {why}");
        }
    }

    #[test]
    fn only_an_explicit_file_must_exist() {
        let (policy, complaint) = load(Some(Path::new("/nowhere/health.toml")));
        assert_eq!(policy, Policy::default());
        assert!(complaint.is_some_and(|why| why.starts_with("cannot read /nowhere/health.toml: ")));
    }

    #[test]
    fn the_documented_policy_equals_the_defaults() {
        let example = include_str!("../../../docs/health.toml");
        let (policy, complaint) = loaded(example);
        assert_eq!(complaint, None);
        let defaults = Policy::default();
        assert_eq!(
            (policy.interval, policy.time_limit, policy.threshold),
            (defaults.interval, defaults.time_limit, defaults.threshold)
        );
        for component in ["kernel", "docker", "state", "bus:any", "adapter:any"] {
            assert_eq!(policy.need(component), defaults.need(component), "{component}");
        }
        // The commented examples are valid too, and every key is documented.
        let uncommented: String = example
            .lines()
            .filter_map(|line| line.strip_prefix("#: "))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(!uncommented.is_empty());
        assert_eq!(loaded(&uncommented).1, None);
        for key in KEYS {
            assert!(example.contains(&format!("\n{key} = ")), "{key} is not in docs/health.toml");
        }
    }
}

//! Parses `health.toml`; an error names the line.

use std::{fs, io, path::Path, time::Duration};

use super::{FILE, Need, Pattern, Policy};
use crate::{
    config_file::{self, DeTable, DeValue, Spanned, Wrong, shown},
    expect::{Expectation, Wish},
};

const KEYS: [&str; 7] =
    ["required", "optional", "ignored", "expect", "interval", "time-limit", "failure-threshold"];
const ALLOWED_COMPONENTS: &str = "kernel, docker, state, bus:NAME, bus:*, adapter:NAME, adapter:*, span:NAME, span:*, \
    host:NAME, host:*, expect:BUS:ID, expect:BUS:ID@CONTAINER or expect:* (NAME as in `canhub health`)";
/// The kinds of components that have names.
const KINDS: [&str; 5] = ["bus", "adapter", "span", "host", "expect"];
/// The keys of an expectation.
const EXPECT_KEYS: [&str; 5] = ["bus", "id", "every", "from", "within"];

/// The policy in a file, or the defaults and one sentence about the error: a typo must not keep a device in the field
/// down. Without a path it is [`FILE`], which is optional.
pub fn load(path: Option<&Path>) -> (Policy, Option<String>) {
    let file = path.unwrap_or(Path::new(FILE));
    let text = match fs::read_to_string(file) {
        Err(err) if err.kind() == io::ErrorKind::NotFound && path.is_none() => return Default::default(),
        read => read.map_err(|err| format!("cannot read {}: {err}", file.display())),
    };
    let parsed = text.and_then(|text| config_file::parse(file, &text, parse));
    match parsed {
        Ok(policy) => (policy, None),
        Err(why) => (
            Policy::default(),
            Some(format!("{why}; using the defaults until the file is fixed and canhub restarted")),
        ),
    }
}

fn parse(table: &DeTable<'_>) -> Result<Policy, Wrong> {
    let mut policy = Policy::default();
    for (key, value) in config_file::entries(table) {
        match key.get_ref().as_ref() {
            "required" => needs(&mut policy, "required", value, Need::Required)?,
            "optional" => needs(&mut policy, "optional", value, Need::Optional)?,
            "ignored" => needs(&mut policy, "ignored", value, Need::Ignored)?,
            "expect" => policy.expect = expectations(value)?,
            "interval" => policy.interval = seconds("interval", value, 1..=86_400)?,
            "time-limit" => policy.time_limit = seconds("time-limit", value, 1..=300)?,
            "failure-threshold" => {
                policy.threshold = number("failure-threshold", "a number", value, 1..=100)?;
            }
            _ => return Err(Wrong::unknown_key(key, "", &KEYS)),
        }
    }
    Ok(policy)
}

fn needs(policy: &mut Policy, key: &str, list: &Spanned<DeValue<'_>>, need: Need) -> Result<(), Wrong> {
    let wrong = |value: &Spanned<DeValue<'_>>| {
        let must = format!("must be a list of components, each in quotes: {ALLOWED_COMPONENTS}");
        Wrong::new(value, format!("{key} = {}: {must}", shown(value)))
    };
    for entry in list.get_ref().as_array().ok_or_else(|| wrong(list))?.iter() {
        let pattern = entry.get_ref().as_str().and_then(pattern).ok_or_else(|| wrong(entry))?;
        if policy.needs.iter().any(|(known, _)| *known == pattern) {
            let why =
                format!("{key} = {}: already listed, and a component may be in one list only", shown(entry));
            return Err(Wrong::new(entry, why));
        }
        policy.needs.push((pattern, need));
    }
    Ok(())
}

fn expectations(list: &Spanned<DeValue<'_>>) -> Result<Vec<Expectation>, Wrong> {
    let not_a_list = || {
        let why = "must be a list of tables: expect = [{ bus = \"body\", id = \"1A0\", every = \"20ms\" }]";
        Wrong::new(list, format!("expect = {}: {why}", shown(list)))
    };
    let mut all: Vec<Expectation> = Vec::new();
    for entry in list.get_ref().as_array().ok_or_else(not_a_list)?.iter() {
        let table = entry.get_ref().as_table().ok_or_else(not_a_list)?;
        for (key, value) in table {
            if !EXPECT_KEYS.contains(&key.get_ref().as_ref()) {
                return Err(Wrong::unknown_key(key, " of an expectation", &EXPECT_KEYS));
            }
            if value.get_ref().as_str().is_none() {
                let why = format!("{} = {}: must be in quotes", key.get_ref(), shown(value));
                return Err(Wrong::new(value, why));
            }
        }
        let get = |key: &str| table.get(key).and_then(|value| value.get_ref().as_str()).map(str::to_owned);
        let need =
            |key: &str| get(key).ok_or_else(|| Wrong::new(entry, format!("an expectation needs {key}")));
        let wish = Wish {
            bus: need("bus")?,
            id: need("id")?,
            every: need("every")?,
            from: get("from"),
            within: get("within"),
        };
        let one = Expectation::try_from(wish).map_err(|why| Wrong::new(entry, why))?;
        if all.iter().any(|other| other.component() == one.component()) {
            return Err(Wrong::new(entry, format!("{} on {} is expected twice", one.id, one.bus)));
        }
        all.push(one);
    }
    Ok(all)
}

fn pattern(text: &str) -> Option<Pattern> {
    match text.split_once(':') {
        Some((kind, "*")) if KINDS.contains(&kind) => Some(Pattern::Every(kind.to_owned())),
        Some((kind, name)) if KINDS.contains(&kind) && !name.is_empty() && !name.contains('*') => {
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
    number.filter(|number| allowed.contains(number)).ok_or_else(|| {
        let must = format!("must be {what} from {} to {}", allowed.start(), allowed.end());
        Wrong::new(value, format!("{key} = {}: {must}", shown(value)))
    })
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
             expect = [{ bus = 'body', id = '1A0', every = '20ms', from = 'door' }]\n\
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
        assert_eq!(policy.expect[0].to_string(), "1A0 on body every 20ms within 30% from door");
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
            ("expect = 7", 1, "expect = 7: must be a list of tables: expect = [{"),
            ("expect = ['body']", 1, "must be a list of tables"),
            ("\nexpect = [{ bus = 'a', id = '1A0' }]", 2, "an expectation needs every"),
            ("expect = [{ bus = 'a', id = 100, every = '1s' }]", 1, "id = 100: must be in quotes"),
            (
                "expect = [{ bus = 'a', id = '1A0', evry = '1s' }]",
                1,
                "unknown key evry of an expectation (did you mean every?)",
            ),
            ("expect = [{ bus = 'a', id = '1A0', every = '0ms' }]", 1, "\"0ms\" is not a cycle"),
            (
                "expect = [\n{ bus = 'a', id = '1A0', every = '1s' },\n{ bus = 'a', id = '1A0', every = '2s' }]",
                3,
                "1A0 on a is expected twice",
            ),
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
        for component in ["kernel", "docker", "state", "bus:any", "adapter:any", "span:any", "host:any"] {
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

//! A strict parser of OpenMetrics text (OpenMetrics 1.0, "Text Format"), for the subset that canhub uses.

use std::collections::{BTreeMap, BTreeSet};

/// The content of a scrape.
#[derive(Debug, Default)]
pub struct Exposition {
    /// The type of each family.
    pub kinds: BTreeMap<String, String>,
    pub samples: Vec<Sample>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// A histogram for one set of labels.
#[derive(Default)]
struct Set {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
}

impl Exposition {
    pub fn parse(text: &str) -> Result<Self, String> {
        let body = text.strip_suffix("# EOF\n").ok_or("it does not end in # EOF and a line break")?;
        let mut exposition = Self::default();
        let (mut family, mut helped, mut seen) = (String::new(), BTreeSet::new(), BTreeSet::new());
        for line in body.split_terminator('\n') {
            let wrong = |why: &str| format!("{why}: {line:?}");
            if let Some(comment) = line.strip_prefix("# ") {
                let mut words = comment.splitn(3, ' ');
                let (Some(word), Some(name), Some(rest)) = (words.next(), words.next(), words.next()) else {
                    return Err(wrong("a comment of less than three words"));
                };
                if name != family && exposition.kinds.contains_key(name) {
                    return Err(wrong("a family in two places"));
                }
                name.clone_into(&mut family);
                let new = match word {
                    "HELP" => helped.insert(name.to_owned()),
                    "TYPE" => exposition.kinds.insert(name.into(), rest.into()).is_none(),
                    "UNIT" => name.ends_with(&format!("_{rest}")),
                    _ => false,
                };
                if !new {
                    return Err(wrong("a comment that is unknown, double or wrong"));
                }
                continue;
            }
            let sample = Sample::parse(line).map_err(|why| wrong(&why))?;
            let kind = exposition.kinds.get(&family).ok_or_else(|| wrong("a sample without a type"))?;
            if !helped.contains(&family) {
                return Err(wrong("a sample without help"));
            }
            let suffix =
                sample.name.strip_prefix(&*family).ok_or_else(|| wrong("a sample of another family"))?;
            let fits = match kind.as_str() {
                "counter" => suffix == "_total" && sample.value >= 0.0,
                "gauge" => suffix.is_empty(),
                "info" => suffix == "_info" && sample.value == 1.0,
                "histogram" => {
                    matches!(suffix, "_sum" | "_count" | "_bucket")
                        && (suffix == "_bucket") == sample.labels.contains_key("le")
                }
                _ => false,
            };
            if !fits {
                return Err(wrong(&format!("it does not fit a {kind}")));
            }
            if !seen.insert(format!("{} {:?}", sample.name, sample.labels)) {
                return Err(wrong("a series twice"));
            }
            exposition.samples.push(sample);
        }
        exposition.check_histograms()?;
        Ok(exposition)
    }

    /// For each set of labels, buckets must rise and the last one must equal the count.
    fn check_histograms(&self) -> Result<(), String> {
        for (family, _) in self.kinds.iter().filter(|(_, kind)| *kind == "histogram") {
            let mut sets: BTreeMap<String, Set> = BTreeMap::new();
            for sample in &self.samples {
                let mut labels = sample.labels.clone();
                let bound = labels.remove("le");
                let set = || format!("{family}{labels:?}");
                match sample.name.strip_prefix(family.as_str()) {
                    Some("_bucket") => {
                        let bound = bound.unwrap_or_default().parse().unwrap_or(f64::INFINITY);
                        sets.entry(set()).or_default().buckets.push((bound, sample.value));
                    }
                    Some("_count") => sets.entry(set()).or_default().count = Some(sample.value),
                    _ => {}
                }
            }
            for (set, Set { buckets, count }) in sets {
                let rise = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1);
                let last = buckets.last().copied();
                if !rise || last.map(|last| (last.0, Some(last.1))) != Some((f64::INFINITY, count)) {
                    return Err(format!("{set}: {buckets:?}, and its count is {count:?}"));
                }
            }
        }
        Ok(())
    }
}

impl Sample {
    fn parse(line: &str) -> Result<Self, String> {
        let end = line.find(['{', ' ']).ok_or("no value")?;
        let (name, mut rest) = line.split_at(end);
        let is_name = |name: &str| {
            !name.starts_with(|c: char| c.is_ascii_digit())
                && !name.is_empty()
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !is_name(name) {
            return Err(format!("{name:?} is no name"));
        }
        let mut labels = BTreeMap::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = inside;
            loop {
                let (key, value) = rest.split_once("=\"").ok_or("a label without a value")?;
                let (value, after) = quoted(value).ok_or("a value without an end")?;
                if !is_name(key) || labels.insert(key.to_owned(), value).is_some() {
                    return Err(format!("label {key:?} is no name, or double"));
                }
                match after.strip_prefix(',') {
                    Some(next) => rest = next,
                    None => {
                        rest = after.strip_prefix('}').ok_or("labels without an end")?;
                        break;
                    }
                }
            }
        }
        let value = rest.strip_prefix(' ').ok_or("no value")?;
        let value = value.parse().map_err(|err| format!("{value:?}: {err}"))?;
        Ok(Self { name: name.to_owned(), labels, value })
    }
}

/// A value up to its closing quote, and the rest.
fn quoted(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => match chars.next()?.1 {
                'n' => value.push('\n'),
                escaped @ ('\\' | '"') => value.push(escaped),
                _ => return None,
            },
            (_, c) => value.push(c),
        }
    }
}

#[test]
fn the_openmetrics_parser_is_strict() {
    let good = "# HELP a_seconds Help.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds{b=\"\\\"c\\\\\"} 1\n# EOF\n";
    let sample = Exposition::parse(good).unwrap().samples.remove(0);
    assert_eq!((sample.labels["b"].as_str(), sample.value), ("\"c\\", 1.0));
    for (from, to) in [
        ("# EOF\n", ""),
        ("# EOF", "\n# EOF"),
        ("# HELP a_seconds Help.\n", ""),
        ("gauge", "counter"),
        ("a_seconds seconds", "a_seconds bytes"),
        ("} 1", "} one"),
        ("} 1", "} 1\na_seconds{b=\"\\\"c\\\\\"} 2"),
        ("b=", "1b="),
    ] {
        assert!(Exposition::parse(&good.replacen(from, to, 1)).is_err(), "{from:?} became {to:?}");
    }
    let buckets = |first: u32, all: u32, count: u32| {
        format!(
            "# HELP a Help.\n# TYPE a histogram\na_bucket{{k=\"x\",le=\"1.0\"}} {first}\na_bucket{{k=\"x\",le=\"+Inf\"}} {all}\na_count{{k=\"x\"}} {count}\n# EOF\n"
        )
    };
    assert!(Exposition::parse(&buckets(1, 2, 2)).is_ok());
    assert!(Exposition::parse(&buckets(3, 2, 2)).is_err() && Exposition::parse(&buckets(1, 2, 3)).is_err());
}

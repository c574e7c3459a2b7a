//! Names and IDs that are validated when parsed and trusted from then on.

use std::{borrow::Borrow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Maximum length of an interface name in bytes: the kernel's `IFNAMSIZ` without the trailing NUL.
pub const IFNAME_MAX: usize = 15;

/// An interface name that the kernel accepts (`dev_valid_name` in `net/core/dev.c`).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

/// The ID of a Docker network: 64 hex digits, or 25 base-36 digits in a swarm.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkId(String);

/// Maximum length of an ID in letters and digits.
const ID_MAX: usize = 64;

/// Maximum length of the name of a span in bytes. Short, because the alias of a hub must have room for it.
pub const SPAN_NAME_MAX: usize = 32;

/// The name of a span: all networks with the same one are one bus, on whatever hosts. It is part of keys on the network
/// between hosts, so only lower-case letters, digits, `-` and `_` are allowed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SpanName(String);

/// The ID of a Docker endpoint. Every start of a container creates a new one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct EndpointId(String);

/// The ID of an attachment, chosen by whoever attaches: 1 to 64 letters, digits, `-`, `_` or `.`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AttachmentId(String);

/// The name of a bus that canhub made: 1 to 64 letters, digits, `-`, `_` or `.`, as Docker's names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BusName(String);

/// How the IDs that canhub makes begin. Docker's are hexadecimal or, in a swarm, longer.
const MADE: char = 'x';
/// The length of an ID that canhub makes, in letters and digits. Short, because aliases have to have room for more.
const MADE_LEN: usize = 16;

/// How many digits of an ID are enough to mean a network; fewer look like a name.
const PREFIX_MIN: usize = 4;

/// The networks that a person means with a word: those of this name, else those with this interface on the host, else those
/// whose ID is this or begins so.
pub fn meant<'a, T: Copy + 'a>(
    word: &str,
    all: &[T],
    id: impl Fn(T) -> &'a NetworkId,
    is_named: impl Fn(T) -> bool,
    has_hub: impl Fn(T) -> bool,
) -> Vec<T> {
    let begins = |one: T| id(one).begins(word);
    let all = |is: &dyn Fn(T) -> bool| -> Vec<T> { all.iter().copied().filter(|one| is(*one)).collect() };
    let ways: [&dyn Fn(T) -> bool; 3] = [&is_named, &has_hub, &begins];
    ways.into_iter().map(all).find(|meant| !meant.is_empty()).unwrap_or_default()
}

/// Whether a person means this endpoint with a word: by its container's name, or by the start of its ID.
pub(crate) fn is_called(word: &str, endpoint: &EndpointId, container: Option<&str>) -> bool {
    container == Some(word) || (word.len() >= 12 && endpoint.as_ref().starts_with(word))
}

impl IfName {
    /// The name of an interface that canhub creates: a prefix and the start of an ID, truncated to fit.
    ///
    /// IDs consist of letters and digits, so the result is always a valid name.
    fn from_id(prefix: &str, id: &str, digits: usize) -> Self {
        Self(prefix.chars().chain(id.chars().take(digits)).take(IFNAME_MAX).collect())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is one of these words and a number.
    pub fn is_numbered(&self, words: &[&str]) -> bool {
        let number = |word: &&str| self.0.strip_prefix(*word);
        words
            .iter()
            .filter_map(number)
            .any(|number| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    }

    /// Whether container engines make up such names: Docker, Podman and containerd `eth0`, Multus `net1`.
    pub fn is_made_up(&self) -> bool {
        self.is_numbered(&["eth", "net"])
    }
}

impl FromStr for IfName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let why = if name.is_empty() {
            "it is empty".to_owned()
        } else if name.len() > IFNAME_MAX {
            format!("it has {} bytes, the kernel allows {IFNAME_MAX}", name.len())
        } else if name == "." || name == ".." {
            "it is reserved".to_owned()
        } else if let Some(bad) =
            name.chars().find(|c| matches!(c, '/' | ':' | '%') || c.is_whitespace() || c.is_control())
        {
            format!("the character {bad:?} is not allowed")
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(format!("{name:?} is not a valid interface name: {why}"))
    }
}

impl SpanName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The display name of the span port, where containers have theirs.
    pub fn member(&self) -> String {
        format!("(span {self})")
    }
}

impl FromStr for SpanName {
    type Err = String;

    /// Capitals are lower-cased, because Docker lower-cases some values.
    fn from_str(name: &str) -> Result<Self, String> {
        let name = name.to_ascii_lowercase();
        let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
        match starts && name.len() <= SPAN_NAME_MAX && name.chars().all(allowed) {
            true => Ok(Self(name)),
            false => Err(format!(
                "must be 1 to {SPAN_NAME_MAX} letters, digits, - or _, and begin with a letter or a digit"
            )),
        }
    }
}

impl NetworkId {
    /// The first twelve digits, as Docker shows them.
    pub fn short(&self) -> &str {
        short(&self.0)
    }

    /// Whether canhub made the bus; otherwise Docker did.
    pub fn is_made(&self) -> bool {
        is_made(&self.0)
    }

    /// Whether a person can mean this network with the start of its ID.
    pub(crate) fn begins(&self, word: &str) -> bool {
        word.len() >= PREFIX_MIN && self.0.starts_with(word)
    }

    /// The default name of the hub: `bus` and the digits that `docker network ls` shows.
    pub fn hub_name(&self) -> IfName {
        IfName::from_id("bus", &self.0, 12)
    }
}

impl From<u64> for NetworkId {
    /// The ID of a bus that canhub makes, from a random number.
    fn from(random: u64) -> Self {
        Self(made(random))
    }
}

impl From<u64> for EndpointId {
    /// The ID of an endpoint that is attached without Docker, from a random number.
    fn from(random: u64) -> Self {
        Self(made(random))
    }
}

/// How the ID of a span port begins. Docker's IDs are hexadecimal.
const SPAN_PORT: &str = "span";

impl EndpointId {
    /// The ID of a network's span port, which Docker knows nothing of.
    pub fn of_span_port(network: &NetworkId) -> Self {
        Self(SPAN_PORT.chars().chain(network.0.chars()).take(ID_MAX).collect())
    }

    /// Whether it is attached without Docker.
    pub fn is_attached(&self) -> bool {
        is_made(&self.0)
    }

    /// Where its container end is, in a sentence.
    pub fn place(&self) -> &'static str {
        if self.is_attached() { "the namespace" } else { "the container" }
    }

    /// Whether it is a span port.
    pub fn is_span_port(&self) -> bool {
        self.0.starts_with(SPAN_PORT)
    }

    /// The first twelve digits, as Docker shows them.
    pub fn short(&self) -> &str {
        short(&self.0)
    }

    /// The host end of the endpoint's pair: the member of the bus.
    pub fn host_end(&self) -> IfName {
        match self.0.strip_prefix(SPAN_PORT) {
            Some(network) => IfName::from_id("cb", network, 10),
            None => IfName::from_id("ch", &self.0, 10),
        }
    }

    /// The name of the other end on the host: of a span port always, of a container end until Docker moves it, if Docker
    /// is to move it.
    pub fn container_end(&self) -> IfName {
        match self.0.strip_prefix(SPAN_PORT) {
            Some(network) => IfName::from_id("cs", network, 10),
            None => IfName::from_id("cp", &self.0, 10),
        }
    }
}

impl FromStr for AttachmentId {
    type Err = String;

    fn from_str(id: &str) -> Result<Self, String> {
        valid_word("attachment id", id).map(Self)
    }
}

impl FromStr for BusName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        valid_word("bus name", name).map(Self)
    }
}

fn made(random: u64) -> String {
    let digits = MADE_LEN - 1;
    format!("{MADE}{:0digits$x}", random >> (u64::BITS as usize - 4 * digits))
}

fn is_made(id: &str) -> bool {
    id.len() == MADE_LEN && id.starts_with(MADE)
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

fn valid_id(what: &str, id: String) -> Result<String, String> {
    let fits = !id.is_empty() && id.len() <= ID_MAX && id.bytes().all(|b| b.is_ascii_alphanumeric());
    // IDs become file names and interface names, so only letters and digits are allowed.
    if fits { Ok(id) } else { Err(format!("{what} {:?} is not 1 to {ID_MAX} letters and digits", clip(&id))) }
}

/// A word that people and other programs choose. It becomes part of an alias, so it has no blanks.
fn valid_word(what: &str, word: &str) -> Result<String, String> {
    let starts = word.starts_with(|c: char| c.is_ascii_alphanumeric());
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match starts && word.len() <= ID_MAX && word.chars().all(allowed) {
        true => Ok(word.to_owned()),
        false => Err(format!(
            "{what} {:?} must be 1 to {ID_MAX} letters, digits, -, _ or ., and begin with a letter or a digit",
            clip(word)
        )),
    }
}

fn clip(text: &str) -> String {
    text.chars().take(80).collect()
}

macro_rules! text_type {
    ($type:ident, $parse:expr) => {
        impl TryFrom<String> for $type {
            type Error = String;
            fn try_from(text: String) -> Result<Self, String> {
                let parse: fn(String) -> Result<Self, String> = $parse;
                parse(text)
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $type {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_type!(IfName, |text| text.parse());
text_type!(SpanName, |text| text.parse().map_err(|why| format!("span {:?} {why}", clip(&text))));
text_type!(NetworkId, |text| valid_id("network id", text).map(Self));
text_type!(AttachmentId, |text| text.parse());
text_type!(BusName, |text| text.parse());

impl From<&EndpointId> for AttachmentId {
    /// Letters and digits are allowed in both.
    fn from(id: &EndpointId) -> Self {
        Self(id.0.clone())
    }
}

text_type!(EndpointId, |text| valid_id("endpoint id", text).map(Self));

/// Checks a name that somebody gave for a network or container, before it is looked up: it is kept and shown.
///
/// # Errors
/// One sentence, if it is empty or longer than Docker's names can be.
pub(crate) fn check_name(what: &str, name: &str) -> Result<(), String> {
    const NAME_MAX: usize = 255;
    match name.is_empty() || name.len() > NAME_MAX {
        true => Err(format!("{what} {name:?} must have 1 to {NAME_MAX} bytes")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_means_a_name_before_an_interface_and_that_before_an_id() {
        let ids = ["b0d1b0d1", "c0dec0de", "b0d1ffff"].map(|id| NetworkId::try_from(id.to_owned()).unwrap());
        let names = [("body", "vcan-body"), ("b0d1", "can0"), ("other", "body")];
        let all: Vec<usize> = (0..3).collect();
        for (word, expected) in [
            ("body", &[0][..]),
            ("vcan-body", &[0]),
            ("can0", &[1]),
            ("b0d1", &[1]),
            ("b0d1b", &[0]),
            ("c0de", &[1]),
            ("c0d", &[]),
        ] {
            let found = meant(word, &all, |at| &ids[at], |at| names[at].0 == word, |at| names[at].1 == word);
            assert_eq!(found, expected, "{word}");
        }
    }

    #[test]
    fn an_interface_name_is_refused_with_the_reason() {
        for (name, reason) in [
            ("", "empty"),
            ("sixteen-bytes-xx", "16 bytes, the kernel allows 15"),
            ("can/0", "'/'"),
            ("can 0", "' '"),
            ("can%d", "'%'"),
            ("..", "reserved"),
        ] {
            let err = name.parse::<IfName>().unwrap_err();
            assert!(err.contains(reason), "{name:?}: {err}");
        }
        assert_eq!("fifteen-bytes-x".parse::<IfName>().unwrap().as_str(), "fifteen-bytes-x");
    }

    #[test]
    fn the_name_of_a_span_is_lower_case_and_fits_into_keys() {
        for (text, name) in [("powertrain", "powertrain"), ("Body-2_b", "body-2_b"), ("0", "0")] {
            assert_eq!(text.parse::<SpanName>().unwrap().as_str(), name);
        }
        for text in ["", "-a", "a/b", "a*", "a.b", "a b", "\u{e4}", &"x".repeat(SPAN_NAME_MAX + 1)] {
            let err = text.parse::<SpanName>().unwrap_err();
            assert!(err.contains("1 to 32 letters"), "{text:?}: {err}");
        }
    }

    #[test]
    fn names_derived_from_ids_fit_and_show_the_id() {
        let network = NetworkId::try_from("e189".repeat(16)).unwrap();
        assert_eq!(network.hub_name().as_str(), "buse189e189e189");
        let endpoint = EndpointId::try_from("0123456789abcdef".repeat(4)).unwrap();
        assert_eq!(endpoint.host_end().as_str(), "ch0123456789");
        assert_eq!(endpoint.container_end().as_str(), "cp0123456789");
        let port = EndpointId::of_span_port(&network);
        assert!(port.is_span_port() && !endpoint.is_span_port());
        assert_eq!(
            (port.host_end().as_str(), port.container_end().as_str()),
            ("cbe189e189e1", "cse189e189e1")
        );
        assert_eq!(EndpointId::try_from(String::from(port.clone())), Ok(port), "an alias can name it");
    }

    #[test]
    fn an_id_that_could_escape_the_state_folder_is_refused() {
        assert!(EndpointId::try_from("../../etc/passwd".to_owned()).is_err());
        assert!(NetworkId::try_from(String::new()).is_err());
        assert!(NetworkId::try_from("a".repeat(65)).is_err());
    }
}

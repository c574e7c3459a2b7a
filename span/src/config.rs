//! `/etc/canhub/span.toml`; an error names the line.

mod tunnel;

use std::{
    fs, io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use canhub::config_file::{self, DeTable, DeValue, Spanned, Wrong, shown};

use crate::{fleet::HostName, tunnel::Tunnel};

/// Where it is.
pub const FILE: &str = "/etc/canhub/span.toml";
/// Where key, certificates and fleet list are kept.
pub const STATE: &str = "/var/lib/canhub-span";
/// The port for addresses that have none.
pub const PORT: u16 = 7447;

const KEYS: [&str; 5] = ["name", "listen", "connect", "state", "tunnel"];

/// The settings of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The host's name in the fleet; `None`: that of its certificate.
    pub name: Option<HostName>,
    /// The addresses on which other hosts find this one. Without any, nothing listens.
    pub listen: Vec<SocketAddr>,
    /// Where this host finds others: `host:port`, the host a name or an address.
    pub connect: Vec<String>,
    /// The state folder.
    pub state: PathBuf,
    /// Tunnels to programs that speak cannelloni.
    pub tunnels: Vec<Tunnel>,
}

impl Default for Config {
    fn default() -> Self {
        Self { name: None, listen: Vec::new(), connect: Vec::new(), state: STATE.into(), tunnels: Vec::new() }
    }
}

impl Config {
    /// Reads the file; without a path [`FILE`], which is optional.
    ///
    /// # Errors
    /// One sentence that starts with the file and the line.
    pub fn load(path: Option<&Path>) -> Result<Self, String> {
        let file = path.unwrap_or(Path::new(FILE));
        match fs::read_to_string(file) {
            Err(err) if err.kind() == io::ErrorKind::NotFound && path.is_none() => Ok(Self::default()),
            Err(err) => Err(format!("cannot read {}: {err}", file.display())),
            Ok(text) => config_file::parse(file, &text, parse),
        }
    }
}

fn parse(table: &DeTable<'_>) -> Result<Config, Wrong> {
    let mut config = Config::default();
    for (key, value) in config_file::entries(table) {
        let wrong = |value: &Spanned<DeValue<'_>>, must: &str| {
            Wrong::new(value, format!("{} = {}: {must}", key.get_ref(), shown(value)))
        };
        let text = || value.get_ref().as_str().ok_or_else(|| wrong(value, "must be in quotes"));
        match key.get_ref().as_ref() {
            "name" => config.name = Some(text()?.parse().map_err(|why: String| wrong(value, &why))?),
            "listen" => {
                let must = "must be a list of addresses with or without a port, each in quotes: \
                    \"0.0.0.0:7447\", \"[::]:7447\", \"192.168.1.10\"";
                config.listen = list(value, listen_address).map_err(|at| wrong(at, must))?;
            }
            "connect" => {
                let must = "must be a list of hosts with or without a port, each in quotes: \
                    \"192.168.1.10:7447\", \"bench.example.com\"";
                config.connect = list(value, connect_address).map_err(|at| wrong(at, must))?;
            }
            "state" => {
                let path = PathBuf::from(text()?);
                if !path.is_absolute() {
                    return Err(wrong(value, "must be the path of a folder, from /"));
                }
                config.state = path;
            }
            "tunnel" => {
                let must = "must be tables: [[tunnel]], and below it span, kind, remote and local";
                let tables = value.get_ref().as_array().ok_or_else(|| wrong(value, must))?;
                for entry in tables.iter() {
                    let table = entry.get_ref().as_table().ok_or_else(|| wrong(entry, must))?;
                    config.tunnels.push(tunnel::parse(entry, table)?);
                }
            }
            _ => return Err(Wrong::unknown_key(key, "", &KEYS)),
        }
    }
    Ok(config)
}

/// The entries of a list, or the value that does not fit.
fn list<'a, 'text, T>(
    value: &'a Spanned<DeValue<'text>>,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, &'a Spanned<DeValue<'text>>> {
    let entries = value.get_ref().as_array().ok_or(value)?;
    entries.iter().map(|entry| entry.get_ref().as_str().and_then(&parse).ok_or(entry)).collect()
}

/// An address to listen on: `0.0.0.0:7447`, or without the port.
pub fn listen_address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse::<IpAddr>().ok()?, PORT)))
}

/// An address to connect to, with the port: `bench.example.com:7447`.
pub fn connect_address(text: &str) -> Option<String> {
    if let Some(address) = listen_address(text) {
        return Some(address.to_string()).filter(|_| !address.ip().is_unspecified() && address.port() != 0);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "7447"));
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
    };
    let port = port.parse::<u16>().ok().filter(|port| *port > 0)?;
    (host.len() <= 253 && host.split('.').all(label)).then(|| format!("{host}:{port}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(super) fn loaded(text: &str) -> Result<Config, String> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("span.toml");
        fs::write(&file, text).unwrap();
        Config::load(Some(&file)).map_err(|why| why.replace(&*dir.path().to_string_lossy(), "DIR"))
    }

    #[test]
    fn all_keys_are_read() {
        let config = loaded(
            "name = 'bench'\nlisten = ['0.0.0.0', '[::]:9']\nconnect = ['cell', '10.0.0.2:9', 'a.example.com', '::1']\n\
             state = '/srv/span'\n",
        );
        assert_eq!(
            config.unwrap(),
            Config {
                name: Some("bench".parse().unwrap()),
                listen: vec!["0.0.0.0:7447".parse().unwrap(), "[::]:9".parse().unwrap()],
                connect: ["cell:7447", "10.0.0.2:9", "a.example.com:7447", "[::1]:7447"]
                    .map(str::to_owned)
                    .to_vec(),
                state: "/srv/span".into(),
                tunnels: Vec::new(),
            }
        );
        assert_eq!(loaded("").unwrap(), Config::default());
    }

    #[test]
    fn errors_name_line_key_value_and_what_is_allowed() {
        for (text, line, words) in [
            (
                "name = 'Bench.local'",
                1,
                "name = \"Bench.local\": \"Bench.local\" is no name for a host: 1 to 63 of",
            ),
            ("\nname = 3", 2, "name = 3: must be in quotes"),
            ("listen = '0.0.0.0'", 1, "listen = \"0.0.0.0\": must be a list of addresses"),
            (
                "listen = [\n'0.0.0.0',\n'bench:7447']",
                3,
                "listen = \"bench:7447\": must be a list of addresses",
            ),
            ("connect = ['a:b']", 1, "connect = \"a:b\": must be a list of hosts with or without a port"),
            ("connect = ['0.0.0.0']", 1, "connect = \"0.0.0.0\": must be a list of hosts"),
            ("connect = ['a b']", 1, "connect = \"a b\": must be a list"),
            ("connect = [7]", 1, "connect = 7: must be a list"),
            ("state = 'here'", 1, "state = \"here\": must be the path of a folder, from /"),
            ("lisen = []", 1, "unknown key lisen (did you mean listen?); valid keys: name,"),
            ("name 3", 1, "invalid TOML: "),
        ] {
            let why = loaded(text).unwrap_err();
            assert!(why.starts_with(&format!("DIR/span.toml line {line}: ")), "{text:?}: {why}");
            assert!(why.contains(words), "{text:?}: {why}");
        }
    }

    #[test]
    fn only_an_explicit_file_must_exist() {
        let why = Config::load(Some(Path::new("/nowhere/span.toml"))).unwrap_err();
        assert!(why.starts_with("cannot read /nowhere/span.toml: "), "{why}");
    }

    #[test]
    fn the_documented_file_equals_the_defaults() {
        let example = include_str!("../../docs/span.toml");
        assert_eq!(loaded(example).unwrap(), Config::default());
        // The commented examples are valid too, and every key is documented.
        let examples: String = example
            .lines()
            .filter_map(|line| line.strip_prefix("#: "))
            .map(|line| format!("{line}\n"))
            .collect();
        assert_ne!(loaded(&examples).unwrap(), Config::default());
        for key in KEYS {
            let all = format!("\n{examples}{example}");
            let is_there = all.contains(&format!("\n{key} = ")) || all.contains(&format!("\n[[{key}]]"));
            assert!(is_there, "{key} is not in docs/span.toml");
        }
    }
}

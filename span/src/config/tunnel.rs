//! `[[tunnel]]`.

use std::net::SocketAddr;

use canhub::config_file::{self, DeTable, DeValue, Spanned, Wrong, shown};

use crate::tunnel::{Over, Tunnel};

const KEYS: [&str; 4] = ["span", "kind", "local", "remote"];
/// cannelloni's port.
const PORT: u16 = 20_000;

/// Parses a table.
pub(super) fn parse(entry: &Spanned<DeValue<'_>>, table: &DeTable<'_>) -> Result<Tunnel, Wrong> {
    let (mut span, mut kind, mut local, mut remote) = (None, None, None, None);
    for (key, value) in config_file::entries(table) {
        let wrong = |must: &str| {
            Wrong::new(value, format!("{} of a tunnel = {}: {must}", key.get_ref(), shown(value)))
        };
        let text = value.get_ref().as_str().ok_or_else(|| wrong("must be in quotes"))?;
        let address = || {
            let must = "must be an address with or without a port (20000): \"192.168.1.50:20000\"";
            address(text).ok_or_else(|| wrong(must))
        };
        match key.get_ref().as_ref() {
            "span" => span = Some(text.parse().map_err(|why: String| wrong(&why))?),
            "kind" => match text {
                known @ ("udp" | "tcp") => kind = Some(known.to_owned()),
                _ => return Err(wrong("must be \"udp\" or \"tcp\"")),
            },
            "local" => local = Some(address()?),
            "remote" => remote = Some(address()?),
            _ => return Err(Wrong::unknown_key(key, " of a tunnel", &KEYS)),
        }
    }
    let lacks = |key: &str, why: &str| Wrong::new(entry, format!("a tunnel needs {key}{why}"));
    let remote: SocketAddr =
        remote.ok_or_else(|| lacks("remote", ", the address of the other side: nobody else is heard"))?;
    let over = match (kind.ok_or_else(|| lacks("kind", ", \"udp\" or \"tcp\""))?.as_str(), local) {
        ("udp", Some(local)) => Over::Udp { local, remote },
        ("udp", None) => return Err(lacks("local", " with kind = \"udp\": where packets arrive")),
        (_, Some(local)) => Over::TcpFrom { local, remote: remote.ip() },
        (_, None) => Over::TcpTo(remote),
    };
    Ok(Tunnel { span: span.ok_or_else(|| lacks("span", ""))?, over })
}

fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, PORT)))
}

#[cfg(test)]
mod tests {
    use super::{super::tests::loaded, *};

    fn over(text: &str) -> Over {
        let config = loaded(&format!("[[tunnel]]\nspan = 'body'\n{text}\n")).unwrap();
        assert_eq!(config.tunnels[0].span.as_str(), "body");
        config.tunnels[0].over
    }

    #[test]
    fn a_tunnel_is_udp_or_either_side_of_tcp() {
        let (local, remote) = ("0.0.0.0:20000".parse().unwrap(), "10.0.0.9:7".parse().unwrap());
        assert_eq!(
            over("kind = 'udp'\nlocal = '0.0.0.0'\nremote = '10.0.0.9:7'"),
            Over::Udp { local, remote }
        );
        assert_eq!(over("kind = 'tcp'\nremote = '10.0.0.9:7'"), Over::TcpTo(remote));
        let from = Over::TcpFrom { local, remote: remote.ip() };
        assert_eq!(over("kind = 'tcp'\nlocal = '0.0.0.0:20000'\nremote = '10.0.0.9'"), from);
    }

    #[test]
    fn errors_name_the_line_and_what_is_allowed() {
        for (text, line, words) in [
            ("tunnel = 3", 1, "tunnel = 3: must be tables: [[tunnel]]"),
            ("tunnel = [3]", 1, "tunnel = 3: must be tables: [[tunnel]]"),
            ("\n[[tunnel]]\nkind = 'udp'", 2, "a tunnel needs remote, the address of the other side"),
            ("[[tunnel]]\nremote = '::1'", 1, "a tunnel needs kind, \"udp\" or \"tcp\""),
            ("[[tunnel]]\nremote = '::1'\nkind = 'udp'", 1, "a tunnel needs local with kind = \"udp\""),
            ("[[tunnel]]\nremote = '::1'\nkind = 'tcp'", 1, "a tunnel needs span"),
            ("[[tunnel]]\nkind = 'sctp'", 2, "kind of a tunnel = \"sctp\": must be \"udp\" or \"tcp\""),
            ("[[tunnel]]\nspan = 'a b'", 2, "span of a tunnel = \"a b\": must be 1 to 32 letters"),
            ("[[tunnel]]\nremote = 'bench'", 2, "remote of a tunnel = \"bench\": must be an address"),
            ("[[tunnel]]\nlocal = 3", 2, "local of a tunnel = 3: must be in quotes"),
            ("[[tunnel]]\nremot = '::1'", 2, "unknown key remot of a tunnel (did you mean remote?)"),
        ] {
            let why = loaded(text).unwrap_err();
            assert!(why.starts_with(&format!("DIR/span.toml line {line}: ")), "{text:?}: {why}");
            assert!(why.contains(words), "{text:?}: {why}");
        }
    }
}

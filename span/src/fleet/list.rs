//! The fleet list: which hosts there are, on which spans each may speak and listen, and who was revoked.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use super::{HostName, SpanName, time};

/// The list, as signed by the fleet's CA.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    /// The fleet: the fingerprint of its CA.
    pub fleet: String,
    /// Goes up with each change; of two lists the higher one counts.
    pub version: u64,
    /// The hosts, sorted by name.
    pub hosts: Vec<Host>,
    /// Certificates that were revoked, until they would have expired anyway.
    pub revoked: Vec<Revoked>,
}

/// A host of the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name.
    pub name: HostName,
    /// Where it may speak and listen.
    pub spans: Spans,
    /// Its certificates: more than one from a renewal until the older one expires.
    pub certificates: Vec<Certificate>,
}

/// A certificate of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Its serial number, in hex.
    pub serial: String,
    /// Seconds since 1970.
    pub expires: i64,
}

/// A certificate that has no rights any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoked {
    /// The host that had it.
    pub name: HostName,
    /// The certificate.
    #[serde(flatten)]
    pub certificate: Certificate,
    /// When it was revoked, in seconds since 1970.
    pub at: i64,
}

/// The spans on which a host may speak and listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub enum Spans {
    /// On all.
    All,
    /// On these; none is possible.
    Named(BTreeSet<SpanName>),
}

/// How [`Spans::All`] is written.
const ALL: &str = "*";

impl Spans {
    /// Whether this span is one of them.
    pub fn contains(&self, span: &str) -> bool {
        match self {
            Self::All => true,
            Self::Named(names) => names.iter().any(|name| name.as_str() == span),
        }
    }
}

impl fmt::Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("all spans"),
            Self::Named(names) if names.is_empty() => f.write_str("no span"),
            Self::Named(names) => {
                let names: Vec<_> = names.iter().map(SpanName::as_str).collect();
                f.write_str(&names.join(", "))
            }
        }
    }
}

impl TryFrom<Vec<String>> for Spans {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        match &*names {
            [all] if all == ALL => Ok(Self::All),
            _ => names.into_iter().map(TryFrom::try_from).collect::<Result<_, _>>().map(Self::Named),
        }
    }
}

impl From<Spans> for Vec<String> {
    fn from(spans: Spans) -> Self {
        match spans {
            Spans::All => vec![ALL.to_owned()],
            Spans::Named(names) => names.into_iter().map(String::from).collect(),
        }
    }
}

/// The name in a host's certificate (CN): with the serial number, so that a right belongs to one certificate. A colon is
/// in no name that a public certificate authority would sign.
pub fn common_name(host: &HostName, serial: &str) -> String {
    format!("{host}:{serial}")
}

impl List {
    /// The entry of a host.
    pub fn host(&self, name: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.name.as_str() == name)
    }

    /// Whether a host may speak and listen on a span.
    pub fn may(&self, host: &str, span: &str) -> bool {
        self.host(host).is_some_and(|host| host.spans.contains(span))
    }

    /// The names in the certificates of a host ([`common_name`]): its rights belong to exactly these.
    pub fn common_names(&self, host: &str) -> Vec<String> {
        let names = |host: &Host| {
            host.certificates.iter().map(|certificate| common_name(&host.name, &certificate.serial)).collect()
        };
        self.host(host).map(names).unwrap_or_default()
    }

    /// Why a host with this certificate is refused: at all, or on a span. `now` is in seconds since 1970.
    pub fn refusal(&self, host: &str, serial: &str, span: Option<&str>, now: i64) -> Option<String> {
        let version = self.version;
        if let Some(revoked) = self.revoked.iter().find(|revoked| revoked.certificate.serial == serial) {
            let day = time::day(revoked.at);
            return Some(format!(
                "{host} was revoked on {day}; to let it in again: canhub-span invite {host}"
            ));
        }
        let Some(entry) = self.host(host) else {
            return Some(format!(
                "{host} is not in the fleet list (version {version}); to let it in: canhub-span invite {host}"
            ));
        };
        let Some(certificate) = entry.certificates.iter().find(|certificate| certificate.serial == serial)
        else {
            return Some(format!(
                "the certificate of {host} is not in the fleet list (version {version}); \
                 to make a new one: canhub-span renew {host}"
            ));
        };
        if certificate.expires <= now {
            let day = time::day(certificate.expires);
            return Some(format!(
                "the certificate of {host} expired on {day}; to make a new one: canhub-span renew {host}"
            ));
        }
        let span = span.filter(|span| !entry.spans.contains(span))?;
        Some(format!(
            "{host} may not speak on span {span} (fleet list version {version}); \
             to allow it: canhub-span allow {host} --span {span}"
        ))
    }

    /// Adds a host, or a certificate to the host of this name.
    pub(super) fn add(&mut self, name: &HostName, spans: Option<Spans>, certificate: Certificate) {
        match self.hosts.iter_mut().find(|host| host.name == *name) {
            Some(host) => {
                host.certificates.push(certificate);
                if let Some(spans) = spans {
                    host.spans = spans;
                }
            }
            None => {
                let spans = spans.unwrap_or(Spans::All);
                self.hosts.push(Host { name: name.clone(), spans, certificates: vec![certificate] });
                self.hosts.sort_by(|a, b| a.name.cmp(&b.name));
            }
        }
    }

    /// Removes a host, if there is one of this name, and revokes its certificates.
    pub(super) fn revoke(&mut self, name: &HostName, now: i64) {
        let Some(at) = self.hosts.iter().position(|host| host.name == *name) else { return };
        let Host { name, certificates, .. } = self.hosts.remove(at);
        let revoked = |certificate| Revoked { name: name.clone(), certificate, at: now };
        self.revoked.extend(certificates.into_iter().map(revoked));
    }

    /// Removes what expired: revoked certificates, and those of a host that has a newer one.
    pub(super) fn tidy(&mut self, now: i64) {
        self.revoked.retain(|revoked| revoked.certificate.expires > now);
        for host in &mut self.hosts {
            let newest = host.certificates.iter().map(|certificate| certificate.expires).max();
            host.certificates
                .retain(|certificate| certificate.expires > now || Some(certificate.expires) == newest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(serial: &str, expires: i64) -> Certificate {
        Certificate { serial: serial.to_owned(), expires }
    }

    fn list() -> List {
        let mut list = List { fleet: "f".to_owned(), version: 7, hosts: Vec::new(), revoked: Vec::new() };
        list.add(
            &"cell".parse().unwrap(),
            Some(vec!["body".to_owned()].try_into().unwrap()),
            certificate("c1", 1000),
        );
        list.add(&"bench".parse().unwrap(), None, certificate("b1", 1000));
        list
    }

    #[test]
    fn the_rights_are_per_host_and_span_and_none_by_default() {
        let list = list();
        assert!(list.may("bench", "body") && list.may("bench", "seat"));
        assert!(list.may("cell", "body") && !list.may("cell", "seat"));
        assert!(!list.may("stranger", "body"));
        assert_eq!(list.common_names("cell"), ["cell:c1"]);
        assert!(list.common_names("stranger").is_empty());
        let json = serde_json::to_string(&list.hosts).unwrap();
        assert!(json.contains(r#""spans":["*"]"#) && json.contains(r#""spans":["body"]"#), "{json}");
        assert_eq!(serde_json::from_str::<Vec<Host>>(&json).unwrap(), list.hosts);
        assert_eq!(list.hosts[0].name.as_str(), "bench", "sorted");
    }

    #[test]
    fn a_refusal_says_why_and_what_to_do() {
        let mut list = list();
        assert_eq!(list.refusal("cell", "c1", Some("body"), 999), None);
        assert_eq!(list.refusal("cell", "c1", None, 999), None);
        let why = |list: &List, host, serial, span, now| list.refusal(host, serial, span, now).unwrap();
        assert_eq!(
            why(&list, "cell", "c1", Some("seat"), 0),
            "cell may not speak on span seat (fleet list version 7); to allow it: canhub-span allow cell --span seat"
        );
        assert!(why(&list, "cell", "c1", None, 1000).contains("expired on 1970-01-01"));
        assert!(why(&list, "cell", "c2", None, 0).contains("canhub-span renew cell"));
        assert!(why(&list, "rack", "r1", None, 0).contains("is not in the fleet list (version 7)"));
        list.revoke(&"cell".parse().unwrap(), 86_400);
        assert!(why(&list, "cell", "c1", Some("body"), 0).starts_with("cell was revoked on 1970-01-02;"));
        // Invited again under the same name: the old certificate stays revoked.
        list.add(&"cell".parse().unwrap(), None, certificate("c2", 1000));
        assert_eq!(list.common_names("cell"), ["cell:c2"]);
        assert!(why(&list, "cell", "c1", None, 0).contains("revoked"));
        assert_eq!(list.refusal("cell", "c2", Some("seat"), 0), None);
    }

    #[test]
    fn both_certificates_count_from_a_renewal_until_the_older_one_expires() {
        let mut list = list();
        let cell = "cell".parse().unwrap();
        list.add(&cell, None, certificate("c2", 2000));
        assert_eq!(list.common_names("cell"), ["cell:c1", "cell:c2"]);
        assert!(!list.may("cell", "seat"), "a renewal keeps the rights");
        list.tidy(1500);
        assert_eq!(list.common_names("cell"), ["cell:c2"]);
        list.tidy(9000);
        assert_eq!(
            list.common_names("cell"),
            ["cell:c2"],
            "the last one is kept: it is expired, not unknown"
        );
        list.revoke(&cell, 100);
        list.tidy(1999);
        assert_eq!(list.revoked.len(), 1);
        list.tidy(2000);
        assert!(list.revoked.is_empty(), "an expired certificate needs no revocation");
    }
}

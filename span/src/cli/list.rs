//! `canhub-span list`.

use std::fmt::Write as _;

use clap::Args;

use super::places::Places;
use crate::fleet::{Authority, List, Store, time};

/// Show the fleet list: hosts, their spans, and until when their certificates are valid
///
/// `canhub hosts` shows which of them are online.
#[derive(Debug, Args)]
pub(super) struct ListCommand {
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Places,
}

impl ListCommand {
    pub(super) fn run(self) -> Result<String, String> {
        let store = Store::new(self.places.settings()?.state);
        let list = match Authority::exists(&self.places.ca) {
            true => self.places.authority(&store)?.list().clone(),
            false => store.list()?,
        };
        let this = store.identity()?.map(|identity| identity.certificate.host);
        match self.json {
            true => serde_json::to_string_pretty(&*list)
                .map(|json| json + "\n")
                .map_err(|err| format!("cannot write JSON: {err}")),
            false => Ok(table(&list, this.as_ref().map(|host| host.as_str()))),
        }
    }
}

fn table(list: &List, this: Option<&str>) -> String {
    let mut text = format!("Fleet {}, list version {}\n", list.fleet, list.version);
    let width = list.hosts.iter().map(|host| host.name.as_str().len()).max().unwrap_or(0).max("HOST".len());
    let _ = writeln!(text, "{:width$}  VALID UNTIL  SPANS", "HOST");
    for host in &list.hosts {
        let until = host.certificates.iter().map(|certificate| certificate.expires).max().map(time::day);
        let mark = if this == Some(host.name.as_str()) { " (this host)" } else { "" };
        let _ =
            writeln!(text, "{:width$}  {:11}  {}{mark}", host.name, until.unwrap_or_default(), host.spans);
    }
    for revoked in &list.revoked {
        let _ = writeln!(text, "{} was revoked on {}", revoked.name, time::day(revoked.at));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{super::places::tests::places, *};
    use crate::fleet::Invitation;

    #[test]
    fn the_list_shows_rights_ends_and_who_was_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let show = |json| ListCommand { json, places: places.clone() }.run();
        assert!(show(false).unwrap_err().contains("this host is in no fleet"));
        let mut ca = Authority::create(&places.ca, 0).unwrap();
        let own = ca.issue(&"bench".parse().unwrap(), None, 0).unwrap();
        let body = vec!["body".to_owned()].try_into().unwrap();
        ca.issue(&"door-controller".parse().unwrap(), Some(body), 0).unwrap();
        ca.issue(&"rack".parse().unwrap(), None, 0).unwrap();
        ca.revoke(&"rack".parse().unwrap(), 86_400).unwrap();
        Store::new(dir.path().join("state"))
            .join(&Invitation::new(own, ca.certificate(), ca.list(), Vec::new()))
            .unwrap();
        let fleet = ca.certificate().fingerprint().to_owned();
        drop(ca);
        assert_eq!(
            show(false).unwrap(),
            format!(
                "Fleet {fleet}, list version 5\n\
                 HOST             VALID UNTIL  SPANS\n\
                 bench            1971-01-01   all spans (this host)\n\
                 door-controller  1971-01-01   body\n\
                 rack was revoked on 1970-01-02\n"
            )
        );
        let json: List = serde_json::from_str(&show(true).unwrap()).unwrap();
        assert_eq!((json.version, json.fleet), (5, fleet));
    }
}

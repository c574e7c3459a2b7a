//! `canhub-span allow` and `canhub-span revoke`.

use clap::Args;

use super::{invite::spread, places::Places};
use crate::fleet::{HostName, SpanName, Spans, Store, time};

/// Set the spans on which a host may speak and listen
#[derive(Debug, Args)]
pub(super) struct Allow {
    /// Name of the host
    host: HostName,
    /// One of the spans; may be repeated. Spans that are not named are taken away
    #[arg(long = "span", value_name = "NAME", required_unless_present = "all")]
    spans: Vec<SpanName>,
    /// All spans
    #[arg(long, conflicts_with = "spans")]
    all: bool,
    #[command(flatten)]
    places: Places,
}

/// Take all rights from a host
///
/// The other hosts are told by the service of this host, and tell each other. To let the host in again, invite it again.
#[derive(Debug, Args)]
pub(super) struct Revoke {
    /// Name of the host
    host: HostName,
    #[command(flatten)]
    places: Places,
}

impl Allow {
    pub(super) fn run(self) -> Result<String, String> {
        let store = Store::new(self.places.settings()?.state);
        let mut ca = self.places.authority(&store)?;
        let spans = match self.all {
            true => Spans::All,
            false => Spans::Named(self.spans.into_iter().collect()),
        };
        ca.allow(&self.host, spans.clone(), time::now())?;
        spread(&store, &ca)?;
        Ok(format!(
            "{} may speak and listen on {spans}; fleet list version {}.\n",
            self.host,
            ca.list().version
        ))
    }
}

impl Revoke {
    pub(super) fn run(self) -> Result<String, String> {
        let store = Store::new(self.places.settings()?.state);
        let mut ca = self.places.authority(&store)?;
        ca.revoke(&self.host, time::now())?;
        spread(&store, &ca)?;
        Ok(format!(
            "{} has no rights any more, as soon as the other hosts have fleet list version {}.\n",
            self.host,
            ca.list().version
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::places::tests::places, *};
    use crate::fleet::{Authority, Invitation};

    #[test]
    fn rights_change_here_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let store = Store::new(dir.path().join("state"));
        let mut ca = Authority::create(&places.ca, 0).unwrap();
        ca.issue(&"cell".parse().unwrap(), None, 0).unwrap();
        let own = ca.issue(&"bench".parse().unwrap(), None, 0).unwrap();
        store.join(&Invitation::new(own, ca.certificate(), ca.list(), Vec::new())).unwrap();
        drop(ca);
        let allow = |host: &str, spans: &[&str], all| {
            let spans = spans.iter().map(|span| span.parse().unwrap()).collect();
            Allow { host: host.parse().unwrap(), spans, all, places: places.clone() }.run()
        };
        assert_eq!(
            allow("cell", &["body", "seat"], false).unwrap(),
            "cell may speak and listen on body, seat; fleet list version 4.\n"
        );
        assert!(store.list().unwrap().may("cell", "seat") && !store.list().unwrap().may("cell", "door"));
        assert!(allow("cell", &[], true).unwrap().starts_with("cell may speak and listen on all spans"));
        assert!(
            allow("rack", &[], true)
                .unwrap_err()
                .contains("no host rack in this fleet; its hosts: bench, cell")
        );
        let revoke = || Revoke { host: "cell".parse().unwrap(), places: places.clone() }.run();
        assert!(revoke().unwrap().starts_with("cell has no rights any more"));
        assert!(store.list().unwrap().host("cell").is_none());
        assert!(revoke().unwrap_err().contains("no host cell"));
    }
}

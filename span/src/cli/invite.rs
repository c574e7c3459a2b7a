//! `canhub-span invite` and `canhub-span renew`.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::PathBuf,
};

use clap::Args;

use super::{
    START, note,
    places::{Places, parse_connect},
};
use crate::{
    config::Config,
    fleet::{Authority, HostName, Invitation, SpanName, Spans, Store, time, write_secret},
};

/// Let a host in: print what `canhub-span join` takes there
///
/// The invitation holds the host's private key: whoever reads it can pose as that host until it is revoked. Treat it like
/// a password, for example:
///
///   canhub-span invite cell | ssh cell sudo canhub-span join
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub(super) struct Invite {
    /// Name of the host in the fleet
    host: HostName,
    /// Span on which the host may speak and listen; may be repeated [default: all spans]
    #[arg(long = "span", value_name = "NAME")]
    spans: Vec<SpanName>,
    #[command(flatten)]
    hand_out: HandOut,
    #[command(flatten)]
    places: Places,
}

/// Renew the certificate of a host, or of this one
///
/// Certificates are valid for a year. For another host this prints an invitation, which that host takes with
/// `canhub-span join`; it keeps its rights, and its old certificate works until it expires.
#[derive(Debug, Args)]
pub(super) struct Renew {
    /// Name of the host [default: this host]
    host: Option<HostName>,
    #[command(flatten)]
    hand_out: HandOut,
    #[command(flatten)]
    places: Places,
}

/// How an invitation gets to its host.
#[derive(Debug, Args)]
struct HandOut {
    /// Where the host finds others, with or without a port (7447); may be repeated [default: the address of this host]
    #[arg(long, value_name = "ADDRESS", value_parser = parse_connect)]
    connect: Vec<String>,
    /// Write the invitation to a file that only you can read
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Invite {
    pub(super) fn run(self) -> Result<String, String> {
        let host = &self.host;
        let settings = self.places.settings()?;
        let store = Store::new(&settings.state);
        let mut ca = self.places.authority(&store)?;
        if ca.list().host(host.as_str()).is_some() {
            return Err(format!(
                "{host} is in the fleet already; for a new certificate: canhub-span renew {host}; \
                 if it is another machine, first: canhub-span revoke {host}"
            ));
        }
        let spans = match self.spans.is_empty() {
            true => Spans::All,
            false => Spans::Named(self.spans.into_iter().collect()),
        };
        let identity = ca.issue(host, Some(spans), time::now())?;
        spread(&store, &ca)?;
        self.hand_out.hand_out(host, identity, &ca, &settings)
    }
}

impl Renew {
    pub(super) fn run(self) -> Result<String, String> {
        let settings = self.places.settings()?;
        let store = Store::new(&settings.state);
        let mut ca = self.places.authority(&store)?;
        let this = store.identity()?.map(|identity| identity.certificate.host);
        let host =
            self.host.or_else(|| this.clone()).ok_or("this host is in no fleet; name the host to renew")?;
        ca.known(&host)?;
        let identity = ca.issue(&host, None, time::now())?;
        if this.as_ref() != Some(&host) {
            spread(&store, &ca)?;
            return self.hand_out.hand_out(&host, identity, &ca, &settings);
        }
        let renewed = store.join(&Invitation::new(identity, ca.certificate(), ca.list(), Vec::new()))?;
        Ok(format!("The certificate of {host} is valid until {}.\n", time::day(renewed.expires)))
    }
}

/// Gives the newest list to the service on this host, which passes it on.
pub(super) fn spread(store: &Store, ca: &Authority) -> Result<(), String> {
    let in_it = store.identity()?.is_some_and(|identity| identity.ca == *ca.certificate());
    if in_it {
        store.offer(ca.list().text())?;
    }
    Ok(())
}

impl HandOut {
    fn hand_out(
        self,
        host: &HostName,
        identity: String,
        ca: &Authority,
        settings: &Config,
    ) -> Result<String, String> {
        let connect = match self.connect.is_empty() {
            true => own_addresses(settings),
            false => self.connect,
        };
        if connect.is_empty() {
            note(&format!(
                "{host} is not told where to find others: set listen in the settings of this host, or --connect"
            ));
        }
        let text = Invitation::new(identity, ca.certificate(), ca.list(), connect.clone()).encode()?;
        if !connect.is_empty() {
            note(&format!("{host} will connect to {} (--connect names others).", connect.join(", ")));
        }
        note(&format!(
            "Who reads this invitation can pose as {host}: treat it like a password, and delete it afterwards."
        ));
        note(&format!(
            "On {host} type:\n  canhub-span join   (then paste the invitation, or: canhub-span join FILE)\n  {START}"
        ));
        match self.output {
            None => Ok(text),
            Some(file) => write_secret(&file, &text).map(|()| String::new()),
        }
    }
}

/// The addresses on which other hosts reach this one, as far as that can be told.
fn own_addresses(settings: &Config) -> Vec<String> {
    let reachable = |listen: &SocketAddr| {
        let ip = if listen.ip().is_unspecified() { own_address(listen.ip())? } else { listen.ip() };
        Some(SocketAddr::new(ip, listen.port()).to_string())
    };
    let mut addresses: Vec<_> = settings.listen.iter().filter_map(reachable).collect();
    addresses.dedup();
    addresses
}

/// The address from which this host reaches the internet. Nothing is sent: connecting a UDP socket only looks up the route.
fn own_address(family: IpAddr) -> Option<IpAddr> {
    let (any, far) = match family {
        IpAddr::V4(_) => ("0.0.0.0:0", "192.0.2.1:9"),
        IpAddr::V6(_) => ("[::]:0", "[2001:db8::1]:9"),
    };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(far).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

#[cfg(test)]
mod tests {
    use super::{super::places::tests::places, *};

    fn hand_out(connect: &[&str]) -> HandOut {
        HandOut { connect: connect.iter().map(|one| (*one).to_owned()).collect(), output: None }
    }

    #[test]
    fn a_host_is_invited_once_and_renewed_often() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let store = Store::new(dir.path().join("state"));
        let invite = |host: &str, spans: &[&str]| {
            let spans = spans.iter().map(|span| span.parse().unwrap()).collect();
            Invite {
                host: host.parse().unwrap(),
                spans,
                hand_out: hand_out(&["bench:7447"]),
                places: places.clone(),
            }
            .run()
        };
        let renew = |host: Option<&str>| {
            let host = host.map(|host| host.parse().unwrap());
            Renew { host, hand_out: hand_out(&[]), places: places.clone() }.run()
        };
        assert!(invite("cell", &[]).unwrap_err().contains("use the host where `canhub-span init` was typed"));

        let mut ca = Authority::create(&places.ca, 0).unwrap();
        let own = ca.issue(&"bench".parse().unwrap(), None, 0).unwrap();
        store.join(&Invitation::new(own, ca.certificate(), ca.list(), Vec::new())).unwrap();
        drop(ca);
        let invitation = Invitation::decode(&invite("cell", &["body"]).unwrap()).unwrap();
        assert_eq!(
            (invitation.host().unwrap().as_str(), &*invitation.connect),
            ("cell", &["bench:7447".to_owned()][..])
        );
        let list = store.list().unwrap();
        assert!(list.may("cell", "body") && !list.may("cell", "seat"), "the service here knows at once");
        assert!(invite("cell", &[]).unwrap_err().contains("canhub-span renew cell"));

        let renewal = Invitation::decode(&renew(Some("cell")).unwrap()).unwrap();
        assert_eq!(renewal.host().unwrap().as_str(), "cell");
        assert_eq!(store.list().unwrap().common_names("cell").len(), 2);
        assert!(!store.list().unwrap().may("cell", "seat"), "the rights stay");
        assert!(renew(Some("rack")).unwrap_err().contains("no host rack"));
        let before = store.identity().unwrap();
        assert!(renew(None).unwrap().starts_with("The certificate of bench is valid until 20"));
        assert_ne!(store.identity().unwrap(), before);
    }

    #[test]
    fn an_invitation_names_addresses_that_others_can_reach() {
        let listen = ["192.0.2.7:9", "[2001:db8::7]:7447"].map(|address| address.parse().unwrap()).to_vec();
        let settings = Config { listen, ..Config::default() };
        assert_eq!(own_addresses(&settings), ["192.0.2.7:9", "[2001:db8::7]:7447"]);
        let any = Config { listen: vec!["0.0.0.0:7447".parse().unwrap()], ..Config::default() };
        for address in own_addresses(&any) {
            assert!(!address.starts_with("0.0.0.0"), "{address}");
        }
    }
}

//! Why connections fail. Zenoh says so only in its log, with advice that does not fit; this takes it from there.

use std::{fmt, sync::Arc};

use parking_lot::RwLock;
use tracing::{
    Event as LogEvent, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    filter::{Filtered, Targets},
    layer::Context,
    registry::LookupSpan,
};

use crate::engine::{Event, Sink};

/// The part that accepts connections and logs those that it refuses.
const ACCEPTS: &str = "zenoh_link_tls::unicast";
/// The part that connects and logs what fails.
const CONNECTS: &str = "zenoh::net::runtime::orchestrator";

/// Listens to zenoh's log for connections that fail, as a layer of the program's log.
#[derive(Clone, Default)]
pub struct Troubles(Arc<RwLock<Option<Sink>>>);

impl fmt::Debug for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Troubles")
    }
}

impl Troubles {
    /// The directive that keeps zenoh's own lines out of the log.
    pub const QUIET: &str = "zenoh=off";

    /// From now on they are told to this one.
    pub fn tell(&self, sink: Sink) {
        *self.0.write() = Some(sink);
    }

    /// The layer.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> Filtered<Self, Targets, S> {
        let targets = Targets::new().with_target(ACCEPTS, Level::WARN).with_target(CONNECTS, Level::DEBUG);
        self.clone().with_filter(targets)
    }
}

impl<S: Subscriber> Layer<S> for Troubles {
    fn on_event(&self, event: &LogEvent<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        let trouble = match event.metadata().target() {
            ACCEPTS => accepting(&line.0),
            CONNECTS => connecting(&line.0),
            _ => None,
        };
        if let (Some(trouble), Some(sink)) = (trouble, &*self.0.read()) {
            sink(trouble);
        }
    }
}

/// The text of a log line.
#[derive(Default)]
struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// `REASON. Hint: increase the system open file limit.`
fn accepting(line: &str) -> Option<Event> {
    let (reason, _) = line.split_once(". Hint: ")?;
    Some(Event::Refused { address: None, reason: plain(reason) })
}

/// `Unable to connect to configured peer tls/ADDRESS! REASON. Retry in 200ms.`
fn connecting(line: &str) -> Option<Event> {
    let rest = line.strip_prefix("Unable to connect to configured peer ")?;
    let (peer, rest) = rest.split_once("! ")?;
    let (reason, _) = rest.rsplit_once(". Retry in ")?;
    let address = peer.strip_prefix("tls/").unwrap_or(peer);
    let address = address.split(['?', '#', ';']).next().unwrap_or(address);
    let (address, reason) = (address.to_owned(), plain(reason));
    let is_refused = CERTIFICATES.iter().any(|(_, words)| *words == reason);
    Some(match is_refused {
        true => Event::Refused { address: Some(address), reason },
        false => Event::Unreachable { address, reason },
    })
}

/// The reason in one of zenoh's errors, without the places in its source: `… at /…/x.rs:12.` and `Caused by` chains. What
/// TLS says about certificates is in plain words.
pub(super) fn plain(error: &str) -> String {
    if let Some((_, words)) = CERTIFICATES.iter().find(|(tls, _)| tls.iter().any(|tls| error.contains(tls))) {
        return (*words).to_owned();
    }
    if let Some((_, words)) = OUTAGES.iter().find(|(zenoh, _)| error.contains(zenoh)) {
        return (*words).to_owned();
    }
    let mut reason = error;
    // The innermost error is the reason; the others say where it came up.
    if let Some((_, cause)) = reason.rsplit_once(" - Caused by ") {
        reason = cause;
    }
    let end = reason.find(" at /").unwrap_or(reason.len());
    reason = &reason[..end];
    // `Can not create a new TLS link bound to …: [10.0.0.2:7447: Connection refused …`
    if let Some((_, cause)) = reason.split_once(": [").and_then(|(_, causes)| causes.split_once(": ")) {
        reason = cause;
    }
    reason.trim_end_matches([']', ' ']).trim_end_matches('.').to_owned()
}

/// What rustls says, and what it means here. An alert is what the other end found.
const CERTIFICATES: [(&[&str], &str); 7] = [
    (
        &["alert: UnknownCA", "alert: DecryptError", "alert: BadCertificate", "alert: CertificateUnknown"],
        "it says that the certificate of this host is not of its fleet",
    ),
    (&["alert: CertificateExpired"], "it says that the certificate of this host has expired"),
    (&["alert: CertificateRequired"], "it wants a certificate, and this host showed none"),
    (&["peer certificate: certificate expired"], "its certificate has expired"),
    (
        &["peer certificate: certificate not valid yet"],
        "its certificate is not valid yet: compare the clocks of both hosts",
    ),
    (&["UnknownIssuer", "BadSignature"], "its certificate is not of this host's fleet"),
    (&["sent no certificates"], "it has no certificate of a fleet"),
];

/// What is usual during an outage and just after it.
const OUTAGES: [(&str, &str); 2] = [
    ("deadline has elapsed", "it does not answer"),
    ("reason MAX_LINKS", "it has not noticed yet that the former connection is gone"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_zenohs_log_are_understood() {
        let line = "Unable to connect to configured peer tls/10.0.0.2:7447! Can not create a new TLS link bound to DnsName(\"x\"): \
            [10.0.0.2:7447: Connection refused (os error 111)] at /src/unicast.rs:12. \
            Retry in 200ms.";
        let expected = Event::Unreachable {
            address: "10.0.0.2:7447".to_owned(),
            reason: "Connection refused (os error 111)".to_owned(),
        };
        assert_eq!(connecting(line), Some(expected));
        for (error, reason) in [
            ("deadline has elapsed at /src/unicast/manager.rs:903.", "it does not answer"),
            (
                "Received a close message (reason MAX_LINKS) in response to an OpenSyn on: TransportLinkUnicast { link: \
                 Link { src: tls/10.0.0.1:5, dst: tls/10.0.0.2:7447 } } at /src/unicast/establishment/open.rs:520.",
                "it has not noticed yet that the former connection is gone",
            ),
        ] {
            let line =
                format!("Unable to connect to configured peer tls/10.0.0.2:7447! {error}. Retry in 200ms.");
            let (address, reason) = ("10.0.0.2:7447".to_owned(), reason.to_owned());
            assert_eq!(connecting(&line), Some(Event::Unreachable { address, reason }));
        }
        let line = "invalid peer certificate: BadSignature. Hint: increase the system open file limit.";
        let reason = "its certificate is not of this host's fleet".to_owned();
        assert_eq!(accepting(line), Some(Event::Refused { address: None, reason }));
        assert_eq!(accepting("Ready"), None);
        assert_eq!(connecting("Try to connect"), None);
        let line = "Unable to connect to configured peer tls/a:1! received fatal alert: CertificateExpired. Retry in 1s.";
        assert!(matches!(connecting(line), Some(Event::Refused { address: Some(_), .. })));
    }
}

//! What hosts tell each other about themselves: JSON on the topics [`Hello`](crate::engine::Topic::Hello) and
//! [`Refusal`](crate::engine::Topic::Refusal).
//!
//! A host sends a hello twice a second, and at once when something changes. Each tells the clock offset too: it repeats
//! when the last hellos of the others came, so that they know the way there and back.

use canhub::span::protocol::{Frames, TEXT_MAX, UnixSeconds};
use serde::{Deserialize, Serialize};

use crate::flow::{Moment, Ping, Pong};

/// The version of what hosts tell each other. Hosts of two versions refuse each other.
pub const PROTOCOL: u32 = if cfg!(feature = "another-protocol") { 2 } else { 1 };
/// The most bytes of a hello: 100 spans and 255 hosts take half of it.
pub const BYTES_MAX: usize = 64 << 10;
/// The most bytes of a refusal.
pub const REFUSAL_MAX: usize = 4 * TEXT_MAX;

/// How a host is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// A random number of this run of its `canhub-span`.
    pub instance: u64,
    /// How long it has been running, in milliseconds. Of two hosts of one name, the one that started later is refused.
    #[serde(default)]
    pub uptime_ms: u64,
    /// The version of its `canhub-span`.
    #[serde(default)]
    pub version: String,
    /// When its certificate expires.
    #[serde(default)]
    pub certificate_expires: Option<UnixSeconds>,
    /// The version of its fleet list.
    #[serde(default)]
    pub list: u64,
    /// When it was sent, by the `CLOCK_BOOTTIME` of the sender, in nanoseconds.
    #[serde(default)]
    pub sent: u64,
    /// The same by its wall clock, in nanoseconds since 1970.
    #[serde(default)]
    pub wall: u64,
    /// It is about to leave the fleet.
    #[serde(default)]
    pub leaving: bool,
    /// The spans on which it has a bus.
    #[serde(default)]
    pub spans: Vec<OnSpan>,
    /// When the last hello of each other host came.
    #[serde(default)]
    pub echoes: Vec<Echo>,
}

/// A host's bus on a span.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnSpan {
    /// The span.
    pub span: String,
    /// The adapter that carries the bus there, if one does.
    #[serde(default)]
    pub adapter: Option<String>,
    /// Whether it accepts other hosts with adapters.
    #[serde(default)]
    pub bridge: bool,
    /// The frames that the bus carries there.
    #[serde(default)]
    pub frames: Option<Frames>,
}

/// That a hello came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Echo {
    /// The instance whose hello it was.
    pub instance: u64,
    /// Its [`Hello::sent`].
    pub sent: u64,
    /// When it came, by the clock of the host that sends the echo.
    pub received: u64,
}

/// That a host is refused, told to it by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which host.
    pub host: String,
    /// The serial number of its certificate.
    pub serial: String,
    /// Only this run of its `canhub-span`, because another host has the same name.
    #[serde(default)]
    pub instance: Option<u64>,
    /// Why: one sentence.
    pub reason: String,
}

impl Hello {
    /// Its bus on a span.
    pub fn on(&self, span: &str) -> Option<&OnSpan> {
        self.spans.iter().find(|on| on.span == span)
    }

    /// What it says about the clocks: when our hello went there, and when this one came back.
    pub fn answer_to(&self, own: u64) -> Option<Pong> {
        let echo = self.echoes.iter().find(|echo| echo.instance == own)?;
        Some(Pong {
            ping: Ping { instance: own, sent: Moment(echo.sent) },
            instance: self.instance,
            received: Moment(echo.received),
            sent: Moment(self.sent),
        })
    }

    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        // Strings and numbers: it cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads one.
    ///
    /// # Errors
    /// One sentence without its subject: another protocol, or what is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        /// A newer hello may differ in everything else.
        #[derive(Deserialize)]
        struct Version {
            protocol: u32,
        }
        if bytes.len() > BYTES_MAX {
            return Err(format!("its hello has {} bytes, at most {BYTES_MAX} are allowed", bytes.len()));
        }
        let wrong = |err: serde_json::Error| format!("its hello cannot be read: {err}");
        let Version { protocol } = serde_json::from_slice(bytes).map_err(wrong)?;
        if protocol != PROTOCOL {
            return Err(format!(
                "it speaks version {protocol} of the protocol between hosts, this host speaks version {PROTOCOL}: \
                 install the same canhub on both"
            ));
        }
        let hello: Self = serde_json::from_slice(bytes).map_err(wrong)?;
        let is_shown = |text: &String| is_shown(text);
        let on_spans =
            hello.spans.iter().all(|on| is_shown(&on.span) && on.adapter.as_ref().is_none_or(is_shown));
        if !is_shown(&hello.version) || !on_spans {
            return Err("its hello has a text that is too long or has control characters".to_owned());
        }
        Ok(hello)
    }
}

impl Refusal {
    /// As it is sent.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads one; `None` if it is none.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let refusal: Self = serde_json::from_slice(bytes.get(..bytes.len().min(REFUSAL_MAX))?).ok()?;
        let Self { host, serial, reason, .. } = &refusal;
        let is_shown = is_shown(host) && is_shown(serial) && is_shown(reason);
        is_shown.then_some(refusal)
    }
}

/// Whether a text of another host can be shown on a terminal and told to canhub.
fn is_shown(text: &str) -> bool {
    text.len() <= TEXT_MAX / 2 && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello() -> Hello {
        let on =
            OnSpan { span: "body".to_owned(), adapter: Some("can0".to_owned()), bridge: false, frames: None };
        Hello { protocol: PROTOCOL, instance: 7, sent: 50, spans: vec![on], ..Hello::default() }
    }

    #[test]
    fn a_hello_is_read_as_it_is_sent() {
        assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
        assert_eq!(hello().on("body").and_then(|on| on.adapter.as_deref()), Some("can0"));
        assert_eq!(hello().on("seat"), None);
    }

    #[test]
    fn another_version_is_refused_whatever_else_it_says() {
        let why = Hello::decode(br#"{"protocol":2,"instance":"other"}"#).unwrap_err();
        assert!(
            why.starts_with("it speaks version 2 of the protocol between hosts, this host speaks version 1"),
            "{why}"
        );
        assert!(
            Hello::decode(br#"{"protocol":1,"instance":"other"}"#).unwrap_err().contains("cannot be read")
        );
        assert!(Hello::decode(&[b' '; BYTES_MAX + 1]).unwrap_err().contains("65537 bytes"));
    }

    #[test]
    fn texts_that_could_harm_a_terminal_are_refused() {
        let mut bad = hello();
        bad.spans[0].adapter = Some("\u{1b}[2J".to_owned());
        assert!(Hello::decode(&bad.encode()).unwrap_err().contains("control characters"));
        let refusal = Refusal {
            host: "a".to_owned(),
            serial: "1".to_owned(),
            instance: None,
            reason: "x\ny".to_owned(),
        };
        assert_eq!(Refusal::decode(&refusal.encode()), None);
    }

    #[test]
    fn an_echo_answers_only_our_own_hello() {
        let mut hello = hello();
        hello.echoes = vec![Echo { instance: 3, sent: 10, received: 40 }];
        let pong = hello.answer_to(3).unwrap();
        assert_eq!(
            (pong.ping.sent, pong.received, pong.sent, pong.instance),
            (Moment(10), Moment(40), Moment(50), 7)
        );
        assert_eq!(hello.answer_to(4), None);
    }
}

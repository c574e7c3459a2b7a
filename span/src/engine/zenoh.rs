//! Zenoh as the engine: peers without a broker, TLS with certificates on both sides, rights per certificate.
//!
//! No other file knows zenoh. What it measured to be good for frames is in `config`.

mod config;
mod key;
mod runtime;
mod troubles;

use std::{collections::HashMap, fmt, future::Future, path::PathBuf, pin::Pin, sync::Arc};

use ::zenoh::{
    Config, Session, Wait as _,
    pubsub::{Publisher, Subscriber},
    qos::{CongestionControl, Priority},
    sample::{Sample, SampleKind},
};
use parking_lot::{Mutex, RwLock};

pub use runtime::runtime;
pub use troubles::Troubles;

use super::{Engine, Event, Link, Sink, Topic};
use crate::fleet::List;

/// What an engine needs to know.
#[derive(Debug, Clone)]
pub struct Settings {
    /// This host's name.
    pub host: String,
    /// `ADDRESS:PORT` on which to listen; none: nothing listens.
    pub listen: Vec<String>,
    /// `HOST:PORT` of hosts to connect to.
    pub connect: Vec<String>,
    /// The file with the fleet's CA certificate.
    pub ca: PathBuf,
    /// The file with this host's private key and certificate.
    pub identity: PathBuf,
    /// Who may do what.
    pub list: List,
}

/// An open session.
pub struct Zenoh {
    host: String,
    session: Session,
    sink: Sink,
    publishers: RwLock<HashMap<Topic, Arc<Publisher<'static>>>>,
    subscribers: Mutex<HashMap<String, Subscriber<()>>>,
}

impl fmt::Debug for Zenoh {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Zenoh").field("host", &self.host).finish_non_exhaustive()
    }
}

impl Zenoh {
    /// Opens a session. The events go to `sink`, until it is closed. Which connections fail is told by [`Troubles`].
    ///
    /// # Errors
    /// One sentence: a file or an address cannot be used.
    pub async fn open(settings: &Settings, sink: Sink) -> Result<Self, String> {
        let failed = |doing: &str, err: &dyn fmt::Display| {
            format!("cannot {doing}: {}", troubles::plain(&err.to_string()))
        };
        let config = Config::from_json5(&config::of(settings).to_string())
            .map_err(|err| failed("set up the connections to other hosts", &err))?;
        let session = ::zenoh::open(config).await.map_err(|err| {
            let listen = settings.listen.join(", ");
            failed(&format!("open the connections to other hosts (listen: [{listen}])"), &err)
        })?;
        let engine = Self {
            host: settings.host.clone(),
            session,
            sink,
            publishers: RwLock::default(),
            subscribers: Mutex::default(),
        };
        let told = engine.tell_links().and_then(|()| {
            for key in [key::HELLOS, key::FLEETS, key::REFUSALS] {
                engine.subscribe(key)?;
            }
            Ok(())
        });
        if let Err(why) = told {
            engine.close().await;
            return Err(why);
        }
        Ok(engine)
    }

    /// Tells of all links, now and later.
    fn tell_links(&self) -> Result<(), String> {
        let sink = self.sink.clone();
        let told = move |event: ::zenoh::session::LinkEvent| {
            let link = event.link();
            // The last part of the certificate's name is its serial number.
            let (host, serial) =
                link.auth_identifier().unwrap_or_default().rsplit_once(':').unwrap_or_default();
            let link = Link {
                session: link.zid().to_string(),
                host: host.to_owned(),
                serial: serial.to_owned(),
                address: link.dst().address().to_string(),
            };
            sink(match event.kind() {
                SampleKind::Put => Event::Connected(link),
                SampleKind::Delete => Event::Disconnected(link),
            });
        };
        let info = self.session.info();
        let listener = info.link_events_listener().history(true).callback(told).background().wait();
        listener.map_err(|err| format!("cannot learn which hosts are connected: {err}"))
    }

    fn subscribe(&self, key: &str) -> Result<(), String> {
        let (sink, own) = (self.sink.clone(), self.host.clone());
        let received = move |sample: Sample| {
            let Some((topic, host)) = key::parse(sample.key_expr().as_str()) else { return };
            // A payload of our own comes back only from a second host of the same name, which hellos and refusals find.
            if host == own && !matches!(topic, Topic::Hello) {
                return;
            }
            let bytes = sample.payload().to_bytes();
            // Many wait in queues: a host must not choose how much memory that takes. One byte too many is enough to be
            // refused for it.
            let payload = bytes[..bytes.len().min(topic.longest() + 1)].to_vec();
            sink(Event::Received { topic, host: host.to_owned(), payload });
        };
        let subscriber = self
            .session
            .declare_subscriber(key.to_owned())
            .allowed_origin(::zenoh::sample::Locality::Remote)
            .callback(received)
            .wait()
            .map_err(|err| format!("cannot listen to {key}: {err}"))?;
        // One that is replaced ends.
        drop(self.subscribers.lock().insert(key.to_owned(), subscriber));
        Ok(())
    }

    fn publisher(&self, topic: &Topic) -> Result<Publisher<'static>, String> {
        let key = key::of(topic, &self.host);
        // Frames go first. With `express` a busy link would lose some: it has few buffers for payloads that must not wait
        // for each other.
        let priority = if matches!(topic, Topic::Data(_)) { Priority::RealTime } else { Priority::DataHigh };
        self.session
            .declare_publisher(key.clone())
            .congestion_control(CongestionControl::Drop)
            .priority(priority)
            .express(false)
            .allowed_destination(::zenoh::sample::Locality::Remote)
            .wait()
            .map_err(|err| format!("cannot send on {key}: {err}"))
    }
}

impl Engine for Zenoh {
    fn send(&self, topic: &Topic, payload: Vec<u8>) -> Result<(), String> {
        // Not under the lock: a congested link takes a moment to say so.
        let known = self.publishers.read().get(topic).cloned();
        let publisher = match known {
            Some(publisher) => publisher,
            None => {
                let publisher = Arc::new(self.publisher(topic)?);
                self.publishers.write().insert(topic.clone(), publisher.clone());
                publisher
            }
        };
        publisher.put(payload).wait().map_err(|err| format!("cannot send to other hosts: {err}"))
    }

    fn join(&self, span: &str) -> Result<(), String> {
        self.subscribe(&key::data(span, "*"))
    }

    fn leave(&self, span: &str) {
        drop(self.subscribers.lock().remove(&key::data(span, "*")));
        drop(self.publishers.write().remove(&Topic::Data(span.into())));
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            self.publishers.write().clear();
            self.subscribers.lock().clear();
            if let Err(err) = self.session.close().await {
                tracing::debug!(%err, "a session did not close cleanly");
            }
        })
    }
}

//! One client.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{Interest, unix::AsyncFd},
    net::TcpStream,
    time::{Instant, sleep_until},
};

use super::{Door, protocol};
use crate::{
    frames::{CanAnyFrame, Timestamp},
    kernel::{FrameSocket, Heard, refused},
    system,
};
use protocol::{Elements, Request};

/// What waits for a client before it is dropped, besides some megabytes in the kernel: almost a second of a full bus.
const BACKLOG_MAX: usize = 1 << 18;
/// How long a client that is dropped may take to read why.
const GRACE: Duration = Duration::from_secs(5);
/// A client that does not get to raw mode must not keep others out.
const GREETING_MAX: Duration = Duration::from_secs(10);
/// Of an interface that was deleted there is only an error to read.
const NEWS: Interest = Interest::READABLE.add(Interest::ERROR);
/// python-can expects `< ok >` alone, so frames must not follow it in the same packet.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for room in an adapter's queue, and for an interface that is gone.
const ROOM: Duration = Duration::from_millis(1);
const AGAIN: Duration = Duration::from_millis(500);
/// How long a frame waits for room. A bus that takes none for so long is off, and the client may be gone meanwhile.
const ROOM_MAX: Duration = Duration::from_secs(2);
/// The requested size of the receive buffer in bytes. It holds 10,000 frames: more than a second of a full bus.
const RECEIVE_BUFFER: usize = 4 << 20;

/// How far a client is.
enum Stage {
    /// It has not named the bus.
    Greeted,
    /// It has, and gets no frames yet.
    Opened,
    /// It hears and sends.
    Raw,
}

/// The client's socket on the bus.
struct Bus {
    socket: FrameSocket,
    /// A second descriptor of it, with which the runtime waits.
    readiness: AsyncFd<OwnedFd>,
}

/// Why a client is gone.
pub(super) enum Ended {
    /// It went.
    Left,
    /// It was dropped.
    Dropped(&'static str),
}

pub(super) struct Client {
    door: Arc<Door>,
    stream: TcpStream,
    stage: Stage,
    elements: Elements,
    out: Vec<u8>,
    bus: Option<Bus>,
    /// No frames are passed before.
    quiet_until: Instant,
    /// When to look for the interface again, if it is gone.
    opens_at: Instant,
    /// A frame that the bus has no room for, and since when. Nothing more is read from the client meanwhile.
    unsent: Option<(CanAnyFrame, Instant)>,
    /// It is being dropped, at the latest then, and why.
    leaving: Option<(Instant, &'static str)>,
    heard: Vec<Heard>,
}

/// What happened.
enum Woken {
    Readable,
    Writable,
    Heard,
    Time,
}

impl Client {
    pub(super) fn new(door: Arc<Door>, stream: TcpStream) -> Self {
        let now = Instant::now();
        Self {
            door,
            stream,
            stage: Stage::Greeted,
            elements: Elements::default(),
            out: b"< hi >".to_vec(),
            bus: None,
            quiet_until: now,
            opens_at: now,
            unsent: None,
            leaving: None,
            heard: Vec::new(),
        }
    }

    /// Serves the client until it is gone.
    pub(super) async fn serve(mut self) -> Ended {
        let greeting_ends = Instant::now() + GREETING_MAX;
        // Small elements must not wait for each other.
        let _ = self.stream.set_nodelay(true);
        loop {
            let deadline = self.deadline(greeting_ends);
            let woken = self.wait(deadline).await;
            let done = match woken {
                Woken::Readable => self.read(),
                Woken::Writable => self.write(),
                Woken::Heard => {
                    self.hear();
                    Ok(())
                }
                Woken::Time => Ok(()),
            };
            if done.is_err() {
                return self.leaving.map_or(Ended::Left, |(_, why)| Ended::Dropped(why));
            }
            match self.leaving {
                Some((until, why)) if self.out.is_empty() || until <= Instant::now() => {
                    return Ended::Dropped(why);
                }
                Some(_) => {}
                None => {
                    self.answer();
                    self.reopen();
                    if !matches!(self.stage, Stage::Raw) && greeting_ends <= Instant::now() {
                        self.drop("it did not ask for raw mode in time");
                    }
                }
            }
        }
    }

    fn deadline(&self, greeting_ends: Instant) -> Instant {
        let now = Instant::now();
        match (&self.leaving, &self.stage) {
            (Some((until, _)), _) => *until,
            (None, Stage::Greeted | Stage::Opened) => greeting_ends,
            (None, Stage::Raw) if self.quiet_until > now => self.quiet_until,
            (None, Stage::Raw) if self.bus.is_none() => now + AGAIN,
            // The bus's socket may have room though the queue behind it had none.
            (None, Stage::Raw) if self.unsent.is_some() => now + ROOM,
            (None, Stage::Raw) => now + GREETING_MAX,
        }
    }

    async fn wait(&self, deadline: Instant) -> Woken {
        let is_leaving = self.leaving.is_some();
        let hears = !is_leaving && self.quiet_until <= Instant::now();
        let reads = !is_leaving && self.unsent.is_none();
        let heard = async {
            match &self.bus {
                Some(bus) => drop(bus.readiness.ready(NEWS).await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.stream.readable(), if reads => Woken::Readable,
            _ = self.stream.writable(), if !self.out.is_empty() => Woken::Writable,
            () = heard, if hears => Woken::Heard,
            () = sleep_until(deadline) => Woken::Time,
        }
    }

    /// `Err` if the client is gone.
    fn read(&mut self) -> io::Result<()> {
        let mut bytes = [0; 4096];
        match self.stream.try_read(&mut bytes) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                self.elements.push(&bytes[..length]);
                Ok(())
            }
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(err) => Err(err),
        }
    }

    fn write(&mut self) -> io::Result<()> {
        match self.stream.try_write(&self.out) {
            Ok(length) => {
                self.out.drain(..length);
                Ok(())
            }
            Err(err) if err.kind() == io::ErrorKind::WouldBlock => Ok(()),
            Err(err) => Err(err),
        }
    }

    /// Takes frames from the bus and prints them for the client.
    fn hear(&mut self) {
        let Self { bus: Some(bus), heard, .. } = self else { return };
        heard.clear();
        let Bus { socket, readiness } = bus;
        let mut receive = |_: &OwnedFd| {
            socket.receive(heard).map_err(io::Error::other)?;
            if heard.is_empty() { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        };
        // One after the other: the runtime takes both together for nothing at all.
        let errors = readiness.try_io(Interest::ERROR, &mut receive);
        let received = errors.or_else(|err| match err.kind() {
            io::ErrorKind::WouldBlock => readiness.try_io(Interest::READABLE, &mut receive),
            _ => Err(err),
        });
        for heard in &self.heard {
            self.door.count_lost(heard.lost);
            if !protocol::print(Timestamp(heard.time), &heard.frame, self.door.options.fd, &mut self.out) {
                self.door.count_unspeakable();
            }
        }
        if received.is_err_and(|err| err.kind() != io::ErrorKind::WouldBlock) {
            self.door.report(&format!("{} cannot be read any more; waiting for it", self.door.interface));
            self.bus = None;
            self.opens_at = Instant::now() + AGAIN;
        }
        if self.out.len() > BACKLOG_MAX {
            self.drop("it read too slowly");
        }
    }

    /// Carries out what the client has asked for.
    fn answer(&mut self) {
        if let Some((frame, since)) = self.unsent.take() {
            self.send(frame, since);
        }
        while self.unsent.is_none()
            && self.leaving.is_none()
            && let Some(request) = self.elements.next(self.door.options.fd)
        {
            match (request, &self.stage) {
                (Request::Open(name), Stage::Greeted) if self.door.names.contains(&name) => {
                    self.stage = Stage::Opened;
                    self.say("ok");
                }
                (Request::Open(_), Stage::Greeted) => self.say("error could not open bus"),
                (Request::RawMode, Stage::Opened) => match self.open() {
                    Ok(()) => {
                        self.stage = Stage::Raw;
                        self.quiet_until = Instant::now() + PAUSE;
                        self.say("ok");
                    }
                    Err(_) => self.say("error the bus has no interface at the moment"),
                },
                (Request::Echo, _) => self.say("echo"),
                (Request::Send(_), Stage::Raw) if !self.door.options.write => {
                    self.say("error this door is read-only");
                }
                (Request::Send(frame), Stage::Raw) => self.send(frame, Instant::now()),
                (Request::Wrong(why), _) => self.say(&format!("error {why}")),
                (Request::Open(_) | Request::RawMode | Request::Send(_), _) => self.say("error not now"),
            }
            // Who asks faster than it reads.
            if self.out.len() > BACKLOG_MAX {
                self.drop("it read too slowly");
            }
        }
    }

    fn open(&mut self) -> io::Result<()> {
        let socket =
            FrameSocket::open(Some(&self.door.interface), RECEIVE_BUFFER).map_err(io::Error::other)?;
        let readiness = system::readable(socket.as_fd().try_clone_to_owned()?)?;
        self.bus = Some(Bus { socket, readiness });
        Ok(())
    }

    /// Finds the interface again: canhub heals a bus, and adapters are plugged in again.
    fn reopen(&mut self) {
        let now = Instant::now();
        if matches!(self.stage, Stage::Raw) && self.bus.is_none() && self.opens_at <= now {
            self.opens_at = now + AGAIN;
            if self.open().is_ok() {
                self.door.report(&format!("{} is there again", self.door.interface));
            }
        }
    }

    fn send(&mut self, frame: CanAnyFrame, since: Instant) {
        let Some(bus) = &self.bus else {
            return self.say("error the bus has no interface at the moment");
        };
        match bus.socket.send(&frame) {
            Ok(()) => self.door.count_sent(),
            Err(err) if refused::is_full(&err) => match since.elapsed() < ROOM_MAX {
                true => self.unsent = Some((frame, since)),
                false => self.say("error could not send the frame: the bus takes none"),
            },
            Err(err) => self.say(&format!("error could not send the frame: {err}")),
        }
    }

    fn say(&mut self, words: &str) {
        self.out.extend(format!("< {words} >").bytes());
    }

    /// Tells the client why, and drops it as soon as it has read that.
    fn drop(&mut self, why: &'static str) {
        if self.leaving.is_none() {
            self.say(&format!("error you are dropped: {why}"));
            self.leaving = Some((Instant::now() + GRACE, why));
        }
    }
}

//! A network on a host, its members, and what they hear.

use std::{thread::sleep, time::Duration};

use super::{
    guest::{Guest, Running},
    report::{Heard, Kind, Sent, Stream},
    shell::{PATIENCE, within},
};

/// Every kind of frame that an FD bus carries.
pub const ALL_KINDS: &str = "classic,extended,remote,fd";
const NUMBER_OF_KINDS: u32 = 4;
/// From the last frame that was sent until listeners may stop.
pub const STRAGGLERS: Duration = Duration::from_secs(3);

/// A network of a host; removed on drop, with its containers.
#[derive(Debug)]
pub struct Bus {
    /// Where it is.
    pub host: Guest,
    /// Its name.
    pub name: String,
    /// Its interface on the host.
    pub hub: String,
}

impl Bus {
    /// Creates a network with these options.
    #[track_caller]
    pub fn new(host: &Guest, name: &str, options: &[&str]) -> Self {
        Self::attempt(host, name, options).unwrap_or_else(|err| panic!("{err}"))
    }

    /// Like [`Bus::new`], for options that may be refused.
    pub fn attempt(host: &Guest, name: &str, options: &[&str]) -> Result<Self, String> {
        let hub = format!("vcan-{name}");
        let hub_option = format!("hub={hub}");
        let own_hub = options.iter().all(|option| !option.starts_with("adapter="));
        let mut args = vec!["docker", "network", "create", "-d", "canhub", "--ipam-driver", "null"];
        for option in options.iter().copied().chain(own_hub.then_some(&*hub_option)) {
            args.extend(["-o", option]);
        }
        args.push(name);
        host.attempt(&args)?;
        Ok(Self { host: host.clone(), name: name.into(), hub })
    }

    /// The host itself as a member.
    pub fn hub(&self, number: u8) -> Member {
        Member::of_host(&self.host, number, &self.hub)
    }

    /// A container on the bus.
    #[track_caller]
    pub fn container(&self, number: u8) -> Member {
        let name = format!("{}-{number}", self.name);
        let run = format!(
            "docker run --detach --init --restart always --name {name} --network {} can-tools sleep infinity >/dev/null && \
             docker inspect --format '{{{{.State.Pid}}}}' {name}",
            self.name
        );
        let pid = self.host.sh(&run);
        Member { host: self.host.clone(), number, interface: "can0".into(), pid: Some(pid) }
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let remove = format!(
            "docker ps --all --quiet --filter network={0} | xargs --no-run-if-empty docker rm --force >/dev/null; \
             docker network rm {0}",
            self.name
        );
        let removed = self.host.try_sh(&remove);
        if !std::thread::panicking() {
            removed.unwrap_or_else(|err| panic!("{err}"));
        }
    }
}

/// A member of a bus: a container or the host.
#[derive(Debug, Clone)]
pub struct Member {
    /// Where it is.
    pub host: Guest,
    /// The number in its frames.
    pub number: u8,
    /// Its interface.
    pub interface: String,
    pid: Option<String>,
}

impl Member {
    /// An interface of a host itself.
    pub fn of_host(host: &Guest, number: u8, interface: &str) -> Self {
        Self { host: host.clone(), number, interface: interface.into(), pid: None }
    }

    /// A command in its network namespace, but with the host's files.
    fn command<'a>(&'a self, command: &[&'a str]) -> Vec<&'a str> {
        match &self.pid {
            None => command.to_vec(),
            Some(pid) => [&["nsenter", "--net", "--target", pid], command].concat(),
        }
    }

    /// Runs a command there, which must succeed.
    #[track_caller]
    pub fn run(&self, command: &[&str]) -> String {
        self.host.run(&self.command(command))
    }

    /// Runs a command there. Returns its output or error.
    pub fn attempt(&self, command: &[&str]) -> Result<String, String> {
        self.host.attempt(&self.command(command))
    }

    /// Starts a command there.
    #[track_caller]
    pub fn start(&self, command: &[&str]) -> Running {
        self.host.start(&self.command(command))
    }

    /// Listens until stopped. Returns once it listens.
    #[track_caller]
    pub fn listen(&self, args: &[&str]) -> Running {
        let listen = [&["/host/probe", "listen", &*self.interface], args].concat();
        let mut running = self.host.start_until_stopped(&self.command(&listen));
        running.wait_for("ready");
        running
    }

    /// Answers what this sender sends until stopped. Returns once it listens.
    #[track_caller]
    pub fn answer(&self, of: u8) -> Running {
        let (of, number) = (of.to_string(), self.number.to_string());
        let echo = ["/host/probe", "echo", &*self.interface, "--of", &of, "--from", &number];
        let mut running = self.host.start_until_stopped(&self.command(&echo));
        running.wait_for("ready");
        running
    }

    /// Starts to send as these arguments of `probe send` say; without a `--count`, until stopped.
    #[track_caller]
    pub fn send(&self, args: &str) -> Running {
        let number = self.number.to_string();
        let args: Vec<&str> = args.split(' ').collect();
        let send = [&["/host/probe", "send", &*self.interface, "--from", &number], &args[..]].concat();
        self.host.start_until_stopped(&self.command(&send))
    }
}

/// What a listener must have heard from a sender of all kinds.
pub fn all_kinds(from: u8, rounds: u32) -> Vec<Stream> {
    [Kind::Classic, Kind::Extended, Kind::Remote, Kind::Fd].map(|kind| whole(from, kind, rounds)).into()
}

/// So many frames, each once, in order, unmodified.
pub fn whole(from: u8, kind: Kind, frames: u32) -> Stream {
    let last = frames.saturating_sub(1);
    Stream { from, kind, frames, first: 0, last, missing: 0, doubled: 0, disordered: 0, damaged: 0 }
}

/// These send so many rounds of all kinds at this many frames a second, all at once; returns what these heard.
#[track_caller]
pub fn all_send(senders: &[&Member], listeners: &[&Member], rounds: u32, rate: u32) -> Vec<Heard> {
    let mut listening: Vec<Running> = listeners.iter().map(|listener| listener.listen(&[])).collect();
    let args = format!("--kind {ALL_KINDS} --count {rounds} --rate {rate} --stamp");
    let sending: Vec<Running> = senders.iter().map(|sender| sender.send(&args)).collect();
    for (sender, running) in senders.iter().zip(sending) {
        let sent: Sent = running.end();
        assert_eq!(sent.sent, rounds * NUMBER_OF_KINDS, "sent by {}", sender.number);
    }
    // What is on its way may take a while on a busy machine.
    sleep(STRAGGLERS);
    listening.iter_mut().for_each(Running::stop);
    listening.into_iter().map(Running::end).collect()
}

/// Waits until a frame of each of these has reached the other.
#[track_caller]
pub fn until_joined(one: &Member, other: &Member) {
    for (from, to) in [(one, other), (other, one)] {
        let told = within(PATIENCE, || {
            let dump = to.start(&["candump", "-n", "1", "-T", "3000", &to.interface]);
            // It does not tell when it listens.
            sleep(Duration::from_millis(300));
            from.run(&["cansend", &from.interface, "7AB#01"]);
            let said = dump.finish().unwrap_or_else(|err| err);
            if said.contains("7AB") { Ok(()) } else { Err(said) }
        });
        told.unwrap_or_else(|err| panic!("nothing from {} reaches {}: {err}", from.host.name, to.host.name));
    }
}

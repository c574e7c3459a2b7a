//! Hosts as processes of one machine, and this program in the place of canhub.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use canhub::span::protocol::{Frames, FromSpan, Port, State, ToSpan, decode, encode};
use canhub_span::fleet::{Authority, Invitation, Store, time};
use tempfile::TempDir;

use crate::floor::Identity;

const LIMIT: Duration = Duration::from_secs(60);

/// A vcan that takes FD frames, removed at the end.
pub struct Vcan(String);

impl Vcan {
    pub fn new(name: &str) -> Self {
        let _ = Command::new("ip").args(["link", "del", name]).stderr(Stdio::null()).status();
        for arguments in [&["add", name, "type", "vcan"][..], &["set", name, "mtu", "72", "up"]] {
            let done = Command::new("ip").arg("link").args(arguments).status().unwrap();
            assert!(done.success(), "ip link {arguments:?}");
        }
        Self(name.to_owned())
    }

    pub fn name(&self) -> &str {
        &self.0
    }
}

impl Drop for Vcan {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.0]).status();
    }
}

struct Host {
    name: String,
    process: Child,
    control: BufReader<UnixStream>,
}

/// Hosts that all listen, and connect to the first.
pub struct Fleet {
    hosts: Vec<Host>,
    dir: TempDir,
}

impl Fleet {
    pub fn new(program: &Path, names: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let identities: Vec<String> =
            names.iter().map(|name| ca.issue(&name.parse().unwrap(), None, time::now()).unwrap()).collect();
        let ports: Vec<u16> = names.iter().map(|_| free_port()).collect();
        let hosts = names.iter().zip(identities).enumerate().map(|(at, (name, identity))| {
            let folder = dir.path().join(name);
            let store = Store::new(&folder);
            store.join(&Invitation::new(identity, ca.certificate(), ca.list(), Vec::new())).unwrap();
            let connect = if at == 0 { String::new() } else { format!("\"127.0.0.1:{}\"", ports[0]) };
            let config = folder.join("span.toml");
            let text = format!(
                "state = \"{}\"\nlisten = [\"127.0.0.1:{}\"]\nconnect = [{connect}]\n",
                folder.display(),
                ports[at]
            );
            fs::write(&config, text).unwrap();
            Host::start(program, name, &folder, &config)
        });
        Self { hosts: hosts.collect(), dir }
    }

    /// The certificates of a host.
    pub fn identity(&self, name: &str) -> Identity {
        Identity::in_folder(&self.dir.path().join(name))
    }

    fn host(&mut self, name: &str) -> &mut Host {
        self.hosts.iter_mut().find(|host| host.name == name).unwrap()
    }

    /// Gives a host these spans with their interfaces.
    pub fn ports(&mut self, name: &str, ports: &[(String, String)]) {
        let ports = ports.iter().map(|(span, interface)| Port {
            span: span.parse().unwrap(),
            network: format!("{:0>64}", 1).try_into().unwrap(),
            network_name: span.clone(),
            interface: interface.parse().unwrap(),
            frames: Frames::Fd,
            age_ms: 1000,
            adapter: None,
            bridge: false,
            bitrate: None,
            dbitrate: None,
        });
        let line = encode(ToSpan::Ports(ports.collect())).unwrap();
        self.host(name).control.get_mut().write_all(&line).unwrap();
    }

    /// Waits until a host has others online, on all its spans together so many.
    pub fn wait_until_online(&mut self, name: &str, wanted: usize) {
        let until = Instant::now() + LIMIT;
        loop {
            let state = self.host(name).state();
            let online = state.spans.iter().flat_map(|span| &span.hosts).filter(|host| host.online).count();
            if online >= wanted {
                return;
            }
            assert!(Instant::now() < until, "{online} of {wanted} online: {state:?}");
        }
    }

    /// The CPU time of a host.
    pub fn cpu(&mut self, name: &str) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.host(name).process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// The memory of a host, in words.
    pub fn memory(&mut self, name: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.host(name).process.id())).unwrap();
        let kib = |key: &str| -> u64 {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_whitespace().nth(1).unwrap().parse().unwrap()
        };
        format!("{} MiB resident, {} MiB of them its own", kib("VmRSS") / 1024, kib("RssAnon") / 1024)
    }
}

impl Host {
    fn start(program: &Path, name: &str, folder: &Path, config: &Path) -> Self {
        let socket: PathBuf = folder.join("control.sock");
        let log = fs::File::create(folder.join("log")).unwrap();
        let process = Command::new(program)
            .args(["serve", "--log-format", "text", "--config"])
            .arg(config)
            .arg("--socket")
            .arg(&socket)
            .stdout(log)
            .spawn()
            .unwrap();
        let until = Instant::now() + LIMIT;
        let stream = loop {
            match UnixStream::connect(&socket) {
                Ok(stream) => break stream,
                Err(err) => assert!(Instant::now() < until, "{name} does not listen: {err}"),
            }
            thread::sleep(Duration::from_millis(20));
        };
        Self { name: name.to_owned(), process, control: BufReader::new(stream) }
    }

    /// The newest state.
    fn state(&mut self) -> State {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.control.read_until(b'\n', &mut line).unwrap();
            // The others are old.
            if self.control.buffer().is_empty() {
                let FromSpan::State(state) = decode(&line).unwrap();
                return state;
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

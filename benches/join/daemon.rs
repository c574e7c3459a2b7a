//! canhub as dockerd sees it: a separate process behind its socket.

use std::{
    cell::{Cell, RefCell},
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{baseline::run, bodies, client::Client};

const PATIENCE: Duration = Duration::from_secs(30);
/// The ID of the attachment that comes and goes.
const ATTACHMENT: &str = "bench";

pub struct Daemon {
    child: Child,
    log: PathBuf,
    /// The single connection that dockerd keeps.
    client: RefCell<Client>,
    /// The connection of whoever attaches without Docker.
    admin: RefCell<Client>,
    /// The number of its network.
    network: Cell<u32>,
}

impl Daemon {
    /// Starts canhub in a folder of its own. Returns how long it took until the socket was bound.
    pub fn start(canhub: &Path, folder: &Path, name: &str) -> (Self, Duration) {
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        let (socket, log) = (folder.join("canhub.sock"), folder.join("log"));
        let mut command = Command::new(canhub);
        command.args(["serve", "--log-format", "text", "--socket"]).arg(&socket);
        command.arg("--state-dir").arg(folder.join("state"));
        command.arg("--admin-socket").arg(folder.join("admin.sock"));
        command.arg("--docker-socket").arg(folder.join("docker.sock"));
        command.arg("--lock-dir").arg(&folder);
        command.stdin(Stdio::null()).stdout(File::create(&log).unwrap()).stderr(Stdio::inherit());
        let started = Instant::now();
        let child = command.spawn().unwrap_or_else(|err| panic!("{}: {err}", canhub.display()));
        while UnixStream::connect(&socket).is_err() {
            assert!(started.elapsed() < PATIENCE, "it does not listen: {}", tail(&log));
            thread::sleep(Duration::from_micros(100));
        }
        let took = started.elapsed();
        let mut client = Client::connect(&socket);
        client.call_raw("Plugin.Activate", b"").ok();
        let admin = RefCell::new(Client::connect(&folder.join("admin.sock")));
        (Self { child, log, client: RefCell::new(client), admin, network: Cell::new(0) }, took)
    }

    /// A network with an ID that no other had.
    pub fn create_network(&self, hub: &str) {
        self.create_network_with(json!({ "hub": hub }));
    }

    /// The same with any options.
    pub fn create_network_with(&self, options: serde_json::Value) {
        self.network.set(self.network.get() + 1);
        self.call("CreateNetwork", &bodies::create_network(&self.network(), options));
    }

    pub fn delete_network(&self) {
        self.call("DeleteNetwork", &bodies::delete_network(&self.network()));
    }

    fn network(&self) -> String {
        bodies::network(self.network.get())
    }

    /// CreateEndpoint and Join. Returns how long they took together.
    pub fn join(&self, number: u32, sandbox: &str) -> Duration {
        let (network, endpoint) = (self.network(), bodies::endpoint(number));
        let create = bodies::create_endpoint(&network, &endpoint, json!({}));
        let join = bodies::join(&network, &endpoint, sandbox);
        let started = Instant::now();
        self.call("CreateEndpoint", &create);
        self.call("Join", &join);
        started.elapsed()
    }

    /// Two calls without effect: the overhead of CreateEndpoint and Join.
    pub fn two_empty_calls(&self) -> Duration {
        let body = bodies::both(&self.network(), &bodies::endpoint(0));
        let started = Instant::now();
        self.call("EndpointOperInfo", &body);
        self.call("EndpointOperInfo", &body);
        started.elapsed()
    }

    pub fn part(&self, number: u32) {
        let both = bodies::both(&self.network(), &bodies::endpoint(number));
        self.call("Leave", &both);
        self.call("DeleteEndpoint", &both);
    }

    fn call(&self, method: &str, body: &serde_json::Value) {
        let reply = self.client.borrow_mut().call(&format!("NetworkDriver.{method}"), body);
        assert_eq!(reply.err(), None, "{method}; its log ends: {}", tail(&self.log));
    }

    /// Attaches a namespace to the bus of this hub, without Docker. Returns how long it took.
    pub fn attach(&self, hub: &str, sandbox: &str) -> Duration {
        let body = json!({ "bus": hub, "netns": sandbox, "id": ATTACHMENT }).to_string();
        let started = Instant::now();
        self.ask("POST", &body);
        started.elapsed()
    }

    /// Detaches it.
    pub fn detach(&self) {
        self.ask("DELETE", &json!({ "id": ATTACHMENT }).to_string());
    }

    fn ask(&self, method: &str, body: &str) {
        let reply = self.admin.borrow_mut().ask(method, "/v1/attachments", body);
        assert_eq!(reply.status, 200, "{method}: {reply:?}");
    }

    pub fn signal(&self, signal: &str) {
        run("kill", &[signal, &self.child.id().to_string()]);
    }

    /// `VmRSS` of the process.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The host end of an endpoint's pair.
pub fn host_end(number: u32) -> String {
    format!("ch{}", &bodies::endpoint(number)[..10])
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.lines().rev().take(5).collect::<Vec<_>>().join(" | ")
}

//! The real servers with a kernel in memory, on sockets in a folder of their own.

#![allow(dead_code, reason = "tests/admin uses another half of it")]

use std::{
    fs,
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use canhub::{
    admin::Admin,
    checks::Files,
    docker,
    driver::server,
    health::{Health, Policy, Watch},
    kernel::{Kernel, Link, fake::FakeKernel},
    manager::{Handle, Manager},
    plan::is_ours,
    span,
    state::Store,
};
use serde_json::{Value, json};
use tokio::{net::UnixListener, sync::oneshot, task::JoinSet};

use super::{
    bodies,
    client::{Client, Reply},
    fake_docker::FakeDocker,
};

/// A running driver. It stops when dropped.
pub struct Rig {
    pub kernel: Arc<FakeKernel>,
    pub manager: Arc<Manager>,
    pub health: Arc<Health>,
    dir: tempfile::TempDir,
    server: Option<Server>,
}

struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Rig {
    /// An empty host, with the time limit of the real daemon.
    pub fn new() -> Self {
        Self::limited(server::TIME_LIMIT, |fake| fake)
    }

    /// With a time limit, and a kernel of the test that wraps the one in memory.
    pub fn limited<K: Kernel + 'static>(
        limit: Duration,
        wrap: impl FnOnce(Arc<FakeKernel>) -> Arc<K>,
    ) -> Self {
        Self::watched(limit, Health::new(Policy::default(), None), None, wrap)
    }

    /// With health, which is monitored as given.
    pub fn watched<K: Kernel + 'static>(
        limit: Duration,
        health: Health,
        watch: Option<Watch>,
        wrap: impl FnOnce(Arc<FakeKernel>) -> Arc<K>,
    ) -> Self {
        let kernel = Arc::new(FakeKernel::new());
        let (dir, health) = (tempfile::tempdir().unwrap(), Arc::new(health));
        let (manager, server) = start(dir.path(), wrap(kernel.clone()), limit, health.clone(), watch, None);
        Self { kernel, manager, health, dir, server: Some(server) }
    }

    /// With Docker's API, a time limit, and a kernel of the test.
    pub fn beside<K: Kernel + 'static>(
        docker: &FakeDocker,
        limit: Duration,
        wrap: impl FnOnce(Arc<FakeKernel>) -> Arc<K>,
    ) -> Self {
        let kernel = Arc::new(FakeKernel::new());
        let dir = tempfile::tempdir().unwrap();
        let health = Arc::new(Health::new(Policy::default(), None));
        let docker = Some(docker.socket());
        let (manager, server) = start(dir.path(), wrap(kernel.clone()), limit, health.clone(), None, docker);
        Self { kernel, manager, health, dir, server: Some(server) }
    }

    /// Stops the driver and starts a new one on the same host: the kernel's state and the folder are kept.
    pub fn restart(&mut self) {
        self.restart_after(|_| ());
    }

    /// Like [`Self::restart`], with a change of the state folder while the driver is down.
    pub fn restart_after(&mut self, meanwhile: impl FnOnce(&Path)) {
        self.stop();
        meanwhile(&self.state());
        let (kernel, health) = (self.kernel.clone(), self.health.clone());
        let (manager, server) = start(self.dir.path(), kernel, server::TIME_LIMIT, health, None, None);
        (self.manager, self.server) = (manager, Some(server));
    }

    pub fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = server.stop.send(());
            server.thread.join().unwrap();
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("canhub.sock")
    }

    pub fn admin(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    /// Where canhub looks for `canhub-span`.
    pub fn span_socket(&self) -> PathBuf {
        self.dir.path().join("span.sock")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Writes a file of the machine, as canhub looks it up there.
    pub fn write_file(&self, path: &str, text: &str) {
        let path = self.dir.path().join("machine").join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.socket())
    }

    /// A call of `NetworkDriver.METHOD` on a connection of its own.
    pub fn call(&self, method: &str, body: &Value) -> Reply {
        self.client().call(&format!("NetworkDriver.{method}"), body)
    }

    /// Creates a network.
    pub fn network(&self, number: u32, options: Value) -> String {
        let id = bodies::network(number);
        self.call("CreateNetwork", &bodies::create_network(&id, options)).ok();
        id
    }

    /// Starts a container like Docker 28: its sandbox exists at Join. Returns the endpoint's ID.
    pub fn member(&self, network: &str, number: u32) -> String {
        let (endpoint, sandbox) = (bodies::endpoint(number), bodies::sandbox(number));
        self.kernel.add_sandbox(&sandbox);
        self.call("CreateEndpoint", &bodies::create_endpoint(network, &endpoint, json!({}))).ok();
        let joined = self.call("Join", &bodies::join(network, &endpoint, &sandbox)).ok();
        assert_eq!(joined, json!({ "DisableGatewayService": true }));
        endpoint
    }

    /// Leave and DeleteEndpoint, as when a container ends.
    pub fn part(&self, network: &str, endpoint: &str) {
        self.call("Leave", &bodies::both(network, endpoint)).ok();
        self.call("DeleteEndpoint", &bodies::both(network, endpoint)).ok();
    }

    /// A link of the host.
    pub fn link(&self, name: &str) -> Option<Link> {
        self.kernel.links().unwrap().into_iter().find(|link| link.name == name)
    }

    /// The links in a sandbox.
    pub fn links_inside(&self, sandbox: &str) -> Vec<Link> {
        self.kernel.sandbox_links(sandbox.as_ref()).unwrap().unwrap_or_default()
    }

    /// Their names.
    pub fn inside(&self, sandbox: &str) -> Vec<String> {
        self.links_inside(sandbox).into_iter().map(|link| link.name).collect()
    }

    /// The networks in the state file on disk.
    pub fn recorded(&self) -> Value {
        let text = fs::read_to_string(self.state().join("state.json"));
        text.map_or(json!({}), |text| serde_json::from_str::<Value>(&text).unwrap()["networks"].clone())
    }

    /// Everything that is canhub's: links on the host, rules, records. Empty if canhub has cleaned up.
    pub fn ours(&self) -> Vec<String> {
        let links = self.kernel.links().unwrap();
        let mut ours: Vec<String> =
            links.iter().filter(|link| is_ours(link)).map(|link| format!("link {}", link.name)).collect();
        ours.extend(self.kernel.rules().unwrap().iter().map(|status| format!("rule {:?}", status.rule)));
        ours.extend(self.recorded().as_object().unwrap().keys().map(|id| format!("network record {id}")));
        ours.extend(self.endpoint_records().iter().map(|name| format!("endpoint record {name}")));
        ours
    }

    pub fn endpoint_records(&self) -> Vec<String> {
        let folder = fs::read_dir(self.state().join("endpoints")).unwrap();
        folder.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
    }

    /// Asserts that nothing of canhub is left, and nothing foreign was touched.
    #[track_caller]
    pub fn assert_clean(&self) {
        assert_eq!(self.ours(), Vec::<String>::new(), "left over");
        assert!(self.link("eth0").is_some(), "a foreign link was deleted");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop();
    }
}

fn start<K: Kernel + 'static>(
    dir: &Path,
    kernel: Arc<K>,
    limit: Duration,
    health: Arc<Health>,
    watch: Option<Watch>,
    docker: Option<PathBuf>,
) -> (Arc<Manager>, Server) {
    let socket = dir.join("canhub.sock");
    let _ = fs::remove_file(&socket);
    let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let store = Store::new(dir.join("state"), "boot");
    let manager = Arc::new(Manager::new(kernel, store, Files::under(dir.join("machine")), true));
    let (stop, stopped) = oneshot::channel();
    let admin = dir.join("admin.sock");
    let (served, bound, span) = (Handle::new(manager.clone()), admin.clone(), dir.join("span.sock"));
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = UnixListener::from_std(listener).unwrap();
            let mut tasks = JoinSet::new();
            tasks.spawn(Admin::new(served.clone(), health.clone()).serve(bound));
            tasks.spawn(span::keep(served.clone(), span));
            if let Some(watch) = watch {
                tasks.spawn(health.watch(served.clone(), watch));
            }
            if let Some(socket) = docker {
                tasks.spawn(docker::run(served.clone(), socket, "canhub".into(), false));
            }
            server::serve(listener, served, limit, async { drop(stopped.await) }).await;
        });
        runtime.shutdown_timeout(Duration::from_secs(1));
    });
    while UnixStream::connect(&admin).is_err() {
        thread::sleep(Duration::from_millis(1));
    }
    (manager, Server { stop, thread })
}

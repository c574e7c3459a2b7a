//! A scene: the networks and containers of one test. It removes everything at the end, and checks that nothing is left.

use std::{
    cell::{Cell, RefCell},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use super::{
    canhub,
    docker::{Container, IMAGE, Network, docker, make_image, try_docker},
    host::Traces,
    shell::{run, sh, within},
    watchdog::Watchdog,
};

/// Everything that a test creates.
pub struct Scene {
    before: Traces,
    containers: RefCell<Vec<String>>,
    networks: RefCell<Vec<String>>,
    undo: RefCell<Vec<Box<dyn Fn()>>>,
    patience: Cell<Duration>,
    _watchdog: Watchdog,
}

impl Scene {
    /// An empty scene.
    pub fn new() -> Self {
        prepare();
        Self {
            before: Traces::now(),
            containers: RefCell::default(),
            networks: RefCell::default(),
            undo: RefCell::default(),
            // Long enough for the kernel to delete a namespace, too short for any collection of leftovers.
            patience: Cell::new(Duration::from_secs(3)),
            _watchdog: Watchdog::new(),
        }
    }

    /// For tests that kill canhub or Docker: leftovers may be collected within their grace periods.
    pub fn allow_collection(&self) {
        self.patience.set(Duration::from_secs(150));
    }

    /// A bus with these driver options and no addresses.
    #[track_caller]
    pub fn network(&self, options: &[&str]) -> Network {
        self.try_bus(options).unwrap_or_else(|err| panic!("{err}"))
    }

    /// Like [`Scene::network`], but returns Docker's error.
    pub fn try_bus(&self, options: &[&str]) -> Result<Network, String> {
        let args: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
        self.try_network(canhub::driver(), &args)
    }

    /// `docker network create` with null IPAM and these arguments.
    pub fn try_network(&self, driver: &str, args: &[&str]) -> Result<Network, String> {
        let name = unique("bus");
        let null = ["network", "create", "--driver", driver, "--ipam-driver", "null"];
        let id = try_docker(&[&null, args, &[&name]].concat())?;
        self.networks.borrow_mut().push(name.clone());
        Ok(Network { name, id })
    }

    /// A container on this bus that does nothing by itself.
    #[track_caller]
    pub fn container(&self, network: &Network) -> Container {
        self.container_with(&["--network", &network.name])
    }

    /// A container with these arguments of `docker run` that does nothing by itself.
    #[track_caller]
    pub fn container_with(&self, args: &[&str]) -> Container {
        let (name, id) = self
            .docker_container(&["run", "--detach"], args, &["sleep", "infinity"])
            .unwrap_or_else(|err| panic!("{err}"));
        Container::just_started(&name, &id)
    }

    /// Containers with these arguments of `docker run`, several started at a time. Returns their names.
    #[track_caller]
    pub fn fleet(&self, each: &[Vec<&str>]) -> Vec<String> {
        let names: Vec<String> = each.iter().map(|_| unique("ecu")).collect();
        self.containers.borrow_mut().extend(names.iter().cloned());
        let run = |(name, args): (&String, &Vec<&str>)| {
            let head = ["run", "--detach", "--name", name];
            try_docker(&[&head, &args[..], &[IMAGE, "sleep", "infinity"]].concat())
        };
        let all: Vec<_> = names.iter().zip(each).collect();
        let some = |some: &[(&String, &Vec<&str>)]| -> Vec<Result<String, String>> {
            thread::scope(|scope| {
                let threads: Vec<_> = some.iter().map(|one| scope.spawn(move || run(*one))).collect();
                threads.into_iter().map(|thread| thread.join().expect("docker does not panic")).collect()
            })
        };
        // Starting all at once would take just as long on one CPU, and the last of them too long.
        let started = all.chunks(5).flat_map(some);
        let complaints: Vec<String> = started.filter_map(Result::err).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        names
    }

    /// `docker run --detach`. Returns the container's name.
    pub fn try_run(&self, args: &[&str], command: &[&str]) -> Result<String, String> {
        self.docker_container(&["run", "--detach"], args, command).map(|(name, _)| name)
    }

    /// `docker create`. Returns the container's name.
    #[track_caller]
    pub fn create(&self, args: &[&str], command: &[&str]) -> String {
        self.docker_container(&["create"], args, command).unwrap_or_else(|err| panic!("{err}")).0
    }

    /// Its name and ID.
    fn docker_container(
        &self,
        verb: &[&str],
        args: &[&str],
        command: &[&str],
    ) -> Result<(String, String), String> {
        let name = unique("ecu");
        // A container that fails to start exists all the same.
        self.containers.borrow_mut().push(name.clone());
        let id = try_docker(&[verb, &["--name", &name], args, &[IMAGE], command].concat())?;
        Ok((name, id))
    }

    /// Runs at the end, after the containers and networks are removed; the last one first.
    pub fn undo(&self, step: impl Fn() + 'static) {
        self.undo.borrow_mut().push(Box::new(step));
    }

    /// A foreign interface: a vcan created by hand, up.
    #[track_caller]
    pub fn foreign_vcan(&self, name: &str) {
        run("ip", &["link", "add", name, "mtu", "72", "type", "vcan"]);
        run("ip", &["link", "set", name, "up"]);
        let name = name.to_owned();
        self.undo(move || {
            run("ip", &["link", "del", &name]);
        });
    }

    /// Removes the containers now.
    #[track_caller]
    pub fn remove_containers(&self) {
        let containers = self.containers.take();
        if !containers.is_empty() {
            let names: Vec<&str> = containers.iter().map(String::as_str).collect();
            docker(&[&["rm", "--force", "--volumes"], &names[..]].concat());
        }
    }

    /// Removes the containers and the networks now.
    #[track_caller]
    pub fn remove_all(&self) {
        self.remove_containers();
        let networks = self.networks.take();
        if !networks.is_empty() {
            let names: Vec<&str> = networks.iter().map(String::as_str).collect();
            docker(&[&["network", "rm"], &names[..]].concat());
        }
    }

    /// What exists on the host and did not when the scene started.
    pub fn traces(&self) -> Vec<String> {
        Traces::now().since(&self.before)
    }

    /// What existed when the scene started and does not any more.
    fn missing(&self) -> Vec<String> {
        self.before.since(&Traces::now())
    }

    /// Asserts that there is nothing of canhub on the host that was not there when the scene started.
    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        let looked = within(self.patience.get(), || match (self.traces(), self.missing()) {
            (left, missing) if left.is_empty() && missing.is_empty() => Ok(()),
            (left, missing) => Err(format!("left over: {left:#?}, taken away and not ours: {missing:#?}")),
        });
        looked.unwrap_or_else(|err| panic!("{err}"));
    }
}

/// What every test needs from the machine; done once.
pub fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        // Otherwise a listener that is late would lose frames in its own socket, which is not what is tested here.
        sh("sysctl -qw net.core.rmem_max=33554432 net.core.rmem_default=33554432");
        make_image();
    });
}

impl Drop for Scene {
    fn drop(&mut self) {
        let failed = thread::panicking();
        // Each step runs even if an earlier one fails.
        let containers = self.containers.take();
        let mut complaints = Vec::new();
        let mut remove = |command: &[&str], names: Vec<String>| {
            if !names.is_empty() {
                let names: Vec<&str> = names.iter().map(String::as_str).collect();
                complaints.extend(try_docker(&[command, &names[..]].concat()).err());
            }
        };
        remove(&["rm", "--force", "--volumes"], containers);
        remove(&["network", "rm"], self.networks.take());
        for step in self.undo.take().iter().rev() {
            let done = catch_unwind(AssertUnwindSafe(step));
            complaints.extend(done.err().map(|_| "an undo step panicked".to_owned()));
        }
        if !failed {
            assert!(complaints.is_empty(), "{complaints:#?}");
            self.assert_nothing_is_left();
        }
    }
}

/// A unique name.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("e2e-{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

//! A scene: the networks and containers of one test. It takes all away again, and looks whether all is gone.

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
};

/// Everything that a test makes.
pub struct Scene {
    before: Traces,
    containers: RefCell<Vec<String>>,
    networks: RefCell<Vec<String>>,
    undo: RefCell<Vec<Box<dyn Fn()>>>,
    patience: Cell<Duration>,
}

impl Scene {
    /// An empty one.
    pub fn new() -> Self {
        prepare();
        Self {
            before: Traces::now(),
            containers: RefCell::default(),
            networks: RefCell::default(),
            undo: RefCell::default(),
            // Long enough for the kernel to take a namespace apart, too short for any collection of leftovers.
            patience: Cell::new(Duration::from_secs(3)),
        }
    }

    /// For tests that let canhub or Docker die: what is left may be collected, within its grace periods.
    pub fn allow_collection(&self) {
        self.patience.set(Duration::from_secs(150));
    }

    /// A bus with these driver options and no addresses.
    #[track_caller]
    pub fn network(&self, options: &[&str]) -> Network {
        self.try_bus(options).unwrap_or_else(|err| panic!("{err}"))
    }

    /// As [`Scene::network`], or Docker's complaint.
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

    /// A container on that bus that does nothing by itself.
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

    /// Containers with these arguments of `docker run` each, some started at the same time; their names.
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
        // All at once would take one processor as long, and the last of them too long.
        let started = all.chunks(5).flat_map(some);
        let complaints: Vec<String> = started.filter_map(Result::err).collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        names
    }

    /// `docker run --detach`; the container's name.
    pub fn try_run(&self, args: &[&str], command: &[&str]) -> Result<String, String> {
        self.docker_container(&["run", "--detach"], args, command).map(|(name, _)| name)
    }

    /// `docker create`; the container's name.
    #[track_caller]
    pub fn create(&self, args: &[&str], command: &[&str]) -> String {
        self.docker_container(&["create"], args, command).unwrap_or_else(|err| panic!("{err}")).0
    }

    /// Its name and id.
    fn docker_container(
        &self,
        verb: &[&str],
        args: &[&str],
        command: &[&str],
    ) -> Result<(String, String), String> {
        let name = unique("ecu");
        // A container whose start fails was made all the same.
        self.containers.borrow_mut().push(name.clone());
        let id = try_docker(&[verb, &["--name", &name], args, &[IMAGE], command].concat())?;
        Ok((name, id))
    }

    /// Runs when the scene ends, after its containers and networks are gone; the last one first.
    pub fn undo(&self, step: impl Fn() + 'static) {
        self.undo.borrow_mut().push(Box::new(step));
    }

    /// An interface that is not canhub's: a vcan made by hand, up.
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

    /// What is on the host and was not when the scene began.
    pub fn traces(&self) -> Vec<String> {
        Traces::now().since(&self.before)
    }

    /// What is there no more and was there when the scene began.
    fn missing(&self) -> Vec<String> {
        self.before.since(&Traces::now())
    }

    /// Nothing of canhub's is on the host that was not there when the scene began.
    #[track_caller]
    pub fn assert_nothing_is_left(&self) {
        let looked = within(self.patience.get(), || match (self.traces(), self.missing()) {
            (left, missing) if left.is_empty() && missing.is_empty() => Ok(()),
            (left, missing) => Err(format!("left over: {left:#?}, taken away and not ours: {missing:#?}")),
        });
        looked.unwrap_or_else(|err| panic!("{err}"));
    }
}

/// What every test needs of the machine; done once.
pub fn prepare() {
    static PREPARED: Once = Once::new();
    PREPARED.call_once(|| {
        // Who listens a moment late loses frames in its own socket; that is not what is tested here.
        sh("sysctl -qw net.core.rmem_max=33554432 net.core.rmem_default=33554432");
        make_image();
    });
}

impl Drop for Scene {
    fn drop(&mut self) {
        let failed = thread::panicking();
        // Each step is tried, whatever became of the one before.
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

/// A name that nobody else has.
pub fn unique(what: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("e2e-{what}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

//! Podman, its networks and its containers.

use std::cell::RefCell;

use super::{
    docker::{Container, IMAGE, make_image_of},
    member::Member,
    scene::unique,
    shell::{attempt, run, within},
};

/// Runs `podman` with these arguments, which must succeed.
#[track_caller]
pub fn podman(args: &[&str]) -> String {
    run("podman", args)
}

/// Runs `podman` with these arguments. Returns its output or error.
pub fn try_podman(args: &[&str]) -> Result<String, String> {
    attempt("podman", args)
}

/// The networks and containers of one test. Created after its `Scene`, it is gone before that looks for leftovers.
#[derive(Default)]
pub struct Pods {
    containers: RefCell<Vec<String>>,
    networks: RefCell<Vec<String>>,
}

impl Pods {
    /// None yet.
    pub fn new() -> Self {
        make_image_of("podman");
        Self::default()
    }

    /// A network with these options.
    #[track_caller]
    pub fn network(&self, options: &[&str]) -> String {
        let name = unique("pod");
        self.try_network(&name, options).unwrap_or_else(|err| panic!("{err}"));
        name
    }

    /// A network of this name with these options, or Podman's error.
    pub fn try_network(&self, name: &str, options: &[&str]) -> Result<(), String> {
        let head = ["network", "create", "--driver", "canhub", "--ipam-driver", "none"];
        let options: Vec<&str> = options.iter().flat_map(|option| ["-o", option]).collect();
        try_podman(&[&head, &options[..], &[name]].concat())?;
        self.networks.borrow_mut().push(name.to_owned());
        Ok(())
    }

    /// A container on these networks that does nothing by itself.
    #[track_caller]
    pub fn container(&self, networks: &[&str]) -> Container {
        let name = self.try_run(networks).unwrap_or_else(|err| panic!("{err}"));
        running(&name)
    }

    /// Like [`Pods::container`]: its name, or Podman's error.
    pub fn try_run(&self, networks: &[&str]) -> Result<String, String> {
        let name = unique("ecu");
        self.containers.borrow_mut().push(name.clone());
        let networks: Vec<&str> = networks.iter().flat_map(|network| ["--network", network]).collect();
        let command = [IMAGE, "sleep", "infinity"];
        try_podman(&[&["run", "--detach", "--name", &name], &networks[..], &command].concat())?;
        Ok(name)
    }

    /// Removes everything now.
    fn remove(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for (head, names) in [
            (&["rm", "--force", "--ignore", "--time", "0"][..], self.containers.take()),
            (&["network", "rm", "--force"], self.networks.take()),
        ] {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            if !names.is_empty() {
                complaints.extend(try_podman(&[head, &names].concat()).err());
            }
        }
        complaints
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        let complaints = self.remove();
        if !std::thread::panicking() {
            assert!(complaints.is_empty(), "{complaints:#?}");
        }
    }
}

/// A container that Podman knows and that is running.
#[track_caller]
pub fn running(name: &str) -> Container {
    let pid = within(super::shell::PATIENCE, || {
        let pid = try_podman(&["inspect", "--format", "{{.State.Pid}}", name])?;
        pid.parse().ok().filter(|pid| *pid > 0).ok_or_else(|| format!("{name} is not running: PID {pid}"))
    });
    Container { name: name.into(), pid: pid.unwrap_or_else(|err| panic!("{err}")) }
}

/// These containers as members, all with the interface `can0`, numbered from 1.
#[track_caller]
pub fn members(containers: &[&Container]) -> Vec<Member> {
    containers.iter().zip(1..).map(|(one, number)| one.member("can0", number)).collect()
}

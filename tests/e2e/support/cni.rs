//! Container runtimes that use CNI: containerd's `ctr`, and the test itself, which calls the plugin as `cnitool` would.

use std::{
    cell::RefCell,
    fs,
    io::Write,
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use super::{
    docker::{Container, IMAGE},
    netns::Netns,
    scene::unique,
    shell::{attempt, eventually, finished, run, sh},
};

/// The plugin, where `make install` puts it.
pub const PLUGIN: &str = "/opt/cni/bin/canhub-cni";
const CONFIG: &str = "/etc/cni/net.d/10-e2e.conflist";

/// A namespace as a container: its name is the container's ID.
impl Netns {
    /// Calls the plugin for this container. Returns what it printed, or the error that it printed.
    pub fn call(&self, command: &str, conf: &Value) -> Result<Value, Value> {
        self.call_with(command, conf, &[])
    }

    /// Like [`Netns::call`], with other variables.
    pub fn call_with(&self, command: &str, conf: &Value, variables: &[(&str, &str)]) -> Result<Value, Value> {
        let netns = self.path();
        let ours = [("CNI_CONTAINERID", &*self.name), ("CNI_NETNS", &*netns), ("CNI_IFNAME", "eth0")];
        call(command, &conf.to_string(), &[&ours, variables].concat())
    }
}

/// Calls the plugin with these variables, the last of a name counts, and this on stdin.
pub fn call(command: &str, stdin: &str, variables: &[(&str, &str)]) -> Result<Value, Value> {
    let mut plugin = Command::new("timeout");
    plugin.args(["60", PLUGIN]).env("CNI_COMMAND", command).env("CNI_PATH", "/opt/cni/bin");
    let mut child = plugin
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("timeout is there");
    // VERSION does not read it.
    let _ = child.stdin.take().expect("it is a pipe").write_all(stdin.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = match printed.trim().is_empty() {
        true => Value::Null,
        false => serde_json::from_str(&printed).unwrap_or_else(|err| panic!("{command}: {err}: {printed}")),
    };
    if output.status.success() { Ok(json) } else { Err(json) }
}

/// A configuration of the plugin alone, as a runtime passes it on.
pub fn conf(version: &str, name: &str, fields: &Value) -> Value {
    let mut conf = json!({ "cniVersion": version, "name": name, "type": "canhub-cni" });
    for (key, value) in fields.as_object().expect("fields are an object") {
        conf[key] = value.clone();
    }
    conf
}

/// containerd with a network, and the containers of `ctr` on it, until dropped.
pub struct Ctr {
    containers: RefCell<Vec<String>>,
}

impl Ctr {
    /// With a network of these plugins.
    pub fn new(network: &str, plugins: &Value) -> Self {
        sh(&format!(
            "ctr image ls -q | grep -q '/{IMAGE}:latest$' || \
             {{ docker save {IMAGE} -o /var/tmp/e2e-image.tar && ctr image import /var/tmp/e2e-image.tar; rm -f /var/tmp/e2e-image.tar; }}"
        ));
        // Debian's plugins are elsewhere than `ctr` of every version looks.
        sh("ln -sf /usr/lib/cni/* /opt/cni/bin/");
        fs::create_dir_all("/etc/cni/net.d").expect("root may write /etc");
        let list = json!({ "cniVersion": "1.0.0", "name": network, "plugins": plugins });
        fs::write(CONFIG, list.to_string()).expect("root may write /etc");
        Self { containers: RefCell::default() }
    }

    /// `ctr run --cni`: a container that does nothing by itself.
    #[track_caller]
    pub fn container(&self) -> Container {
        self.try_run().unwrap_or_else(|err| panic!("{err}"))
    }

    /// Like [`Ctr::container`], or the error.
    pub fn try_run(&self) -> Result<Container, String> {
        let name = unique("ctr");
        self.containers.borrow_mut().push(name.clone());
        let image = format!("docker.io/library/{IMAGE}:latest");
        attempt("ctr", &["run", "--detach", "--cni", &image, &name, "sleep", "infinity"])?;
        let tasks = run("ctr", &["task", "ls"]);
        let of_task =
            tasks.lines().find_map(|line| line.strip_prefix(&*name)?.split_whitespace().next()?.parse().ok());
        let pid = of_task.ok_or_else(|| format!("{name} is not in {tasks}"))?;
        Ok(Container { name, pid })
    }

    /// Calls our plugin in the chain again for a container, as `cnitool` would with what the container's start returned.
    pub fn call(&self, command: &str, plugin: &Value, container: &Container) -> Result<Value, Value> {
        let results = fs::read_dir("/var/lib/cni/results").expect("libcni keeps what plugins return");
        let of_it = format!("-default-{}-eth0", container.name);
        let kept = results.flatten().find(|file| file.file_name().to_string_lossy().ends_with(&of_it));
        let kept = fs::read(kept.expect("it was started with --cni").path()).expect("root may read it");
        let kept: Value = serde_json::from_slice(&kept).expect("it is JSON");
        let mut conf = conf("1.0.0", kept["networkName"].as_str().expect("it is named"), plugin);
        conf["prevResult"] = kept["result"].clone();
        let (id, netns) =
            (kept["containerId"].as_str().expect("it is named"), format!("/proc/{}/ns/net", container.pid));
        let variables = [("CNI_CONTAINERID", id), ("CNI_NETNS", &netns), ("CNI_IFNAME", "eth0")];
        call(command, &conf.to_string(), &variables)
    }

    /// Kills a container and removes it.
    #[track_caller]
    pub fn remove(&self, name: &str) {
        self.containers.borrow_mut().retain(|other| other != name);
        remove(name).unwrap_or_else(|err| panic!("{err}"));
    }
}

fn remove(name: &str) -> Result<(), String> {
    let tasks = attempt("ctr", &["task", "ls", "-q"])?;
    if tasks.lines().any(|task| task == name) {
        let _ = attempt("ctr", &["task", "kill", "--signal", "SIGKILL", name]);
        eventually("its task has stopped", || {
            let tasks = attempt("ctr", &["task", "ls"])?;
            if tasks.lines().any(|line| line.starts_with(name) && line.contains("RUNNING")) {
                return Err(tasks);
            }
            Ok(())
        });
        // Its exit status is that of the container.
        let _ = finished("ctr task rm", Command::new("ctr").args(["task", "rm", name]).output());
    }
    attempt("ctr", &["container", "rm", name]).map(|_| ())
}

impl Drop for Ctr {
    fn drop(&mut self) {
        let complaints: Vec<String> =
            self.containers.take().iter().filter_map(|name| remove(name).err()).collect();
        let _ = fs::remove_file(CONFIG);
        sh("find /opt/cni/bin -lname '/usr/lib/cni/*' -delete");
        if !std::thread::panicking() {
            assert!(complaints.is_empty(), "{complaints:#?}");
        }
    }
}

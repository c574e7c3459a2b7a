//! The canhub under test: a systemd unit, or a managed plugin.

use std::{cell::RefCell, fs, path::PathBuf, sync::OnceLock};

use super::shell::{attempt, eventually, not_run, run, sh};

/// The systemd unit of the service.
const UNIT: &str = "canhub";

/// The driver name.
pub fn driver() -> &'static str {
    static DRIVER: OnceLock<String> = OnceLock::new();
    DRIVER.get_or_init(|| std::env::var("CANHUB_DRIVER").unwrap_or_else(|_| UNIT.into()))
}

/// Whether canhub runs as a managed plugin, controlled by Docker and unknown to systemd.
pub fn is_plugin() -> bool {
    driver().contains(':')
}

/// The unit whose journal has canhub's log.
pub fn journal_unit() -> &'static str {
    if is_plugin() { "docker" } else { UNIT }
}

/// The state folder of canhub.
pub fn state_dir() -> PathBuf {
    if !is_plugin() {
        return "/var/lib/canhub".into();
    }
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let find = || sh("ls -d /var/lib/docker/plugins/*/propagated-mount | head -n 1").into();
    FOLDER.get_or_init(find).clone()
}

/// For tests that kill, stop and configure the service. Returns false, and prints why, if it is a plugin.
#[must_use]
pub fn is_service(test: &str) -> bool {
    if is_plugin() {
        not_run(test, "it kills and restarts the service, but canhub is a managed plugin here");
    }
    !is_plugin()
}

/// For tests that name networks and containers. Returns false, and prints why, if it is a plugin, which learns no names.
#[must_use]
pub fn knows_names(test: &str) -> bool {
    if is_plugin() {
        not_run(test, "a managed plugin does not learn the names of networks and containers");
    }
    !is_plugin()
}

/// The process of the service; 0 if it is not running.
pub fn pid() -> String {
    pid_of(UNIT)
}

/// The only process of a service, read where systemd puts it: tests ask often, and `systemctl show` takes long.
fn pid_of(unit: &str) -> String {
    let processes = fs::read_to_string(format!("/sys/fs/cgroup/system.slice/{unit}.service/cgroup.procs"));
    processes.ok().and_then(|pids| Some(pids.lines().next()?.to_owned())).unwrap_or_else(|| "0".into())
}

/// The path of the running program on the host.
pub fn program() -> String {
    if is_plugin() {
        return sh("ls -d /var/lib/docker/plugins/*/rootfs/canhub | head -n 1");
    }
    let program = fs::read_link(format!("/proc/{}/exe", pid())).expect("canhub runs");
    // A second process opens the file again; the running one may be replaced meanwhile.
    program.display().to_string().replace(" (deleted)", "")
}

/// The output of the program with these arguments, whatever its exit code.
#[track_caller]
pub fn says(args: &str) -> String {
    sh(&format!("{} {args} || [ $? = 1 ]", program()))
}

/// The path of the admin socket.
pub fn admin_socket() -> String {
    match is_plugin() {
        true => sh("ls -d /run/docker/plugins/*/admin.sock | head -n 1"),
        false => "/run/canhub/admin.sock".into(),
    }
}

/// The response of the admin socket, whatever its status.
#[track_caller]
pub fn ask(path: &str) -> String {
    let url = format!("http://localhost{path}");
    run("curl", &["--silent", "--max-time", "20", "--unix-socket", &admin_socket(), &url])
}

/// Kills the process as in a crash, and waits until systemd has started another one.
pub fn crash() {
    let old = pid();
    run("kill", &["-KILL", &old]);
    eventually("canhub starts again after a crash", || {
        let state = attempt("systemctl", &["is-active", UNIT])?;
        let new = pid();
        if new != old && new != "0" { Ok(()) } else { Err(format!("{state}, process {new}")) }
    });
}

/// Restarts the service, as in an upgrade.
pub fn restart() {
    run("systemctl", &["restart", UNIT]);
}

/// Stops the service and its socket, if it has one.
pub fn stop() {
    let _ = attempt("systemctl", &["stop", "canhub.socket"]);
    run("systemctl", &["stop", UNIT]);
}

/// Starts what [`stop`] stopped.
pub fn start() {
    let _ = attempt("systemctl", &["start", "canhub.socket"]);
    run("systemctl", &["start", UNIT]);
}

/// The service with additional environment variables, until dropped.
pub struct Configured;

const DROP_IN: &str = "/run/systemd/system/canhub.service.d";

impl Configured {
    /// Restarts it with these variables.
    pub fn with(variables: &[&str]) -> Self {
        let lines: Vec<String> = variables.iter().map(|variable| format!("Environment={variable}")).collect();
        let configured = Self::new(&lines.iter().map(String::as_str).collect::<Vec<_>>());
        restart();
        configured
    }

    /// Adds these lines to the unit, for its next start.
    pub fn new(lines: &[&str]) -> Self {
        fs::create_dir_all(DROP_IN).expect("root may write /run");
        let lines = lines.join("\n");
        fs::write(format!("{DROP_IN}/e2e.conf"), format!("[Service]\n{lines}\n"))
            .expect("root may write /run");
        run("systemctl", &["daemon-reload"]);
        Self
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(DROP_IN);
        let _ = attempt("systemctl", &["daemon-reload"]);
        let _ = attempt("systemctl", &["restart", UNIT]);
    }
}

fn socket(driver: &str) -> String {
    format!("/run/docker/plugins/{driver}.sock")
}

/// A second canhub next to the one under test, with another driver name, for tests of bad environments.
pub struct Second {
    name: String,
    undo: RefCell<Vec<String>>,
}

impl Second {
    /// Starts it with these systemd properties and arguments.
    pub fn start(name: &str, properties: &[&str], args: &[&str]) -> Self {
        let program = program();
        let socket = socket(name);
        let unit = format!("--unit=e2e-{name}");
        let serve = ["--collect", "--quiet", &unit];
        let admin = format!("/run/canhub-{name}.sock");
        let sockets = [&*program, "serve", "--socket", &socket, "--admin-socket", &admin];
        run("systemd-run", &[&serve, properties, &sockets, args].concat());
        let second = Self { name: name.into(), undo: RefCell::default() };
        eventually("the second canhub listens", || {
            if fs::exists(&socket).unwrap_or(false) { Ok(()) } else { Err(second.journal()) }
        });
        second
    }

    /// Its driver name.
    pub fn driver(&self) -> &str {
        &self.name
    }

    /// Its plugin socket.
    pub fn socket(&self) -> String {
        socket(&self.name)
    }

    /// Its process.
    pub fn pid(&self) -> String {
        pid_of(&format!("e2e-{}", self.name))
    }

    /// Runs a shell command on drop.
    pub fn undo(&self, line: &str) {
        self.undo.borrow_mut().push(line.into());
    }

    fn journal(&self) -> String {
        attempt("journalctl", &["-q", "--no-pager", "-n", "20", "-u", &format!("e2e-{}", self.name)])
            .unwrap_or_else(|err| err)
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let _ = attempt("systemctl", &["stop", &format!("e2e-{}", self.name)]);
        for line in self.undo.borrow().iter().rev() {
            let _ = attempt("sh", &["-c", line]);
        }
    }
}

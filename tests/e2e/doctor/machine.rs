//! The machine under test: two containers on a bus with healing off.

use std::{cell::RefCell, fs, path::Path, time::Duration};

use serde::Deserialize;

use super::{By, Row};
use crate::support::{
    canhub,
    docker::{Container, Network},
    host::rules,
    scene::Scene,
    shell::{attempt, run, sh, within},
    slcan::{Adapter, State, Wire},
};

/// The hub of the bus.
pub const HUB: &str = "vcan-doctor";
/// An adapter on a serial line.
pub const SERIAL: &str = "slcan-doctor";
/// How long it may take until a fault shows, or is gone.
const PATIENCE: Duration = Duration::from_secs(40);
/// Nothing makes doctor hang, not even a hanging Docker or canhub.
const LIMIT: &str = "40";

/// A machine with canhub and a bus.
pub struct Machine {
    _scene: Scene,
    pub bus: Network,
    pub ecus: [Container; 2],
    /// The program, available even while canhub is stopped.
    program: String,
    /// Shell commands that undo changes; the last one runs first.
    undo: RefCell<Vec<String>>,
    /// Adapters that a row has plugged in.
    plugged: RefCell<Vec<Adapter>>,
    /// A command prefix that changes the user.
    by: RefCell<&'static str>,
}

/// Doctor's result for a row.
pub struct Found {
    pub sentence: String,
    pub fix: String,
    pub mended: String,
}

/// The output of `canhub doctor --json`.
#[derive(Debug, Deserialize)]
struct Report {
    errors: usize,
    mended: Vec<Mend>,
    findings: Vec<Finding>,
}

#[derive(Debug, Deserialize)]
struct Mend {
    action: String,
    outcome: String,
    #[serde(default)]
    text: String,
}

#[derive(Debug, Clone, Deserialize)]
struct Finding {
    check: String,
    level: String,
    sentence: String,
    #[serde(default)]
    fix: String,
    #[serde(default)]
    hint: String,
    fixable: bool,
}

impl Machine {
    /// A healthy machine.
    pub fn new() -> Self {
        let scene = Scene::new();
        // Rows stop canhub and Docker; what Docker forgets meanwhile is collected later.
        scene.allow_collection();
        let bus = scene.network(&[&format!("hub={HUB}"), "heal=off"]);
        let always = ["--network", &bus.name, "--restart", "always"];
        let ecus = [(), ()].map(|()| scene.container_with(&always));
        for ecu in &ecus {
            ecu.member("can0", 1);
        }
        let program = canhub::program();
        Self {
            _scene: scene,
            bus,
            ecus,
            program,
            undo: RefCell::default(),
            plugged: RefCell::default(),
            by: RefCell::new(""),
        }
    }

    /// The host end of the first container's pair.
    pub fn host_end(&self) -> String {
        self.ecus[0].host_end("can0").ifname
    }

    /// A rule between the two containers, as `cangw` options.
    pub fn rule(&self) -> String {
        let (from, to) = (self.host_end(), self.ecus[1].host_end("can0").ifname);
        let wanted = format!("-s {from} -d {to}");
        rules().into_iter().find(|rule| rule.contains(&wanted)).expect("the rule exists")
    }

    /// Runs a command as root in the first container.
    pub fn inside(&self, line: &str) {
        run("docker", &["exec", "--privileged", &self.ecus[0].name, "sh", "-c", line]);
    }

    /// Breaks something, and registers the command that undoes it.
    #[track_caller]
    pub fn does(&self, line: &str, undo: &str) {
        self.undo(undo);
        sh(line);
    }

    /// Another container on the bus, by `docker run --detach` or `docker create`, with more options.
    #[track_caller]
    pub fn makes_container(&self, command: &str, name: &str, options: &str) {
        let bus = &self.bus.name;
        self.does(
            &format!("docker {command} --name {name} {options} --network {bus} can-tools sleep infinity"),
            &format!("docker rm --force {name}"),
        );
    }

    /// Registers a command that undoes something.
    pub fn undo(&self, line: &str) {
        self.undo.borrow_mut().push(line.into());
    }

    /// Lets doctor heal what a row left.
    pub fn heals_after(&self) {
        let socket = canhub::admin_socket();
        self.undo(&format!(
            "curl --silent --show-error --request POST --unix-socket {socket} http://localhost/v1/heal"
        ));
    }

    /// What was lost stays known for as long as the network is: it is made anew when the row ends.
    pub fn forgets_after(&self) {
        let Network { name, .. } = &self.bus;
        let ecus: Vec<&str> = self.ecus.iter().map(|ecu| ecu.name.as_str()).collect();
        let each = |verb: &str| -> String {
            ecus.iter().map(|ecu| format!("docker network {verb} {name} {ecu} && ")).collect()
        };
        let make = format!(
            "docker network create -d {} --ipam-driver null -o hub={HUB} -o heal=off {name}",
            canhub::driver()
        );
        self.undo(&format!(
            "{}docker network rm {name} && {make} && {}true",
            each("disconnect --force"),
            each("connect")
        ));
    }

    /// Stops canhub until the row ends.
    pub fn without_canhub(&self) {
        self.undo("systemctl start canhub.socket && systemctl start canhub");
        canhub::stop();
    }

    /// A stale socket.
    pub fn dead_socket(&self, path: &str) {
        fs::create_dir_all(Path::new(path).parent().expect("it has a folder")).expect("root may");
        self.undo(&format!("rm -f {path}"));
        drop(std::os::unix::net::UnixListener::bind(path).unwrap_or_else(|err| panic!("{path}: {err}")));
    }

    /// A bus on an adapter with bus errors.
    pub fn on_a_wire(&self, state: State, received: u32, sent: u32) {
        let adapter = Wire::default().plug(SERIAL);
        self.does(
            &format!("docker network create -d canhub --ipam-driver null -o adapter={SERIAL} -o bitrate=500000 e2e-doctor"),
            "docker network rm e2e-doctor",
        );
        adapter.report(state, received, sent);
        self.plugged.borrow_mut().push(adapter);
    }

    /// Runs doctor through this command.
    pub fn asks_by(&self, command: &'static str) {
        *self.by.borrow_mut() = command;
    }

    /// Undoes what a row did. Each step runs even if an earlier one fails.
    pub fn put_back(&self) {
        *self.by.borrow_mut() = "";
        for line in self.undo.take().iter().rev() {
            if let Err(err) = attempt("sh", &["-c", line]) {
                println!("could not undo a change: {err}");
            }
        }
        self.plugged.take();
    }

    fn asks(&self, args: &str) -> Result<Report, String> {
        let line = format!(
            "timeout {LIMIT} {} {} doctor --json {args}; echo exit=$?",
            self.by.borrow(),
            self.program
        );
        let shown = attempt("sh", &["-c", &line])?;
        let (json, code) = shown.rsplit_once("exit=").ok_or(shown.clone())?;
        let report: Report = serde_json::from_str(json).map_err(|err| format!("{err}: {shown}"))?;
        let expected = if report.errors > 0 { "1" } else { "0" };
        match code == expected {
            true => Ok(report),
            false => Err(format!("it ended with {code}: {json}")),
        }
    }

    /// The output for people.
    pub fn shown(&self) -> String {
        sh(&format!("{} doctor || [ $? = 1 ]", self.program))
    }

    /// Asserts that there are no warnings and errors, and that the exit code agrees.
    pub fn is_sound(&self) -> Result<(), String> {
        within(PATIENCE, || {
            let report = self.asks("")?;
            let wrong: Vec<_> = report.findings.iter().filter(|finding| finding.level != "pass").collect();
            if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong:#?}")) }
        })
    }

    /// Breaks the machine as the row says; doctor must report it, and the row's fix must work.
    pub fn goes_through(&self, row: &Row) -> Result<Found, String> {
        (row.broken)(self);
        // The machine may still be busy with the previous row.
        let found = within(PATIENCE, || named(row, &self.asks("")?))?;
        if found.fixable != (row.by == By::Doctor) {
            return Err(format!("fixable is {}: {found:?}", found.fixable));
        }
        let mended = match row.by {
            By::Doctor if found.fix == "canhub doctor --fix" => self.mends(row)?,
            By::Doctor => {
                self.types(row, &found)?;
                // Broken once more, for `doctor --fix`.
                self.put_back();
                within(PATIENCE, || self.is_sound())?;
                (row.broken)(self);
                within(PATIENCE, || named(row, &self.asks("")?))?;
                format!("mended by typing that, and by {}", self.mends(row)?)
            }
            By::Typing => {
                self.types(row, &found)?;
                "fixed by running the command".to_owned()
            }
            By::Person if found.fix.is_empty() => "needs a person".to_owned(),
            By::Person => return Err(format!("a command that no test types: {found:?}")),
        };
        let fix = if found.fix.is_empty() { found.hint } else { found.fix };
        Ok(Found { sentence: found.sentence, fix, mended })
    }

    /// Runs the command as printed by doctor, after which there must be no finding.
    fn types(&self, row: &Row, found: &Finding) -> Result<(), String> {
        if found.fix.is_empty() {
            return Err(format!("there is nothing to type: {found:?}"));
        }
        attempt("sh", &["-c", &found.fix])?;
        within(PATIENCE, || gone(row, &self.asks("")?))
    }

    fn mends(&self, row: &Row) -> Result<String, String> {
        let report = self.asks("--fix")?;
        let failed = report.mended.iter().find(|mend| mend.outcome != "done");
        if let Some(failed) = failed {
            return Err(format!("doctor could not fix it: {failed:?}"));
        }
        if report.mended.is_empty() {
            return Err("it mended nothing".into());
        }
        gone(row, &report)?;
        let actions: Vec<String> = report
            .mended
            .iter()
            .map(
                |Mend { action, text, .. }| {
                    if text.is_empty() { action.clone() } else { format!("{action}: {text}") }
                },
            )
            .collect();
        Ok(format!("--fix: {}", actions.join("; ")))
    }
}

/// The finding for the fault, if there is no other one.
fn named(row: &Row, report: &Report) -> Result<Finding, String> {
    let names = |finding: &&Finding| {
        finding.check == row.check
            && finding.level == row.level
            && row.words.iter().all(|word| finding.sentence.contains(word))
            && (finding.fix.contains(row.fix) || finding.hint.contains(row.fix))
    };
    let wrong: Vec<&Finding> = report.findings.iter().filter(|finding| finding.level != "pass").collect();
    let found = wrong.iter().copied().find(names);
    let others =
        wrong.iter().any(|finding| finding.check != row.check && !row.also.contains(&&*finding.check));
    match found {
        Some(found) if !others => Ok(found.clone()),
        _ => Err(format!("{wrong:#?}")),
    }
}

/// Waits until the fault is no longer found.
fn gone(row: &Row, report: &Report) -> Result<(), String> {
    let still: Vec<&Finding> = report
        .findings
        .iter()
        .filter(|finding| finding.level != "pass" && !row.also.contains(&&*finding.check))
        .collect();
    if still.is_empty() { Ok(()) } else { Err(format!("it is still there: {still:#?}")) }
}

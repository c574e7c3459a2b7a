//! A bus heals while its containers run: each fault separately, and no container is restarted.
//!
//! A socket on a deleted interface is dead; so senders and listeners here open a new one when that happens, in the same
//! container, whose first process stays the same.

use std::time::Instant;

use crate::support::{
    canhub::{Configured, is_service},
    docker::{Container, Network},
    frames::{BACKGROUND, all_hear_all},
    host::{gateway_is_a_module, ip_batch, ip_link, link, rules},
    member::Member,
    report::{Heard, Kind},
    scene::Scene,
    shell::{attempt, eventually, run, say, sh},
    strangers::{NAMESPACE, Strangers},
};

/// A bus with two containers, and foreign objects that must not change.
struct Bus {
    scene: Scene,
    bus: Network,
    ecus: [Container; 2],
    strangers: Strangers,
    // Rules have no events, so the audit interval must be short.
    _configured: Configured,
}

const HUB: &str = "vcan-heals";

impl Bus {
    fn new() -> Self {
        let configured = Configured::with(&["CANHUB_AUDIT_INTERVAL=1"]);
        let scene = Scene::new();
        let strangers = Strangers::beside(&scene);
        let bus = scene.network(&[&format!("hub={HUB}")]);
        let ecus = [(), ()].map(|()| scene.container(&bus));
        let new = Self { scene, bus, ecus, strangers, _configured: configured };
        new.works().unwrap_or_else(|err| panic!("{err}"));
        new
    }

    fn members(&self) -> [Member; 3] {
        let inside = |ecu: &Container, number| Member::inside(&ecu.name, ecu.pid, "can0", number);
        [inside(&self.ecus[0], 1), inside(&self.ecus[1], 2), Member::host(HUB, 9)]
    }

    /// New sockets: each receives each frame exactly once, in order.
    fn works(&self) -> Result<(), String> {
        let all_there = self.ecus.iter().all(|ecu| ecu.can_links() == ["can0"]) && link(HUB).is_some();
        if !all_there {
            return Err(format!(
                "can0 or {HUB} is missing: {:?}",
                self.ecus.each_ref().map(Container::can_links)
            ));
        }
        all_hear_all(&self.members().each_ref(), &[Kind::Classic, Kind::Fd], 10)
    }

    /// Breaks something while frames flow, and waits until the links, the rules and the frames are as before.
    #[track_caller]
    fn heals(&self, fault: &str, harm: impl FnOnce(&Self)) {
        let before = self.state();
        let [mut one, two, _] = self.members();
        one.number = BACKGROUND;
        let stream = BACKGROUND.to_string();
        let listener =
            two.try_listen(&["--persist", "--only", &stream]).expect("the bus works before the fault");
        let sender = one.start_sending(&["--gap", "5", "--persist"]);
        let started = Instant::now();
        harm(self);
        eventually(&format!("healed: {fault}"), || {
            self.works()?;
            let now = self.state();
            if now == before { Ok(()) } else { Err(format!("now there is {now:#?} and was {before:#?}")) }
        });
        let all = started.elapsed();
        sender.finish();
        let Heard { longest_gap_ms, .. } = listener.heard();
        say(&format!(
            "healed: {fault}: the longest gap was {longest_gap_ms} ms; everything was restored after {} ms",
            all.as_millis()
        ));
        for ecu in &self.ecus {
            let alive =
                attempt("docker", &["inspect", "--format", "{{.State.Pid}} {{.RestartCount}}", &ecu.name]);
            assert_eq!(
                alive,
                Ok(format!("{} 0", ecu.pid)),
                "{fault}: the container's first process stays the same"
            );
        }
        self.strangers.assert_untouched(fault);
    }

    fn host_end(&self) -> String {
        self.ecus[0].host_end("can0").ifname
    }

    /// Runs as root in the container, like a privileged process inside.
    #[track_caller]
    fn inside(&self, steps: &[&str]) {
        harm(&["docker", "exec", "--privileged", &self.ecus[0].name, "sh", "-c", &ip_batch(steps)]);
    }

    /// All links on the host and in the containers, in the properties that a fault can change.
    fn state(&self) -> Vec<String> {
        let inside = self.ecus.iter().map(|ecu| format!("{} has {:?}", ecu.name, ecu.links()));
        inside.chain(self.scene.traces()).collect()
    }
}

/// Several steps at once, so that canhub does not heal in between.
#[track_caller]
fn on_host(steps: &[&str]) {
    harm(&["sh", "-c", &ip_batch(steps)]);
}

/// If canhub was faster than the steps, they are repeated.
#[track_caller]
fn harm(command: &[&str]) {
    eventually("the fault is caused", || attempt(command[0], &command[1..]));
}

#[test]
fn faults_of_the_host_end_are_healed() {
    if !is_service("healing::faults_of_the_host_end_are_healed") {
        return;
    }
    let bus = Bus::new();
    bus.heals("host end deleted", |bus| ip_link(&["del", &bus.host_end()]));
    bus.heals("host end down", |bus| ip_link(&["set", &bus.host_end(), "down"]));
    bus.heals("host end renamed", |bus| ip_link(&["set", &bus.host_end(), "name", "somethingelse"]));
    bus.heals("MTU of the host end changed", |bus| {
        let end = bus.host_end();
        on_host(&[&format!("link set {end} down"), &format!("link set {end} mtu 16")]);
    });
    bus.heals("alias of the host end removed", |bus| ip_link(&["set", &bus.host_end(), "alias", ""]));
    bus.heals("host end moved away", |bus| ip_link(&["set", &bus.host_end(), "netns", NAMESPACE]));
}

#[test]
fn faults_of_the_container_end_are_healed() {
    if !is_service("healing::faults_of_the_container_end_are_healed") {
        return;
    }
    let bus = Bus::new();
    bus.heals("container end deleted", |bus| bus.inside(&["link del can0"]));
    bus.heals("container end down", |bus| bus.inside(&["link set can0 down"]));
    bus.heals("container end renamed", |bus| bus.inside(&["link set can0 name mine"]));
    bus.heals("MTU of the container end changed", |bus| {
        bus.inside(&["link set can0 down", "link set can0 mtu 16", "link set can0 up"]);
    });
    bus.heals("alias of the container end removed", |bus| bus.inside(&["link set can0 alias \"\""]));
}

#[test]
fn faults_of_the_rules_are_healed() {
    if !is_service("healing::faults_of_the_rules_are_healed") {
        return;
    }
    let bus = Bus::new();
    let rule_of = |bus: &Bus| -> Vec<String> {
        let (from, to) = (bus.host_end(), bus.ecus[1].host_end("can0").ifname);
        let wanted = format!("-s {from} -d {to}");
        let rule = rules().into_iter().find(|rule| rule.contains(&wanted)).expect("the rule exists");
        rule.split(' ').map(str::to_owned).collect()
    };
    let cangw = |rule: &[String], verb: &str| {
        let args: Vec<&str> = rule[1..].iter().map(|arg| if arg == "-A" { verb } else { arg }).collect();
        run("cangw", &args);
    };
    bus.heals("one rule deleted", |bus| cangw(&rule_of(bus), "-D"));
    bus.heals("one rule duplicated", |bus| cangw(&rule_of(bus), "-A"));
    bus.heals("another rule to the same end added", |bus| {
        let (from, to) = (bus.host_end(), bus.ecus[1].host_end("can0").ifname);
        run("cangw", &["-A", "-s", &from, "-d", &to, "-e"]);
    });
    bus.heals("all rules flushed", |bus| {
        run("cangw", &["-F"]);
        sh(Strangers::ADD_RULE);
        assert!(bus.bus.find_hub().is_some());
    });
    if gateway_is_a_module() {
        bus.heals("can-gw unloaded and loaded again", |_| {
            harm(&["sh", "-c", "rmmod can_gw && modprobe can-gw"]);
            sh(Strangers::ADD_RULE);
        });
    } else {
        say("this kernel has can-gw built in, so it was not unloaded");
    }
}

#[test]
fn faults_of_the_hub_are_healed() {
    if !is_service("healing::faults_of_the_hub_are_healed") {
        return;
    }
    let bus = Bus::new();
    bus.heals("hub deleted", |_| ip_link(&["del", HUB]));
    bus.heals("hub down", |_| ip_link(&["set", HUB, "down"]));
    bus.heals("hub renamed", |_| ip_link(&["set", HUB, "name", "elsewhere"]));
    bus.heals("MTU of the hub changed", |_| {
        on_host(&[&format!("link set {HUB} down"), &format!("link set {HUB} mtu 16")]);
    });
    bus.heals("alias of the hub removed", |_| ip_link(&["set", HUB, "alias", ""]));
}

#[test]
fn with_heal_off_nothing_is_repaired_and_the_next_start_says_so() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-asis", "heal=off"]);
    let ecu = scene.container(&bus);
    let member = ecu.member("can0", 1);
    ip_link(&["del", "vcan-asis"]);
    let refused =
        scene.try_run(&["--network", &bus.name], &["sleep", "infinity"]).expect_err("the hub is gone");
    for word in ["vcan-asis", "healing is off", "recreate the network"] {
        assert!(refused.contains(word), "{word:?} is not in: {refused}");
    }
    assert!(link("vcan-asis").is_none(), "it was repaired");
    assert_eq!(member.attempt(&["ip", "link", "show", "can0"]).map(|_| ()), Ok(()));
}

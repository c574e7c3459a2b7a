//! Health on a real host: faults are reported and hold back the boot, and a hanging Docker blocks nothing.

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::{
    canhub::{self, Configured, says},
    docker::docker,
    host::{Journal, ip_batch, ip_link, link},
    scene::Scene,
    shell::{attempt, eventually, run, sh},
};

const POLICY: &str = "/run/e2e-health.toml";
const UNITS: &str = "/run/systemd/system";

fn health() -> Value {
    let said = canhub::ask("/v1/health");
    serde_json::from_str(&said).unwrap_or_else(|err| panic!("{err}: {said}"))
}

fn component(report: &Value, name: &str) -> Value {
    let components = report["components"].as_array().expect("components are a list");
    components.iter().find(|one| one["component"] == name).cloned().unwrap_or(Value::Null)
}

/// Waits until a component has this status, and returns it.
#[track_caller]
fn until(name: &str, status: &str) -> Value {
    eventually(&format!("{name} is {status}"), || {
        let report = health();
        let found = component(&report, name);
        if found["status"] == status { Ok(found) } else { Err(report.to_string()) }
    })
}

/// The service with its own policy, until dropped.
fn with_policy(scene: &Scene, policy: &str) -> Configured {
    fs::write(POLICY, policy).expect("root may write /run");
    scene.undo(|| drop(fs::remove_file(POLICY)));
    Configured::with(&[&format!("CANHUB_HEALTH_POLICY={POLICY}")])
}

#[test]
fn a_working_host_is_healthy_and_a_missing_adapter_is_reported() {
    let scene = Scene::new();
    let bus = scene.network(&["hub=vcan-health"]);
    let _ecu = scene.container(&bus).member("can0", 1);
    let name = |report: &Value| {
        // The managed plugin does not learn the network's name.
        let names = [format!("bus:{}", bus.name), format!("bus:{}", &bus.id[..12])];
        names.into_iter().find(|name| !component(report, name).is_null())
    };
    eventually("the bus is healthy", || {
        let report = health();
        let found = name(&report).map(|name| component(&report, &name)["status"].clone());
        if found == Some("healthy".into()) { Ok(()) } else { Err(report.to_string()) }
    });
    for part in ["kernel", "state"] {
        until(part, "healthy");
    }
    let docker = if canhub::is_plugin() { "unwatched" } else { "healthy" };
    until("docker", docker);

    let _wire = scene.network(&["adapter=can77"]);
    let adapter = until("adapter:can77", "degraded");
    assert!(
        adapter["reason"].as_str().is_some_and(|why| why.contains("waiting for adapter can77")),
        "{adapter}"
    );
    let shown = says("health --wait --strict --timeout 0");
    assert!(shown.contains("still degraded") && shown.contains("waiting for adapter can77"), "{shown}");
    assert!(shown.lines().all(|line| line.chars().count() <= 80), "{shown}");
    let metrics = canhub::ask("/metrics");
    let sample = "canhub_health_component{component=\"adapter:can77\",required=\"false\"} 1";
    assert!(metrics.contains(sample), "{metrics}");
}

/// What a fleet's monitoring asks, against what the engine itself says.
#[test]
fn health_has_the_engine_version_and_counts_running_containers_on_buses() {
    if !canhub::is_service("health::health_has_the_engine_version_and_counts_running_containers_on_buses") {
        return;
    }
    let scene = Scene::new();
    let _quick = with_policy(&scene, "interval = 2\n");
    let version = docker(&["version", "--format", "{{.Server.Version}}"]);
    let until_count = |count: u64| {
        eventually(&format!("health says Docker {version} and {count} containers"), || {
            let report = health();
            let said = (&report["docker_version"], &report["containers"]);
            if said == (&version.clone().into(), &count.into()) { Ok(()) } else { Err(report.to_string()) }
        });
    };
    let [one, other] = [scene.network(&["ifname=can0"]), scene.network(&["ifname=can1"])];
    let before = health()["containers"].as_u64().expect("canhub counts containers");
    // One on two buses counts once, and one that was only created does not run.
    let both = scene.container_with(&["--network", &one.name]);
    docker(&["network", "connect", &other.name, &both.name]);
    let stopped = scene.container(&one);
    scene.create(&["--network", &one.name], &["sleep", "infinity"]);
    until_count(before + 2);
    docker(&["stop", "--time", "0", &stopped.name]);
    until_count(before + 1);
    let waited = says("health --wait --timeout 0 --json");
    let waited: Value = serde_json::from_str(&waited).unwrap_or_else(|err| panic!("{err}: {waited}"));
    assert_eq!((&waited["docker_version"], &waited["containers"]), (&version.into(), &(before + 1).into()));
}

/// boot-complete.target is not reached while a bus is broken, and is reached once it is fixed.
#[test]
fn a_boot_is_complete_only_with_its_buses() {
    if !canhub::is_service("a_boot_is_complete_only_with_its_buses") {
        return;
    }
    let scene = Scene::new();
    let _quick = with_policy(&scene, "interval = 2\n");
    let bus = scene.network(&["hub=vcan-gate", "heal=off"]);
    let name = format!("bus:{}", bus.name);
    until(&name, "healthy");
    let alias = link("vcan-gate").expect("the hub exists").ifalias;

    // Its own command with a shorter timeout, and an application that requires a complete boot.
    let shown = run("systemctl", &["cat", "canhub-boot-check.service"]);
    let start = shown.lines().find(|line| line.starts_with("ExecStart=")).expect("it starts something");
    assert!(start.ends_with("/canhub health --wait --timeout 120"), "{shown}");
    let drop_in = format!("{UNITS}/canhub-boot-check.service.d");
    fs::create_dir_all(&drop_in).expect("root may write /run");
    let quick = format!("[Service]\nExecStart=\n{}\n", start.replace("120", "6"));
    fs::write(format!("{drop_in}/e2e.conf"), quick).expect("root may write /run");
    let app = "[Unit]\nRequires=boot-complete.target\nAfter=boot-complete.target\n\
               [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n";
    fs::write(format!("{UNITS}/e2e-app.service"), app).expect("root may write /run");
    let stop = || {
        let units = ["e2e-app.service", "boot-complete.target", "canhub-boot-check.service"];
        let _ = attempt("systemctl", &[&["stop"], &units[..]].concat());
        let _ = attempt("systemctl", &["reset-failed", "canhub-boot-check.service"]);
    };
    scene.undo(move || {
        stop();
        run("systemctl", &["disable", "--runtime", "canhub-boot-check.service"]);
        sh(&format!("rm -rf {drop_in} {UNITS}/e2e-app.service; systemctl daemon-reload"));
    });
    run("systemctl", &["enable", "--runtime", "canhub-boot-check.service"]);
    run("systemctl", &["daemon-reload"]);
    let start_app = || attempt("systemctl", &["start", "e2e-app.service"]);
    let is_active = |unit| attempt("systemctl", &["is-active", unit]).is_ok();

    // Healthy: the boot is complete.
    start_app().unwrap_or_else(|err| panic!("{err}"));
    assert!(is_active("boot-complete.target"));
    stop();

    ip_link(&["del", "vcan-gate"]);
    let broken = until(&name, "unhealthy");
    assert!(broken["reason"].as_str().is_some_and(|why| why.contains("healing is off")), "{broken}");
    let started = Instant::now();
    let refused = start_app().expect_err("the boot is complete without its bus");
    assert!(refused.contains("ependency"), "{refused}");
    assert!(started.elapsed() >= Duration::from_secs(6), "it did not wait: {:?}", started.elapsed());
    assert!(!is_active("boot-complete.target") && !is_active("e2e-app.service"));
    eventually("the journal has the reason", || {
        let said =
            run("journalctl", &["-q", "--no-pager", "-o", "cat", "-u", "canhub-boot-check", "-n", "30"]);
        let why = said.contains("still unhealthy after 6 s") && said.contains("vcan-gate");
        if why { Ok(()) } else { Err(said) }
    });
    stop();

    // Fixed by hand while the gate waits.
    let mend = [
        "link add vcan-gate mtu 72 type vcan".to_owned(),
        format!("link set vcan-gate alias \"{alias}\""),
        "link set vcan-gate up".to_owned(),
    ];
    let mend: Vec<&str> = mend.iter().map(String::as_str).collect();
    sh(&format!("(sleep 1; {}) >/dev/null 2>&1 &", ip_batch(&mend)));
    let app = start_app();
    assert!(app.is_ok(), "{app:?} {} {:?}", health(), link("vcan-gate"));
    assert!(is_active("boot-complete.target") && is_active("e2e-app.service"));
}

/// Stopped, as by a debugger or a dying disk, until dropped; for a minute at most.
struct Frozen(String);

impl Frozen {
    fn docker() -> Self {
        let pid = run("systemctl", &["show", "--property=MainPID", "--value", "docker"]);
        sh(&format!("kill -STOP {pid}; (sleep 60; kill -CONT {pid}) >/dev/null 2>&1 &"));
        Self(pid)
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        run("kill", &["-CONT", &self.0]);
    }
}

#[test]
fn a_hanging_docker_blocks_nothing() {
    if !canhub::is_service("a_hanging_docker_blocks_nothing") {
        return;
    }
    let scene = Scene::new();
    let _quick = with_policy(&scene, "interval = 1\ntime-limit = 2\n");
    until("docker", "healthy");
    let journal = Journal::mark();
    let frozen = Frozen::docker();
    let docker = until("docker", "unhealthy");
    assert!(
        docker["reason"].as_str().is_some_and(|why| why.contains("did not answer within 2 s")),
        "{docker}"
    );
    let started = Instant::now();
    for _ in 0..5 {
        let report = health();
        assert_eq!(report["status"], "degraded", "Docker is optional: {report}");
    }
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    drop(frozen);
    until("docker", "healthy");
    eventually("the journal has both changes", || {
        let told = journal.since();
        let lines: Vec<&str> =
            told.lines().filter(|line| line.contains("health changed component=docker")).collect();
        let both = lines.len() == 2
            && lines[0].contains("from=healthy to=unhealthy")
            && lines[1].contains("from=unhealthy to=healthy");
        if both { Ok(()) } else { Err(told) }
    });
}

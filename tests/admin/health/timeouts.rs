//! What hangs, is slow or fails once: reported in time, without delaying anything else.

use super::*;

#[test]
fn a_hanging_docker_is_reported_in_time_and_delays_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(eager(), docker_at(&docker(dir.path(), None)));
    let (reply, report) = until(&rig, "docker", "unhealthy");
    // Docker is optional: buses work without it.
    assert_eq!((reply.status, &report["status"]), (200, &json!("degraded")));
    let docker = component(&report, "docker");
    assert!(docker["reason"].as_str().unwrap().contains("did not answer within 0.25 s"), "{docker}");
    assert_eq!((&docker["hint"], docker.get("fix")), (&json!("see `systemctl status docker`"), None));
    let started = Instant::now();
    for _ in 0..50 {
        health(&rig);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
}

#[test]
fn a_slow_or_late_docker_is_healthy() {
    let dir = tempfile::tempdir().unwrap();
    let slow = rig(eager(), docker_at(&docker(dir.path(), Some(Duration::from_millis(60)))));
    let (_, report) = until(&slow, "docker", "healthy");
    assert!(component(&report, "docker")["took_us"].as_u64().unwrap() >= 60_000, "{report:#}");

    // Its socket exists, and nobody listens yet.
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let late = Watch { docker_grace: Duration::from_secs(60), ..docker_at(&socket) };
    let rig = rig(eager(), late);
    let deadline = Instant::now() + PATIENCE;
    let is_awaited = || {
        let report: Value = serde_json::from_str(&health(&rig).body).unwrap();
        let docker = component(&report, "docker");
        assert_ne!(docker["status"], "unhealthy", "it is still starting");
        docker["reason"].as_str().unwrap().contains("it starts after canhub")
    };
    while !is_awaited() {
        assert!(Instant::now() < deadline, "{}", health(&rig).body);
    }
    std::fs::remove_file(&socket).unwrap();
    docker(dir.path(), Some(Duration::ZERO));
    until(&rig, "docker", "healthy");
}

#[test]
fn a_docker_that_no_bus_needs_may_be_missing() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig(eager(), docker_at(&dir.path().join("docker.sock")));
    let (_, report) = until(&rig, "docker", "unwatched");
    assert!(component(&report, "docker")["reason"].as_str().unwrap().contains("Docker is not used"));
    let made = json!({ "name": "body" }).to_string();
    assert_eq!(crate::ask::send(&rig.admin(), "POST", "/v1/buses", &made).status, 200);
    until(&rig, "bus:body", "healthy");
    let (_, report) = until(&rig, "overall", "healthy");
    assert_eq!(component(&report, "docker")["status"], "unwatched");
    // The engine of this network is away.
    rig.network(1, json!({}));
    until(&rig, "docker", "unhealthy");
}

#[test]
fn a_hanging_kernel_is_reported_in_time_and_blocks_one_thread() {
    let mut kernel = None;
    let wrap = |fake: Arc<FakeKernel>| kernel.insert(Hanging::around(fake)).clone();
    let rig = Rig::watched(server::TIME_LIMIT, Health::new(eager(), None), Some(no_docker()), wrap);
    let kernel = kernel.unwrap();
    reconcile(&rig);
    rig.network(1, json!({}));
    let bus = format!("bus:{}", &crate::bodies::network(1)[..12]);
    until(&rig, &bus, "healthy");
    kernel.set(true);
    let (reply, report) = until(&rig, "kernel", "unhealthy");
    assert_eq!(reply.status, 503);
    let why = component(&report, "kernel")["reason"].as_str().unwrap().to_owned();
    assert!(why.contains("did not answer within 0.25 s"), "{why}");
    let (_, report) = until(&rig, &bus, "unhealthy");
    assert!(
        component(&report, &bus)["reason"]
            .as_str()
            .unwrap()
            .contains("the state of the buses has been unknown")
    );
    assert_eq!(component(&report, "state")["status"], "healthy", "the disk is not affected");
    let failures = || {
        let report: Value = serde_json::from_str(&health(&rig).body).unwrap();
        component(&report, "kernel")["failures"].as_u64().unwrap()
    };
    let (before, deadline) = (failures(), Instant::now() + PATIENCE);
    while failures() < before + 5 {
        assert!(Instant::now() < deadline, "the checks have stopped");
        assert!(kernel.waiting() <= 1, "checks pile up: {}", kernel.waiting());
    }
    kernel.set(false);
    until(&rig, "overall", "healthy");
}

#[test]
fn a_single_failure_below_the_threshold_does_not_count() {
    let rig = rig(Policy { threshold: 1000, ..eager() }, no_docker());
    rig.network(1, json!({ "hub": "vcan-body" }));
    let name = format!("bus:{}", &crate::bodies::network(1)[..12]);
    until(&rig, &name, "healthy");
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report: Value = serde_json::from_str(&health(&rig).body).unwrap();
        let bus = component(&report, &name);
        assert_eq!(bus["status"], "healthy", "failures below the threshold do not count");
        if bus["failures"].as_u64().unwrap() >= 3 {
            break;
        }
        assert!(Instant::now() < deadline, "{bus}");
    }
}

#[test]
fn an_unwritable_disk_is_reported_and_retried() {
    let rig = rig(eager(), no_docker());
    let state = rig.state();
    rig.network(1, json!({}));
    until(&rig, "overall", "healthy");
    // A file in place of the folder makes it fail for root too.
    std::fs::rename(&state, state.with_extension("away")).unwrap();
    std::fs::write(&state, "").unwrap();
    let refused =
        rig.call("CreateNetwork", &crate::bodies::create_network(&crate::bodies::network(2), json!({})));
    assert!(refused.refused().contains("state.json"));
    let (reply, report) = until(&rig, "state", "unhealthy");
    assert_eq!(reply.status, 503);
    let component = component(&report, "state");
    assert!(component["reason"].as_str().unwrap().contains("state.json") && component["hint"].is_string());
    std::fs::remove_file(&state).unwrap();
    std::fs::create_dir(&state).unwrap();
    until(&rig, "overall", "healthy");
    assert!(rig.recorded().get(crate::bodies::network(1)).is_some(), "{}", rig.recorded());
}

//! The facts besides the components: version, boot, Docker, start-up validation, free space.

use super::*;

/// Waits until a check has found this, and returns the report.
#[track_caller]
fn until_fact(rig: &Rig, name: &str, expected: &Value) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let report: Value = serde_json::from_str(&health(rig).body).unwrap();
        if report[name] == *expected {
            return report;
        }
        assert!(Instant::now() < deadline, "{name} is not {expected}: {report:#}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_report_has_version_boot_and_uptime() {
    let rig = rig(eager(), no_docker());
    let now = || serde_json::from_str::<Value>(&health(&rig).body).unwrap();
    let first = now();
    assert_eq!(first["version"], env!("CARGO_PKG_VERSION"));
    let boot_id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    assert_eq!(first["boot_id"], boot_id.trim());
    thread::sleep(Duration::from_millis(1100));
    let second = now();
    assert!(first["uptime_seconds"].as_u64() < second["uptime_seconds"].as_u64(), "{second:#}");
    let timestamp = |report: &Value| report["timestamp"].as_str().unwrap().to_owned();
    assert!(timestamp(&first) < timestamp(&second), "each answer has its own time");
    assert!(timestamp(&first).ends_with('Z') && timestamp(&first).len() == "2026-11-21T08:05:00.250Z".len());
}

#[test]
fn the_result_of_the_startup_validation_is_kept() {
    let mut kernel = None;
    let wrap = |fake: Arc<FakeKernel>| kernel.insert(fake).clone();
    let rig = Rig::watched(server::TIME_LIMIT, Health::new(eager(), None), Some(no_docker()), wrap);
    let report: Value = serde_json::from_str(&health(&rig).body).unwrap();
    assert_eq!(report["startup_validation"], Value::Null, "nothing has been validated yet");
    rig.network(1, json!({ "hub": "vcan-body" }));
    rig.network(2, json!({ "adapter": "can7" }));
    kernel.unwrap().delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    reconcile(&rig);
    let (_, report) = until(&rig, "kernel", "healthy");
    let validation = report["startup_validation"].clone();
    assert!(validation["finished"].as_str().unwrap() <= report["timestamp"].as_str().unwrap(), "{report:#}");
    assert_eq!((&validation["buses"], &validation["failed"]), (&json!(2), &json!(0)), "{validation}");
    assert_eq!((&validation["healed"], &validation["problems"]), (&json!(1), &json!(1)), "{validation}");

    // Later heals do not belong to the start.
    rig.kernel.delete_link(None, rig.link("vcan-body").unwrap().index).unwrap();
    reconcile(&rig);
    let (_, report) = until(&rig, &format!("bus:{}", &crate::bodies::network(1)[..12]), "healthy");
    assert_eq!(report["startup_validation"], validation);
}

#[test]
fn running_containers_on_buses_are_counted_and_unknown_while_the_kernel_hangs() {
    let mut kernel = None;
    let wrap = |fake: Arc<FakeKernel>| kernel.insert(Hanging::around(fake)).clone();
    let rig = Rig::watched(server::TIME_LIMIT, Health::new(eager(), None), Some(no_docker()), wrap);
    let kernel = kernel.unwrap();
    reconcile(&rig);
    until_fact(&rig, "containers", &json!(0));
    let (body, seat) = (rig.network(1, json!({})), rig.network(2, json!({})));
    let first = rig.member(&body, 1);
    rig.member(&body, 2);
    until_fact(&rig, "containers", &json!(2));
    // The first container is also on the second bus.
    let sandbox = crate::bodies::sandbox(1);
    let both = crate::bodies::endpoint(3);
    let options = json!({ "com.docker.network.endpoint.ifname": "can1" });
    rig.call("CreateEndpoint", &crate::bodies::create_endpoint(&seat, &both, options)).ok();
    rig.call("Join", &crate::bodies::join(&seat, &both, &sandbox)).ok();
    rig.member(&seat, 4);
    until_fact(&rig, "containers", &json!(3));
    rig.part(&body, &first);
    rig.part(&seat, &both);
    until_fact(&rig, "containers", &json!(2));
    kernel.set(true);
    until_fact(&rig, "containers", &Value::Null);
    kernel.set(false);
    until_fact(&rig, "containers", &json!(2));
}

#[test]
fn dockers_version_is_reported_while_docker_answers() {
    let dir = tempfile::tempdir().unwrap();
    let socket = docker(dir.path(), Some(Duration::ZERO));
    let rig = rig(eager(), docker_at(&socket));
    until_fact(&rig, "docker_version", &json!("28.5.2"));
    std::fs::remove_file(&socket).unwrap();
    until_fact(&rig, "docker_version", &Value::Null);
}

#[test]
fn free_space_is_that_of_the_state_folder_and_unknown_without_one() {
    let rig = rig(eager(), no_docker());
    let (_, report) = until(&rig, "state", "healthy");
    let free = report["state_free_bytes"].as_u64().unwrap();
    let now = canhub::kernel::free_space(&rig.state()).unwrap().bytes;
    assert!(free.abs_diff(now) < 1 << 30, "{free} and {now}: others use the disk too");
    std::fs::remove_dir_all(rig.state()).unwrap();
    until_fact(&rig, "state_free_bytes", &Value::Null);
}

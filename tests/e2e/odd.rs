//! Old and odd machines: Docker's user and the journal are told what `canhub doctor` says.

use serde_json::Value;

use crate::support::{
    canhub::{self, is_service, says},
    frames::assert_all_hear_all,
    host::link,
    report::Kind,
    scene::Scene,
    shell::{assert_refused, attempt, eventually, not_run, run, say, sh},
};

/// What doctor says of the check, with what to do.
fn told_by_doctor(check: &str) -> String {
    let report: Value = serde_json::from_str(&says("doctor --json")).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let finding = findings.iter().find(|finding| finding["check"] == check && finding["level"] == "error");
    let finding = finding.unwrap_or_else(|| panic!("{check}: {findings:#?}"));
    format!("{}: {}", finding["sentence"].as_str().unwrap(), finding["hint"].as_str().unwrap())
}

/// Asserts that `docker network create`, `docker run` if there is a bus, and the start of canhub say the same as doctor.
fn all_say_the_same(scene: &Scene, check: &str, bus: Option<&str>) -> String {
    let told = told_by_doctor(check);
    assert_refused(scene.try_network(canhub::driver(), &[]), &["Operation not supported", &told]);
    if let Some(bus) = bus {
        assert_refused(scene.try_run(&["--network", bus], &["true"]), &["Operation not supported", &told]);
    }
    canhub::restart();
    eventually("the journal has it", || {
        let pid = canhub::pid();
        let journal = sh(&format!("journalctl --unit=canhub --output=cat --no-pager _PID={pid}"));
        if journal.contains(&told) { Ok(()) } else { Err(journal) }
    });
    told
}

#[test]
fn a_module_that_modprobe_must_not_load_is_reported_with_the_file_that_forbids_it() {
    // A managed plugin does not see the files of the host.
    if !is_service("odd::a_module_that_modprobe_must_not_load_is_reported_with_the_file_that_forbids_it") {
        return;
    }
    let scene = Scene::new();
    let bus = scene.network(&[]);
    // modprobe runs this instead of loading the module.
    sh("mkdir -p /run/modprobe.d && echo 'install can-gw /bin/false' >/run/modprobe.d/e2e.conf");
    scene.undo(|| {
        sh("rm -f /run/modprobe.d/e2e.conf && modprobe can-gw");
    });
    sh("! grep -q '^can_gw ' /proc/modules || rmmod can_gw");
    let told = all_say_the_same(&scene, "module-can-gw", Some(&bus.name));
    assert!(told.contains("can-gw is on disk, but /run/modprobe.d/e2e.conf keeps it"), "{told}");

    sh("rm -f /run/modprobe.d/e2e.conf");
    // canhub requests the module itself.
    let ecu = scene.container(&bus);
    assert_all_hear_all(&[&ecu.member("can0", 1), &bus.host(2)], &[Kind::Classic], 20);
}

/// Unloads a module and takes it off the disk, until the end of the scene. Returns false if it is built into the kernel.
fn hide(scene: &Scene, module: &'static str) -> bool {
    let file = format!("find /lib/modules/$(uname -r) -name '{module}.ko*'");
    if attempt("sh", &["-c", &format!("{file} | grep .")]).is_err() {
        return false;
    }
    scene.undo(move || give_back(module));
    sh(&format!(
        "file=$({file}); echo $file >/run/e2e-{module}.path; mv $file /run/e2e-{module}.ko; depmod; \
        ! grep -q '^{module} ' /proc/modules || rmmod {module}"
    ));
    true
}

fn give_back(module: &str) {
    sh(&format!(
        "[ ! -e /run/e2e-{module}.ko ] || {{ mv /run/e2e-{module}.ko $(cat /run/e2e-{module}.path); depmod; }}"
    ));
}

/// As on Raspberry Pi OS before September 2026, and with many kernels of vendors.
#[test]
fn a_kernel_without_vxcan_makes_no_networks_and_names_the_way_out() {
    let name = "odd::a_kernel_without_vxcan_makes_no_networks_and_names_the_way_out";
    if !is_service(name) {
        return;
    }
    let scene = Scene::new();
    if !hide(&scene, "vxcan") {
        return not_run(name, "vxcan is built into this kernel");
    }
    let told = all_say_the_same(&scene, "module-vxcan", None);
    let release = run("uname", &["-r"]);
    let begins = format!("this kernel ({release}) has no vxcan, so containers cannot get CAN interfaces");
    assert!(told.starts_with(&begins), "{told}");
    scene.assert_nothing_is_left();

    give_back("vxcan");
    let bus = scene.network(&[]);
    assert!(link("canhub-probe").is_none(), "the probe made an interface");
    let ecu = scene.container(&bus);
    assert_all_hear_all(&[&ecu.member("can0", 1), &bus.host(2)], &[Kind::Classic], 20);
}

#[test]
fn a_kernel_without_netem_shapes_no_frames_and_names_the_way_out() {
    let name = "odd::a_kernel_without_netem_shapes_no_frames_and_names_the_way_out";
    if !is_service(name) {
        return;
    }
    let scene = Scene::new();
    let shaped = scene.network(&["hub=vcan-shaped", "loss=100%"]);
    if !hide(&scene, "sch_netem") {
        return not_run(name, "sch_netem is built into this kernel");
    }
    let release = run("uname", &["-r"]);
    let told = format!(
        "this kernel ({release}) has no sch_netem, so frames cannot be delayed, lost, duplicated or corrupted"
    );
    assert_refused(scene.try_bus(&["delay=5ms"]), &[&told, "CONFIG_NET_SCH_NETEM"]);
    let bus = scene.network(&["hub=vcan-plain"]);
    let ecu = scene.container(&bus);
    assert_refused(
        scene.try_run(&["--network", &format!("name={},driver-opt=rx-loss=5%", bus.name)], &["true"]),
        &[&told, "CONFIG_NET_SCH_NETEM"],
    );
    let fault =
        |what: &str| attempt(&canhub::program(), &["fault", &bus.name, &ecu.name, what, "--for", "1s"]);
    assert_refused(fault("loss=5%"), &[&told, "CONFIG_NET_SCH_NETEM"]);
    assert_eq!(says("fault list --json"), r#"{"faults":[]}"#, "nothing is left of it");
    fault("cut").unwrap();

    // A bus that was made by another kernel works, without its shapes.
    let mute = scene.container(&shaped);
    let told = eventually("doctor says that the bus has no shapes", || {
        let report: Value = serde_json::from_str(&says("doctor --json")).unwrap();
        let findings = report["findings"].as_array().unwrap();
        let is_it = |one: &&Value| one["sentence"].as_str().is_some_and(|text| text.contains("sch_netem"));
        findings.iter().find(is_it).cloned().ok_or_else(|| format!("{findings:#?}"))
    });
    assert_eq!((&told["level"], &told["fix"]), (&"error".into(), &Value::Null), "nothing to load: {told:#}");
    assert!(told["sentence"].as_str().is_some_and(|text| text.contains("CONFIG_NET_SCH_NETEM")), "{told:#}");
    assert_all_hear_all(&[&mute.member("can0", 1), &shaped.host(2)], &[Kind::Classic], 20);

    give_back("sch_netem");
    sh(&format!(
        "curl --silent --show-error --request POST --unix-socket {} http://localhost/v1/heal",
        canhub::admin_socket()
    ));
    assert!(mute.qdisc("show dev can0").contains("loss 100%"));
    fault("delay=1ms").unwrap();
}

#[test]
fn podman_in_place_of_docker_is_named() {
    let name = "odd::podman_in_place_of_docker_is_named";
    if attempt("podman", &["--version"]).is_err() {
        return not_run(name, "this guest has no Podman");
    }
    let scene = Scene::new();
    let socket = "/run/e2e-podman.sock";
    run(
        "systemd-run",
        &[
            "--quiet",
            "--collect",
            "--unit=e2e-podman",
            "podman",
            "system",
            "service",
            "--time=0",
            &format!("unix://{socket}"),
        ],
    );
    scene.undo(move || {
        sh(&format!("systemctl stop e2e-podman; rm -f {socket}"));
    });
    eventually("doctor names it", || {
        let told = says(&format!("doctor --json --docker-socket {socket}"));
        let is_named = told.contains("Podman") && told.contains("has no network plugins of Docker");
        if is_named && told.contains("canhub attach") { Ok(()) } else { Err(told) }
    });
}

/// The commands of a block of this language in docs/ci.md.
fn documented(language: &str, prompt: &str) -> Vec<String> {
    let page = include_str!("../../docs/ci.md");
    let block = page.split("\n```").find_map(|part| part.strip_prefix(&format!("{language}\n")));
    let lines = block.unwrap_or_else(|| panic!("no block of {language}")).lines();
    lines
        .filter_map(|line| line.trim_start().strip_prefix(prompt))
        .map(|line| line.replace("sudo ", ""))
        .collect()
}

#[test]
fn the_recipe_for_ci_machines_makes_a_bus_between_containers() {
    if !is_service("odd::the_recipe_for_ci_machines_makes_a_bus_between_containers") {
        return;
    }
    let scene = Scene::new();
    scene.undo(|| {
        let _ = attempt("sh", &["-c", "docker rm --force listener; docker network rm ci"]);
    });
    let recipe = documented("yaml", "- run: ");
    assert_eq!(recipe.len(), 3, "{recipe:#?}");
    let (left_out, runs): (Vec<&str>, Vec<&str>) = recipe
        .iter()
        .flat_map(|line| line.split(" && "))
        .partition(|command| command.starts_with("apt-get ") || command.starts_with("make "));
    say(&format!("NOT RUN: of docs/ci.md, which need a network and a compiler: {left_out:?}"));
    assert!(left_out.len() == 4 && runs.len() == 3, "{runs:?}");
    for command in runs {
        sh(command);
    }
    let mut told = String::new();
    for (number, command) in documented("sh", "").iter().enumerate() {
        told += &sh(command);
        if number == 0 {
            eventually("candump listens", || {
                attempt("docker", &["exec", "listener", "grep", "can0", "/proc/net/can/rcvlist_all"])
            });
        }
    }
    assert!(told.contains("DE AD BE EF") && told.contains("canhub"), "{told}");
}

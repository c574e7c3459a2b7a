//! Buses on existing interfaces, and rustycan4docker's options for them.

use crate::support::{
    canhub,
    compose::{self, Project},
    docker::{IMAGE, docker},
    frames::{all_hear_all, assert_all_hear_all},
    host::{self, link},
    member::Member,
    report::Kind,
    scene::Scene,
    shell::{eventually, run},
};

#[test]
fn an_adapter_carries_the_bus_and_is_not_changed() {
    let scene = Scene::new();
    scene.foreign_vcan("adapter-e2e");
    run("ip", &["link", "set", "adapter-e2e", "alias", "the garage's own"]);
    let shown = || run("ip", &["-d", "link", "show", "adapter-e2e"]);
    let before = shown();

    let bus = scene.network(&["adapter=adapter-e2e"]);
    let (one, two) = (scene.container(&bus).member("can0", 1), scene.container(&bus).member("can0", 2));
    let adapter = Member::host("adapter-e2e", 9);
    assert_all_hear_all(
        &[&one, &two, &adapter],
        &[Kind::Classic, Kind::Extended, Kind::Remote, Kind::Fd],
        50,
    );

    scene.remove_all();
    assert_eq!(shown(), before);
    assert_eq!(host::rules().iter().filter(|rule| rule.contains("adapter-e2e")).count(), 0);
}

/// As in rustycan4docker's README, except for the driver name.
fn drop_in() -> Project {
    Project::new(&format!(
        "services:\n  can-test:\n    image: alpine:latest\n    networks:\n      - canbus0\n    \
         command: sh -c 'ip link show can0; sleep infinity'\n    restart: unless-stopped\n\
         networks:\n  canbus0:\n    driver: {:?}\n    driver_opts:\n      vxcan.dev: can\n      \
         vxcan.peer: can\n      vxcan.id: 0\n",
        canhub::driver()
    ))
}

/// There is no registry, so the tests' own image must do.
fn alpine(scene: &Scene) {
    docker(&["tag", IMAGE, "alpine:latest"]);
    scene.undo(|| {
        docker(&["rmi", "alpine:latest"]);
    });
}

#[test]
fn the_compose_file_of_rustycan4docker_works_with_another_driver_name() {
    if !compose::is_there("adapter::the_compose_file_of_rustycan4docker_works_with_another_driver_name") {
        return;
    }
    let scene = Scene::new();
    alpine(&scene);
    scene.foreign_vcan("can0");
    let project = drop_in();
    project.up();

    let [ecu] = &project.containers()[..] else { panic!("one container runs") };
    assert_all_hear_all(&[&ecu.member("can0", 1), &Member::host("can0", 2)], &[Kind::Classic, Kind::Fd], 50);
    let shown = eventually("the container has listed can0", || {
        let shown = project.compose(&["logs", "--no-log-prefix"])?;
        if shown.contains("can0") { Ok(shown) } else { Err(shown) }
    });
    assert!(!shown.contains("does not exist"), "{shown}");
}

#[test]
fn a_missing_can0_is_never_replaced_by_a_vcan() {
    if !compose::is_there("adapter::a_missing_can0_is_never_replaced_by_a_vcan") {
        return;
    }
    let scene = Scene::new();
    alpine(&scene);
    let project = drop_in();

    project.up();
    let [ecu] = &project.containers()[..] else { panic!("one container runs") };
    let ecu = ecu.member("can0", 1);
    assert!(link("can0").is_none(), "a vcan has the name of hardware");

    // Once it is plugged in, the waiting container is connected to it.
    scene.foreign_vcan("can0");
    eventually("the adapter joins the bus", || {
        all_hear_all(&[&ecu, &Member::host("can0", 2)], &[Kind::Classic], 20)
    });
}

#[test]
fn the_readme_example_of_rustycan4docker_works() {
    let scene = Scene::new();
    assert!(link("vcan0").is_none(), "this test needs the name vcan0 for itself");
    let before = host::rules();
    let bus = scene.network(&["vxcan.dev=vcan", "vxcan.id=0", "vxcan.peer=vcanp"]);
    let (one, two) = (scene.container_with(&[]), scene.container_with(&[]));
    for ecu in [&one, &two] {
        docker(&["network", "connect", &bus.name, &ecu.name]);
    }

    let (one, two) = (one.member("vcanp0", 1), two.member("vcanp0", 2));
    assert_all_hear_all(&[&one, &two, &Member::host("vcan0", 9)], &[Kind::Classic, Kind::Fd], 50);
    let mut rules = host::rules();
    rules.retain(|rule| !before.contains(rule));
    // Six ways, each with a rule for classic, for FD and for error frames.
    assert_eq!(rules.len(), 18, "{rules:#?}");

    scene.remove_all();
    assert!(link("vcan0").is_none(), "canhub created it, so it is deleted with the network");
}

//! Containers come and go, and nothing is left behind.

use std::path::Path;

use crate::support::{
    canhub,
    compose::{self, Project},
    docker::{Container, IMAGE, docker, names},
    frames::{assert_all_hear_all, assert_hears},
    host,
    member::Member,
    report::Kind,
    scene::Scene,
    shell::{eventually, run},
};

#[test]
fn a_running_container_can_be_connected_and_disconnected_repeatedly() {
    let scene = Scene::new();
    let (home, bus) = (scene.network(&["ifname=can9"]), scene.network(&["hub=vcan-visit"]));
    let (resident, visitor) = (scene.container(&bus), scene.container(&home));
    let (resident, host) = (resident.member("can0", 1), Member::host("vcan-visit", 2));
    let before = scene.traces();

    for _ in 0..4 {
        docker(&["network", "connect", &bus.name, &visitor.name]);
        // Docker before 28 increments the number at each connect; the name stays the same anyway.
        let member = visitor.member("can0", 3);
        assert_eq!(visitor.can_links(), ["can0", "can9"]);
        assert_all_hear_all(&[&resident, &host, &member], &[Kind::Classic, Kind::Fd], 20);

        docker(&["network", "disconnect", &bus.name, &visitor.name]);
        assert_eq!(visitor.can_links(), ["can9"]);
        assert_eq!(scene.traces(), before);
        assert_all_hear_all(&[&resident, &host], &[Kind::Classic], 20);
    }
}

#[test]
fn an_endpoint_gets_the_interface_name_of_its_option() {
    const IFNAME: &str = "com.docker.network.endpoint.ifname";
    let scene = Scene::new();
    let (home, bus) = (scene.network(&["ifname=can9"]), scene.network(&[]));
    let ecu = scene.container(&home);

    docker(&["network", "connect", "--driver-opt", &format!("{IFNAME}=can7"), &bus.name, &ecu.name]);
    assert_all_hear_all(&[&ecu.member("can7", 1), &bus.host(2)], &[Kind::Classic], 20);

    let option = format!("name={},driver-opt={IFNAME}=chassis", bus.name);
    let named = scene.container_with(&["--network", &option]);
    assert_all_hear_all(&[&named.member("chassis", 3), &ecu.member("can7", 1)], &[Kind::Classic], 20);
    assert_eq!(named.can_links(), ["chassis"]);
}

#[test]
fn a_container_on_two_buses_never_gets_their_names_swapped() {
    const STARTS: usize = 5;
    let scene = Scene::new();
    let (body, drive) = (scene.network(&["ifname=can0"]), scene.network(&["ifname=can1"]));
    let gateway = scene.create(&["--network", &body.name], &["sleep", "infinity"]);
    docker(&["network", "connect", &drive.name, &gateway]);
    let hosts = [body.host(1), drive.host(2)];

    for start in 1..=STARTS {
        docker(&["start", &gateway]);
        let running = Container::running(&gateway);
        let members = [running.member("can0", 3), running.member("can1", 4)];
        assert_eq!(running.can_links(), ["can0", "can1"], "start {start}");
        for (member, host) in members.iter().zip(&hosts) {
            assert_hears(member, &[host], &[Kind::Classic], 5);
        }
        docker(&["kill", &gateway]);
    }
}

#[test]
fn twenty_containers_started_at_once_all_reach_each_other() {
    const COUNT: u8 = 20;
    if !compose::is_there("lifecycle::twenty_containers_started_at_once_all_reach_each_other") {
        return;
    }
    let scene = Scene::new();
    let project = Project::new(&format!(
        "services:\n  ecu:\n    image: {IMAGE}\n    command: [sleep, infinity]\n    networks: [bus]\n    \
         stop_grace_period: 0s\n    deploy: {{ replicas: {COUNT} }}\nnetworks:\n  bus:\n    driver: {:?}\n    \
         ipam: {{ driver: \"null\" }}\n",
        canhub::driver()
    ));
    project.up();

    let members: Vec<Member> =
        project.containers().iter().zip(1..).map(|(ecu, number)| ecu.member("can0", number)).collect();
    assert_eq!(members.len(), usize::from(COUNT));
    let host = project.network("bus").host(99);
    let all: Vec<&Member> = members.iter().chain([&host]).collect();
    assert_all_hear_all(&all, &[Kind::Classic], 1);

    drop(project);
    scene.assert_nothing_is_left();
}

#[test]
fn however_a_container_ends_nothing_is_left_behind() {
    let scene = Scene::new();
    let bus = scene.network(&[]);
    let empty_bus = scene.traces();
    let stays = scene.container(&bus);
    let with_one = scene.traces();
    let [stopped, killed, removed] = [(), (), ()].map(|()| scene.container(&bus));
    let with_all = scene.traces();
    assert!(with_all.len() > with_one.len() && with_one.len() > empty_bus.len(), "{with_all:#?}");

    docker(&["stop", "--time", "1", &stopped.name]);
    run("kill", &["-KILL", &killed.pid.to_string()]);
    docker(&["wait", &killed.name]);
    docker(&["rm", "--force", &removed.name]);
    eventually("all but one container are gone", || {
        let left = scene.traces();
        if left == with_one { Ok(()) } else { Err(format!("{left:#?}")) }
    });
    assert_all_hear_all(&[&stays.member("can0", 1), &bus.host(2)], &[Kind::Classic], 20);

    // A stopped container comes back under its old name, and joins the bus again.
    docker(&["start", &stopped.name]);
    let again = Container::running(&stopped.name);
    assert_all_hear_all(&[&stays.member("can0", 1), &again.member("can0", 3)], &[Kind::Classic], 20);

    scene.remove_containers();
    assert_eq!(scene.traces(), empty_bus);
    assert_eq!(host::records(), Vec::<std::path::PathBuf>::new());
    scene.remove_all();
    scene.assert_nothing_is_left();
    assert!(!host::state_networks().contains(&bus.id));
}

#[test]
fn a_container_has_one_can_interface_per_bus_and_no_other_network() {
    let scene = Scene::new();
    let (one, two) = (scene.network(&["ifname=can0"]), scene.network(&["ifname=can1"]));
    let ecu = scene.container(&one);
    docker(&["network", "connect", &two.name, &ecu.name]);
    ecu.member("can1", 1);

    assert_eq!(ecu.can_links(), ["can0", "can1"]);
    assert_eq!(ecu.links().len(), 3, "the third is lo: {:?}", names(&ecu.links()));
    let addresses = ecu.run(&["ip", "-o", "addr", "show"]);
    let of_can: Vec<&str> = addresses.lines().filter(|line| !line.contains(" lo ")).collect();
    assert!(of_can.is_empty(), "{of_can:#?}");
    for family in ["-4", "-6"] {
        let routes = ecu.run(&["ip", family, "route", "show", "table", "main"]);
        assert!(!routes.contains("default") && !routes.contains("can"), "{routes}");
    }
    assert!(!Path::new("/sys/class/net/docker_gwbridge").exists());
    assert!(!docker(&["network", "ls"]).contains("docker_gwbridge"));
}

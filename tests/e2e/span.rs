//! The span port: where `canhub-span` takes part in a bus. Here a probe does so in its place.

use crate::support::{
    canhub::{Configured, is_service, says},
    docker::{Container, Network},
    frames::{ALL_KINDS, all_hear_all, assert_all_hear_all},
    host::{ip_link, link, rules},
    member::Member,
    report::Kind,
    scene::Scene,
    shell::{eventually, run},
};

/// Both ends of a network's span port: on the bus, and for `canhub-span`.
fn ends(bus: &Network) -> [String; 2] {
    let id = bus.id.get(..10).expect("an ID has 64 digits");
    [format!("cb{id}"), format!("cs{id}")]
}

#[test]
fn the_span_port_hears_every_member_once_and_everybody_hears_it() {
    let scene = Scene::new();
    let bus = scene.network(&["span=e2e"]);
    let [_, inner] = ends(&bus);
    let ecus: Vec<Container> = (0..2).map(|_| scene.container(&bus)).collect();
    let members: Vec<Member> = ecus.iter().zip(1..).map(|(ecu, number)| ecu.member("can0", number)).collect();
    let (host, port) = (bus.host(8), Member::host(&inner, 9));
    let all: Vec<&Member> = members.iter().chain([&host, &port]).collect();
    // No socket hears its own frames: what a host sent does not come back to it.
    assert_all_hear_all(&all, &ALL_KINDS, 250);

    // Without canhub-span, status says so, with exit status 1.
    let told = says("status");
    assert!(told.contains("(span e2e)") && told.contains(&inner), "{told}");
    assert!(says("hosts").contains("canhub-span"));
}

#[test]
fn the_span_port_is_healed_and_goes_with_its_network() {
    if !is_service("span::the_span_port_is_healed_and_goes_with_its_network") {
        return;
    }
    // Rules have no events, so the audit interval must be short.
    let _configured = Configured::with(&["CANHUB_AUDIT_INTERVAL=1"]);
    let scene = Scene::new();
    let bus = scene.network(&["span=e2e-heals"]);
    let [outer, inner] = ends(&bus);
    let ecu = scene.container(&bus);
    let works = || {
        let members = [ecu.member("can0", 1), bus.host(8), Member::host(&inner, 9)];
        all_hear_all(&members.each_ref(), &[Kind::Classic, Kind::Fd], 10)
    };
    let heals = |fault: &str, harm: &dyn Fn()| {
        harm();
        eventually(&format!("healed: {fault}"), works);
    };
    heals("nothing is wrong", &|| {});
    heals("outer end deleted", &|| ip_link(&["del", &outer]));
    heals("inner end deleted", &|| ip_link(&["del", &inner]));
    heals("outer end down", &|| ip_link(&["set", &outer, "down"]));
    heals("inner end down", &|| ip_link(&["set", &inner, "down"]));
    heals("inner end renamed", &|| ip_link(&["set", &inner, "name", "somethingelse"]));
    heals("inner end moved away", &|| {
        run("ip", &["netns", "add", "e2e-span"]);
        ip_link(&["set", &inner, "netns", "e2e-span"]);
        run("ip", &["netns", "del", "e2e-span"]);
    });
    heals("hub deleted", &|| ip_link(&["del", &bus.hub()]));
    heals("all rules flushed", &|| drop(run("cangw", &["-F"])));
    assert!(rules().iter().any(|rule| rule.contains(&format!("-d {outer}")) && rule.contains(" -t ")));

    scene.remove_all();
    assert!(link(&outer).is_none() && link(&inner).is_none());
}

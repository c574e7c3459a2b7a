//! What a managed plugin can attach.

use super::{canhub, try_canhub};
use crate::support::{
    canhub::is_plugin,
    frames::assert_all_hear_all,
    netns::{Netns, Process},
    report::Kind,
    scene::Scene,
    shell::{assert_refused, not_run},
};

#[test]
fn it_attaches_containers_of_docker_and_names_the_service_for_everything_else() {
    if !is_plugin() {
        not_run(
            "attach::plugin::it_attaches_containers_of_docker_and_names_the_service_for_everything_else",
            "canhub is a service here, which attaches every namespace",
        );
        return;
    }
    let scene = Scene::new();
    let network = scene.network(&[]);
    let (container, alone) = (scene.container(&network), scene.container_with(&["--network", "none"]));
    canhub(&format!("attach {} --netns {} --id by.name", network.name, alone.name));
    let members = [container.member("can0", 1), alone.member("can0", 2), network.host(9)];
    assert_all_hear_all(&members.each_ref(), &[Kind::Classic, Kind::Fd], 20);
    let (named, process) = (Netns::new(), Process::new());
    for netns in [named.name.clone(), process.pid().to_string(), "1".into()] {
        let refused = try_canhub(&format!("attach {} --netns {netns}", network.name));
        assert_refused(refused, &["managed plugin", "as a service"]);
    }
    canhub("detach by.name");
    assert_eq!(alone.can_links(), [""; 0]);
}

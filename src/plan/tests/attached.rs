//! Attachments: endpoints without Docker, which nobody moves and whose path may lead elsewhere later.

use super::*;
use crate::kernel::Link;

/// An attachment of this namespace to the only bus of a model.
fn attached(kernel: &FakeKernel, model: &mut Model, path: &str) -> EndpointId {
    let network = model.networks().next().unwrap().clone();
    let id = EndpointId::from(u64::MAX);
    let inside = kernel.look_into([Path::new(path)].into()).remove(Path::new(path)).unwrap().unwrap();
    model.put_endpoint(Endpoint {
        id: id.clone(),
        stage: Stage::Joined { sandbox: path.into() },
        attached: Some(crate::attachment::Attached {
            id: (&id).into(),
            name: "ecu".into(),
            options: RawOptions::new(),
        }),
        namespace: inside.and_then(|inside| inside.cookie),
        ..endpoint(200, &network)
    });
    id
}

#[test]
fn an_attachment_is_planned_like_a_container() {
    let (kernel, mut model) = world(1, 2);
    kernel.add_sandbox("/run/netns/ecu");
    let id = attached(&kernel, &mut model, "/run/netns/ecu");
    assert!(id.is_attached() && !endpoint(16, model.networks().next().unwrap()).id.is_attached());
    heals(&kernel, &model);
    assert_eq!(heals(&kernel, &model), [""; 0]);
    let names = |links: Vec<Link>| links.into_iter().map(|link| link.name).collect::<Vec<_>>();
    let inside = kernel.sandbox_links("/run/netns/ecu".as_ref()).unwrap().unwrap();
    assert_eq!(names(inside), ["can0"]);
    assert!(names(kernel.links().unwrap()).contains(&id.host_end().to_string()));
}

#[test]
fn no_end_is_left_on_the_host_for_docker_to_move() {
    let (kernel, mut model) = world(1, 0);
    let id = attached(&kernel, &mut model, "/run/netns/gone");
    let mut have = Have { links: kernel.links().unwrap(), ..Have::default() };
    have.sandboxes.insert("/run/netns/gone".into(), Sandbox::Missing);
    let planned = plan(&model.want(), &have, Scope::Join(&id));
    assert!(
        !planned.steps.iter().any(|step| matches!(step.action, Action::CreatePair { .. })),
        "{:?}",
        planned.steps
    );
}

#[test]
fn another_namespace_at_its_path_gets_nothing_and_ends_nothing() {
    let (kernel, mut model) = world(1, 1);
    kernel.add_sandbox("/proc/7/ns/net");
    let id = attached(&kernel, &mut model, "/proc/7/ns/net");
    heals(&kernel, &model);
    let pair = host_end_of(&kernel, &id);
    // The process has ended, others are still in its namespace, and another process has its ID.
    kernel.move_sandbox("/proc/7/ns/net".as_ref(), "/proc/8/ns/net".as_ref());
    kernel.add_sandbox("/proc/7/ns/net");
    let reasons = || heal(&kernel, &model).iter().map(|step| step.reason.as_str()).collect::<Vec<_>>();
    assert_eq!(reasons(), [""; 0]);
    let host = |kernel: &FakeKernel| host_end_of(kernel, &id);
    assert_eq!(host(&kernel), pair);
    // What can be reached from the host is healed.
    let down = LinkChange { up: Some(false), ..LinkChange::default() };
    kernel.change_link(None, pair.unwrap().index, &down).unwrap();
    assert_eq!(reasons(), ["the link was down"]);
    assert_eq!(kernel.sandbox_links("/proc/7/ns/net".as_ref()).unwrap().unwrap(), []);
    // Its own namespace ends.
    kernel.end_sandbox("/proc/8/ns/net".as_ref());
    assert_eq!(reasons(), [""; 0]);
    assert_eq!(host(&kernel), None);
    assert_eq!(kernel.sandbox_links("/proc/7/ns/net".as_ref()).unwrap().unwrap(), []);
}

fn host_end_of(kernel: &FakeKernel, id: &EndpointId) -> Option<Link> {
    let have = Have { links: kernel.links().unwrap(), ..Have::default() };
    have.host_end(id).cloned()
}

//! HTTP as dockerd speaks it, and as no client should.

use std::{thread, time::Duration};

use serde_json::json;

use super::{bodies, client::Client, rig::Rig};

/// No body of dockerd is this large.
const HUGE: usize = 2 << 20;

/// Trap 21: Docker 20.10 sends an empty `Host:`.
#[test]
fn an_empty_host_header_is_fine() {
    let rig = Rig::new();
    let mut client = rig.client();
    client.host = "";
    client.call_raw("Plugin.Activate", b"").ok();
    client.call("NetworkDriver.CreateNetwork", &bodies::create_network(&bodies::network(1), json!({}))).ok();
}

/// Trap 21: dockerd dials a managed plugin and hangs up without sending anything.
#[test]
fn a_connection_without_a_request_is_harmless() {
    let rig = Rig::new();
    for _ in 0..20 {
        drop(rig.client());
        rig.client().hang_up();
    }
    rig.client().call_raw("Plugin.Activate", b"").ok();
}

/// Trap 1: on a dropped connection, dockerd repeats the request without its body. A server that closes idle
/// connections, as hyper does by default, makes that happen.
#[test]
fn an_idle_connection_is_never_closed() {
    let rig = Rig::new();
    let mut busy = rig.client();
    let mut untouched = rig.client();
    let network = bodies::network(1);
    busy.call("NetworkDriver.CreateNetwork", &bodies::create_network(&network, json!({}))).ok();
    // Longer than the 10 s after which a server with a header timeout gives up.
    for pause in [0, 1, 12_500] {
        thread::sleep(Duration::from_millis(pause));
        busy.call("NetworkDriver.Leave", &bodies::both(&network, &bodies::endpoint(1))).ok();
    }
    untouched.call_raw("NetworkDriver.GetCapabilities", b"").ok();
    // And a head that arrives in pieces, with a pause in between.
    untouched.send(b"POST /Plugin.Activate HTTP/1.1\r\nHost: \r\n");
    thread::sleep(Duration::from_millis(500));
    untouched.send(b"Content-Length: 0\r\n\r\n");
    untouched.reply().unwrap().ok();
}

#[test]
fn one_connection_carries_a_thousand_requests() {
    let rig = Rig::new();
    let mut client = rig.client();
    for _ in 0..1000 {
        let reply = client.call("NetworkDriver.EndpointOperInfo", &bodies::both("a", "b"));
        assert!(!reply.head.to_ascii_lowercase().contains("connection: close"), "{reply:?}");
        reply.ok();
    }
}

/// dockerd keeps three or more connections when it stops many containers at once.
#[test]
fn connections_are_served_concurrently() {
    let rig = Rig::new();
    let mut clients: Vec<Client> = (0..64).map(|_| rig.client()).collect();
    for client in &mut clients {
        let head = client.head("NetworkDriver.GetCapabilities", "Content-Length: 0");
        client.send(&head);
    }
    for mut client in clients.into_iter().rev() {
        client.reply().unwrap().ok();
    }
}

/// Trap 1: a repeated request without a body is refused for every method with IDs, and changes nothing.
#[test]
fn a_repeated_request_without_a_body_fails_and_changes_nothing() {
    let rig = Rig::new();
    let network = rig.network(1, json!({}));
    rig.member(&network, 1);
    let before = (rig.ours(), rig.inside(&bodies::sandbox(1)));
    for method in [
        "Join",
        "CreateNetwork",
        "DeleteNetwork",
        "CreateEndpoint",
        "DeleteEndpoint",
        "Leave",
        "EndpointOperInfo",
    ] {
        for body in [&b""[..], b"\n", b" \r\n\t"] {
            let reply = rig.client().call_raw(&format!("NetworkDriver.{method}"), body);
            let why = reply.refused();
            assert!(why.contains("has no body") && why.contains("try the command again"), "{method}: {why}");
        }
        for nothing in [&b"null"[..], b"{}", b"[]"] {
            rig.client().call_raw(&format!("NetworkDriver.{method}"), nothing).refused();
        }
    }
    assert_eq!((rig.ours(), rig.inside(&bodies::sandbox(1))), before);
    rig.part(&network, &bodies::endpoint(1));
}

#[test]
fn a_huge_body_is_refused_and_the_driver_keeps_working() {
    let rig = Rig::new();
    let mut text = bodies::create_network(&bodies::network(1), json!({})).to_string();
    text.push_str(&" ".repeat(HUGE));
    let why = rig.client().call_raw("NetworkDriver.CreateNetwork", text.as_bytes()).refused();
    assert!(why.contains("body"), "{why}");
    rig.assert_clean();
    rig.client().call_raw("Plugin.Activate", b"").ok();
}

/// An announced body that never arrives affects nobody else.
#[test]
fn an_aborted_request_changes_nothing() {
    let rig = Rig::new();
    let body = bodies::create_network(&bodies::network(1), json!({})).to_string();
    let mut broken = rig.client();
    let head = broken.head("NetworkDriver.CreateNetwork", &format!("Content-Length: {}", body.len()));
    broken.send(&[&head, &body.as_bytes()[..body.len() - 1]].concat());
    broken.hang_up();
    if let Some(reply) = broken.reply() {
        assert!(reply.status != 200 || reply.err().is_some(), "{reply:?}");
    }
    rig.client().call_raw("Plugin.Activate", b"").ok();
    rig.assert_clean();
}

#[test]
fn a_chunked_body_works_like_one_with_a_length() {
    let rig = Rig::new();
    let body = bodies::create_network(&bodies::network(1), json!({})).to_string();
    let mut client = rig.client();
    let mut request = client.head("NetworkDriver.CreateNetwork", "Transfer-Encoding: chunked");
    for piece in body.as_bytes().chunks(50) {
        request.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
        request.extend_from_slice(piece);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"0\r\n\r\n");
    client.send(&request);
    client.reply().unwrap().ok();
    assert!(rig.recorded().get(bodies::network(1)).is_some(), "{}", rig.recorded());
}

#[test]
fn only_post_is_supported() {
    let rig = Rig::new();
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        let mut client = rig.client();
        client.send(
            format!("{method} /Plugin.Activate HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes(),
        );
        let head = client.reply_head().unwrap();
        assert!(head.starts_with("HTTP/1.1 405"), "{method}: {head}");
    }
}

#[test]
fn bytes_that_are_not_http_are_harmless() {
    let rig = Rig::new();
    let overlong = [b"POST /".as_slice(), &[b'a'; 600_000], b" HTTP/1.1\r\n\r\n"].concat();
    for rubbish in
        [&b"\0\0\0\0"[..], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n\r\n\r\n", b"{}\n", &overlong]
    {
        let mut client = rig.client();
        client.send(rubbish);
        client.hang_up();
    }
    rig.client().call_raw("Plugin.Activate", b"").ok();
}

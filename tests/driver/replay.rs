//! Recorded conversations with Docker 20.10.24, 26.1.5, 28.5.2 and 29.7.2.
//!
//! The order of calls, the IDs and the bodies are as captured. The only changes are driver options of the dummy driver
//! that was used for the capture, and truncated IDs, which are padded with zeros. Each line is a call with the expected
//! response, or something that Docker does on the host in between.

use std::collections::BTreeMap;

use canhub::kernel::{Kernel, LinkChange};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    bus::{host_end, hub},
    client::Client,
    rig::Rig,
};

#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
enum Line {
    Call {
        method: String,
        #[serde(default)]
        body: Value,
        #[serde(default)]
        answer: Answer,
    },
    Docker {
        docker: Doing,
        sandbox: String,
    },
    Dies {
        dockerd: String,
    },
}

/// The expected response.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    #[default]
    Done,
    /// Join: the interface is already inside.
    Inside,
    /// Join: Docker moves the interface.
    Move,
    Refused,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Doing {
    /// Creates a container's namespace, and moves the interface there if requested.
    Makes,
    /// Moves the interface back, between Leave and DeleteEndpoint.
    Returns,
    /// Deletes the namespace.
    Ends,
}

/// Docker's side of the host.
#[derive(Default)]
struct Docker {
    /// By sandbox: the interface to move according to Join.
    to_move: BTreeMap<String, Value>,
    /// The current members of each network.
    joined: BTreeMap<String, Vec<String>>,
}

fn replay(version: &str, conversation: &str) {
    let rig = Rig::new();
    let mut docker = Docker::default();
    let mut client = rig.client();
    for (number, line) in conversation.lines().enumerate() {
        let at = format!("{version}, line {}", number + 1);
        match serde_json::from_str(line).unwrap_or_else(|err| panic!("{at}: {err}")) {
            Line::Call { method, body, answer } => {
                docker.call(&rig, &mut client, &method, &body, answer, &at);
            }
            Line::Docker { docker: Doing::Makes, sandbox } => docker.makes(&rig, &sandbox, &at),
            Line::Docker { docker: Doing::Returns, sandbox } => docker.returns(&rig, &sandbox),
            Line::Docker { docker: Doing::Ends, sandbox } => rig.kernel.end_sandbox(sandbox.as_ref()),
            Line::Dies { dockerd } => {
                assert_eq!(dockerd, "restarts", "{at}");
                client = rig.client();
            }
        }
    }
    rig.assert_clean();
}

impl Docker {
    fn call(&mut self, rig: &Rig, client: &mut Client, method: &str, body: &Value, answer: Answer, at: &str) {
        let reply = match body {
            Value::Null => client.call_raw(method, b""),
            body => client.call(method, body),
        };
        if answer == Answer::Refused {
            reply.refused();
            return;
        }
        let got = reply.ok();
        let text = |key: &str| body[key].as_str().unwrap_or_default().to_owned();
        let (network, endpoint) = (text("NetworkID"), text("EndpointID"));
        match method.trim_start_matches("NetworkDriver.") {
            "Plugin.Activate" => assert_eq!(got, json!({ "Implements": ["NetworkDriver"] }), "{at}"),
            "GetCapabilities" => {
                assert_eq!(got, json!({ "Scope": "local", "ConnectivityScope": "local" }), "{at}");
            }
            "EndpointOperInfo" => assert_eq!(got, json!({ "Value": {} }), "{at}"),
            "Join" => {
                assert_eq!(got["DisableGatewayService"], json!(true), "{at}");
                let inside = got.get("InterfaceName").is_none();
                assert_eq!(inside, answer == Answer::Inside, "{at}: {got}");
                if !inside {
                    self.to_move.insert(text("SandboxKey"), got["InterfaceName"].clone());
                }
                self.joined.entry(network.clone()).or_default().push(endpoint);
                self.assert_bus(rig, &network);
            }
            "DeleteEndpoint" => {
                assert_eq!(got, json!({}), "{at}");
                let members = self.joined.entry(network.clone()).or_default();
                members.retain(|member| *member != endpoint);
                assert_eq!(rig.link(&host_end(&endpoint)), None, "{at}");
                self.assert_bus(rig, &network);
            }
            _ => assert_eq!(got, json!({}), "{at}"),
        }
    }

    /// Every running member receives every other's frames.
    fn assert_bus(&self, rig: &Rig, network: &str) {
        let hub = if rig.link("vcan0").is_some() { "vcan0".to_owned() } else { hub(network) };
        let living = self.joined[network].iter().filter(|id| rig.link(&host_end(id)).is_some());
        rig.assert_bus(&hub, &living.map(String::as_str).collect::<Vec<_>>());
    }

    fn makes(&mut self, rig: &Rig, sandbox: &str, at: &str) {
        rig.kernel.add_sandbox(sandbox);
        let Some(name) = self.to_move.get(sandbox) else { return };
        let source = rig.link(name["SrcName"].as_str().unwrap());
        let index = source.unwrap_or_else(|| panic!("{at}: Docker cannot find {name}")).index;
        let inside = format!("{}0", name["DstPrefix"].as_str().unwrap());
        rig.kernel.move_link(index, None, Some(sandbox.as_ref()), &inside);
        let up = LinkChange { up: Some(true), ..LinkChange::default() };
        rig.kernel.change_link(Some(sandbox.as_ref()), index, &up).unwrap();
    }

    fn returns(&mut self, rig: &Rig, sandbox: &str) {
        let Some(name) = self.to_move.remove(sandbox) else { return };
        for link in rig.links_inside(sandbox) {
            rig.kernel.move_link(link.index, Some(sandbox.as_ref()), None, name["SrcName"].as_str().unwrap());
        }
    }
}

#[test]
fn docker_20_10_starts_stops_connects_and_restarts() {
    replay("20.10.24", include_str!("fixtures/docker-20.10.24.jsonl"));
}

#[test]
fn docker_26_1_starts_stops_connects_and_restarts() {
    replay("26.1.5", include_str!("fixtures/docker-26.1.5.jsonl"));
}

#[test]
fn docker_28_5_starts_stops_connects_and_restarts() {
    replay("28.5.2", include_str!("fixtures/docker-28.5.2.jsonl"));
}

#[test]
fn docker_29_7_starts_stops_connects_and_restarts() {
    replay("29.7.2", include_str!("fixtures/docker-29.7.2.jsonl"));
}

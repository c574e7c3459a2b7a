//! Request bodies as captured, and IDs as Docker generates them.

#![allow(dead_code, reason = "the tests, those of the admin socket and the bench use different parts")]

use serde_json::{Value, json};

/// A network ID of 64 hex digits.
pub fn network(number: u32) -> String {
    format!("{:08x}", 0xe189_0000_u32 + number).repeat(8)
}

/// An endpoint ID of 64 hex digits.
pub fn endpoint(number: u32) -> String {
    format!("{:08x}", 0x583e_0000_u32 + number).repeat(8)
}

/// Where Docker puts the network namespace of a container.
pub fn sandbox(number: u32) -> String {
    format!("/var/run/docker/netns/{:012x}", 0x2344_22f8_0000_u64 + u64::from(number))
}

/// CreateNetwork with the null IPAM driver, as sent by 28 and 29.
pub fn create_network(id: &str, options: Value) -> Value {
    json!({
        "NetworkID": id,
        "Options": {
            "com.docker.network.enable_ipv4": true,
            "com.docker.network.enable_ipv6": false,
            "com.docker.network.generic": options,
        },
        "IPv4Data": [{ "AddressSpace": "null", "Pool": "0.0.0.0/0" }],
        "IPv6Data": [],
    })
}

/// CreateEndpoint with the options that Docker always sends, and more.
pub fn create_endpoint(network: &str, endpoint: &str, options: Value) -> Value {
    let mut all = json!({
        "com.docker.network.endpoint.exposedports": [{ "Proto": 6, "Port": 80 }],
        "com.docker.network.portmap":
            [{ "Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080 }],
    });
    if let (Some(all), Value::Object(options)) = (all.as_object_mut(), options) {
        all.extend(options);
    }
    json!({
        "NetworkID": network,
        "EndpointID": endpoint,
        "Interface": { "Address": "", "AddressIPv6": "", "MacAddress": "" },
        "Options": all,
    })
}

/// Join.
pub fn join(network: &str, endpoint: &str, sandbox: &str) -> Value {
    json!({
        "NetworkID": network,
        "EndpointID": endpoint,
        "SandboxKey": sandbox,
        "Options": {
            "com.docker.network.endpoint.exposedports": [{ "Proto": 6, "Port": 80 }],
            "com.docker.network.portmap":
                [{ "Proto": 6, "IP": "", "Port": 80, "HostIP": "", "HostPort": 8080, "HostPortEnd": 8080 }],
        },
    })
}

/// Leave, DeleteEndpoint and EndpointOperInfo.
pub fn both(network: &str, endpoint: &str) -> Value {
    json!({ "NetworkID": network, "EndpointID": endpoint })
}

/// DeleteNetwork.
pub fn delete_network(network: &str) -> Value {
    json!({ "NetworkID": network })
}

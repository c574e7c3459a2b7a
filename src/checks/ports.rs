//! Published ports that Docker ignores because the container is on CAN networks only.

use std::io;

use super::{Finding, Group};

const CHECK: &str = "published-ports";

/// The finding for the container names that Docker returned, or for the error.
pub(super) fn of(names: io::Result<Vec<String>>) -> Vec<Finding> {
    match names {
        Ok(names) if names.is_empty() => {
            vec![Finding::pass(
                Group::Docker,
                CHECK,
                "no container that is only on CAN networks publishes ports",
            )]
        }
        Ok(names) => names.iter().map(unreachable).collect(),
        Err(err) => {
            let sentence = format!("cannot inspect published ports: {err}");
            vec![Finding::warning(Group::Docker, CHECK, sentence).hint("see `journalctl -u docker -n 50`")]
        }
    }
}

fn unreachable(name: &String) -> Finding {
    let sentence = format!(
        "the published ports of container {name} are not reachable: it is on CAN networks only, and Docker publishes ports on bridge networks"
    );
    Finding::warning(Group::Docker, CHECK, sentence).about(name).hint(
        "connect the container to a bridge network as well (Compose: add `default` to its `networks:`), or remove its ports",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    #[test]
    fn each_container_with_unreachable_ports_is_named() {
        assert_eq!(of(Ok(vec![]))[0].level, Level::Pass);
        let two = of(Ok(vec!["ecu1".into(), "ecu2".into()]));
        assert_eq!((two.len(), two[1].level, two[1].subject.as_deref()), (2, Level::Warning, Some("ecu2")));
        assert!(two[1].sentence.contains("container ecu2") && two[1].fix.is_none(), "{two:?}");
        assert_eq!(of(Err(io::ErrorKind::TimedOut.into()))[0].level, Level::Warning);
    }
}

//! Networks that another Docker Engine created: this one cannot tell whether they still exist.

use std::{collections::BTreeSet, path::Path};

use super::{
    Finding, Group,
    docker::{Docker, limited},
    networks::quoted,
};
use crate::{docker::facts, network::Network};

const CHECK: &str = "other-engine";

impl Docker {
    /// Networks in canhub's records that another engine created. Without an answer from Docker there are no findings:
    /// another check reports that.
    pub async fn of_other_engines(&self, known: &[Network], driver: &Path) -> Vec<Finding> {
        let (engine, listed) =
            tokio::join!(limited(facts::engine_id(&self.socket)), limited(facts::networks(&self.socket)));
        match (engine, listed) {
            (Ok(engine), Ok(listed)) => {
                let listed = listed.iter().map(|network| network.id.as_str()).collect();
                of_others(known, &engine, &listed, driver)
            }
            _ => Vec::new(),
        }
    }
}

/// A wiped data folder gives Docker a new engine ID, and a second engine may use the same canhub. Only a person knows
/// which of the two it is, so canhub keeps these networks.
fn of_others(known: &[Network], engine: &str, listed: &BTreeSet<&str>, driver: &Path) -> Vec<Finding> {
    let is_of_another = |network: &&Network| {
        !network.id.is_made()
            && network.engine.as_deref() != Some(engine)
            && !listed.contains(network.id.as_ref())
    };
    let finding = |network: &Network| {
        let name = network.name.as_deref().unwrap_or(network.id.short());
        let (origin, when) = match network.engine {
            Some(_) => (
                "was created by another Docker Engine than the one that is running",
                "Docker's data folder was deleted",
            ),
            None => {
                ("has never been listed by the Docker Engine that canhub asks", "no other engine uses it")
            }
        };
        let sentence = format!(
            "network {name} ({}) {origin}; canhub keeps it until it is removed: remove it if {when}",
            network.hub()
        );
        // What Docker would send if it still knew the network.
        let call = format!(
            "curl --silent --show-error --fail --unix-socket {} --data '{{\"NetworkID\":\"{}\"}}' http://localhost/NetworkDriver.DeleteNetwork",
            quoted(&driver.display().to_string()),
            network.id
        );
        Finding::warning(Group::Leftovers, CHECK, sentence).about(name).by(call)
    };
    known.iter().filter(is_of_another).map(finding).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(digits: &str, engine: Option<&str>) -> Network {
        let raw = [("hub".to_owned(), format!("vcan-{digits}"))].into();
        let network = Network::new(digits.repeat(32).try_into().unwrap(), raw).unwrap();
        Network { engine: engine.map(str::to_owned), name: Some(format!("bus-{digits}")), ..network }
    }

    #[test]
    fn only_networks_that_another_engine_created_and_this_one_does_not_list_are_reported() {
        let known = [
            network("a1", Some("this")),
            network("b2", Some("wiped")),
            network("c3", Some("wiped")),
            // Of an engine that is never asked, or removed while canhub was not running.
            network("d4", None),
        ];
        let made = Network { id: 7.into(), ..network("e5", None) };
        let known = [&known[..], &[made]].concat();
        // Its ID changed, and its networks did not.
        let listed = "c3".repeat(32);
        let findings = of_others(&known, "this", &[listed.as_str()].into(), Path::new("/run/canhub.sock"));
        let [finding, unlisted] = &findings[..] else { panic!("{findings:?}") };
        assert!(
            unlisted.sentence.contains("bus-d4 (vcan-d4) has never been listed"),
            "{}",
            unlisted.sentence
        );
        assert_eq!(finding.subject.as_deref(), Some("bus-b2"));
        assert!(finding.sentence.contains("bus-b2 (vcan-b2)"), "{}", finding.sentence);
        assert_eq!(
            finding.fix,
            Some(format!(
                "curl --silent --show-error --fail --unix-socket /run/canhub.sock --data '{{\"NetworkID\":\"{}\"}}' http://localhost/NetworkDriver.DeleteNetwork",
                "b2".repeat(32)
            ))
        );
    }
}

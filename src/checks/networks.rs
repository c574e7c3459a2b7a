//! Docker's networks of ours: do they give out addresses, and which are still another plugin's.

use super::{Finding, Group, docker::is_ours};
use crate::docker::facts::NetworkFacts;

/// Networks of ours whose IPAM gives out addresses, which CAN has no use for.
pub(super) fn addresses(driver: &str, networks: &[NetworkFacts]) -> Vec<Finding> {
    let ours: Vec<_> = networks.iter().filter(|network| is_ours(&network.driver, driver)).collect();
    let check = "null-ipam";
    let mut wrong: Vec<Finding> = ours
        .iter()
        .filter(|network| network.ipam.driver != "null" && network.enable_ipv4)
        .map(|network| {
            let sentence = format!(
                "network {} gives out IP addresses, which CAN has no use for: it takes a subnet from Docker's pool, and Docker 27 and older put an address on each CAN interface",
                network.name
            );
            Finding::warning(Group::Docker, check, sentence).about(&network.name).by(again(network, &network.driver))
        })
        .collect();
    if wrong.is_empty() {
        let sentence = match ours.len() {
            0 => "Docker has no network of canhub's yet".to_owned(),
            1 => "Docker's one network of canhub's gives out no addresses".to_owned(),
            several => format!("Docker's {several} networks of canhub's give out no addresses"),
        };
        wrong.push(Finding::pass(Group::Docker, check, sentence));
    }
    wrong
}

/// Networks whose driver is still the plugin that canhub takes over from.
pub(super) fn of_rustycan(driver: &str, networks: &[NetworkFacts]) -> Vec<Finding> {
    let theirs = |network: &&NetworkFacts| {
        !is_ours(&network.driver, driver)
            && ["rustyvxcan", "rustycan4docker"].iter().any(|other| is_ours(&network.driver, other))
    };
    let finding = |network: &NetworkFacts| {
        let sentence = format!(
            "network {} still has the driver {} of rustycan4docker; canhub understands its options",
            network.name, network.driver
        );
        let again = again(network, driver);
        Finding::warning(Group::Leftovers, "rustycan4docker-network", sentence).about(&network.name).by(again)
    };
    networks.iter().filter(theirs).map(finding).collect()
}

/// The network once more, as it should have been made.
fn again(network: &NetworkFacts, driver: &str) -> String {
    let NetworkFacts { name, options, .. } = network;
    let options: String =
        options.iter().flatten().map(|(key, value)| format!(" -o {key}={}", quoted(value))).collect();
    let name = quoted(name);
    format!(
        "docker network rm {name} && docker network create -d {driver} --ipam-driver null{options} {name}"
    )
}

/// For a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=#@+%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    fn networks(json: &str) -> Vec<NetworkFacts> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_network_with_addresses_is_named_with_how_to_make_it_again() {
        let all = networks(
            r#"[{"Name":"bridge","Driver":"bridge","IPAM":{"Driver":"default"}},
                {"Id":"2","Name":"good","Driver":"canhub","IPAM":{"Driver":"null"}},
                {"Id":"3","Name":"no-ipv4","Driver":"canhub:latest","EnableIPv4":false,"IPAM":{"Driver":"default"}},
                {"Id":"4","Name":"can bus","Driver":"canhub:latest","IPAM":{"Driver":"default"},"Options":{"hub":"vcan0"}}]"#,
        );
        let [wrong] = &addresses("canhub", &all)[..] else { panic!("one") };
        assert_eq!((wrong.level, wrong.subject.as_deref()), (Level::Warning, Some("can bus")));
        assert_eq!(
            wrong.fix.as_deref(),
            Some(
                "docker network rm 'can bus' && docker network create -d canhub:latest --ipam-driver null -o hub=vcan0 'can bus'"
            )
        );
        assert!(of_rustycan("canhub", &all).is_empty());
        let old = networks(r#"[{"Name":"old","Driver":"rustyvxcan","Options":{"vxcan.id":"0"}}]"#);
        assert_eq!(
            of_rustycan("canhub", &old)[0].fix.as_deref(),
            Some(
                "docker network rm old && docker network create -d canhub --ipam-driver null -o vxcan.id=0 old"
            )
        );
        assert!(of_rustycan("rustyvxcan", &old).is_empty(), "canhub answers under the old name");
        let [none] = &addresses("canhub", &all[..3])[..] else { panic!("one") };
        assert_eq!(none.level, Level::Pass);
    }
}

//! Docker networks that use canhub or rustycan4docker: do they assign addresses, which driver do they use.

use super::{Finding, Group};
use crate::docker::facts::{NetworkFacts, is_ours};

/// Labels of networks that Compose created.
const COMPOSE_PROJECT: &str = "com.docker.compose.project";
const COMPOSE_NETWORK: &str = "com.docker.compose.network";

/// Whether a network is ours and assigns IP addresses.
pub(super) fn gives_addresses(driver: &str, network: &NetworkFacts) -> bool {
    is_ours(&network.driver, driver) && network.ipam.driver != "null" && network.enable_ipv4
}

/// Our networks that assign IP addresses, which CAN does not use.
pub(super) fn addresses(driver: &str, networks: &[NetworkFacts]) -> Vec<Finding> {
    let check = "null-ipam";
    let mut wrong: Vec<Finding> = networks
        .iter()
        .filter(|network| gives_addresses(driver, network))
        .map(|network| {
            let sentence = format!(
                "network {} assigns IP addresses, which CAN does not use: it takes a subnet from Docker's pool, and Docker 27 and older put an address on each CAN interface",
                network.name
            );
            let finding = Finding::warning(Group::Docker, check, sentence).about(&network.name);
            match compose_key(network) {
                Some((project, key)) => finding.hint(format!(
                    "in the Compose file of project {project}, give the network {key} `ipam: {{driver: \"null\"}}` (with the quotes), then run `docker compose down` and `docker compose up -d`"
                )),
                None => finding.by(recreate(network, &network.driver)),
            }
        })
        .collect();
    if wrong.is_empty() {
        let sentence = match networks.iter().filter(|network| is_ours(&network.driver, driver)).count() {
            0 => "no CAN networks yet".to_owned(),
            1 => "1 CAN network, without IP addresses".to_owned(),
            several => format!("{several} CAN networks, without IP addresses"),
        };
        wrong.push(Finding::pass(Group::Docker, check, sentence));
    }
    wrong
}

/// Networks that still use the driver that canhub replaces.
pub(super) fn of_rustycan(driver: &str, networks: &[NetworkFacts]) -> Vec<Finding> {
    let theirs = |network: &&NetworkFacts| {
        !is_ours(&network.driver, driver)
            && ["rustyvxcan", "rustycan4docker"].iter().any(|other| is_ours(&network.driver, other))
    };
    let finding = |network: &NetworkFacts| {
        let sentence = format!(
            "network {} still uses rustycan4docker's driver {}; canhub understands its options",
            network.name, network.driver
        );
        let hint = match compose_key(network) {
            Some((project, key)) => format!(
                "in the Compose file of project {project}, give the network {key} `driver: {driver}`, then run `docker compose down` and `docker compose up -d`"
            ),
            None => format!("stop its containers, then: {}", recreate(network, driver)),
        };
        Finding::warning(Group::Leftovers, "rustycan4docker-network", sentence)
            .about(&network.name)
            .hint(hint)
    };
    networks.iter().filter(theirs).map(finding).collect()
}

/// The Compose project of a network, and its key in the Compose file. Compose refuses a network that it did not create
/// itself ("incorrect label"), so such a network cannot be recreated by hand.
fn compose_key(network: &NetworkFacts) -> Option<(&str, &str)> {
    let labels = network.labels.as_ref()?;
    let project = labels.get(COMPOSE_PROJECT)?;
    Some((project, labels.get(COMPOSE_NETWORK).unwrap_or(&network.name)))
}

/// The commands that recreate the network correctly. Docker does not remove a network with running containers ("has
/// active endpoints"), so these are disconnected first and reconnected afterwards.
fn recreate(network: &NetworkFacts, driver: &str) -> String {
    let NetworkFacts { name, options, containers, .. } = network;
    let options: String =
        options.iter().flatten().map(|(key, value)| format!(" -o {key}={}", quoted(value))).collect();
    let name = quoted(name);
    let members: Vec<String> =
        containers.iter().flatten().map(|(_, container)| quoted(&container.name)).collect();
    let each = |action: &str| {
        members.iter().map(|member| format!("docker network {action} {name} {member}")).collect()
    };
    let disconnect: Vec<String> = each("disconnect");
    let create = format!("docker network create -d {driver} --ipam-driver null{options} {name}");
    let connect: Vec<String> = each("connect");
    [disconnect, vec![format!("docker network rm {name}"), create], connect].concat().join(" && ")
}

/// Quotes a word for a shell.
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
    fn a_network_with_addresses_is_reported_with_how_to_recreate_it() {
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
            of_rustycan("canhub", &old)[0].hint.as_deref(),
            Some(
                "stop its containers, then: docker network rm old && docker network create -d canhub --ipam-driver null -o vxcan.id=0 old"
            )
        );
        assert!(of_rustycan("rustyvxcan", &old).is_empty(), "canhub answers under the old name");
        let [none] = &addresses("canhub", &all[..3])[..] else { panic!("one") };
        assert_eq!(none.level, Level::Pass);
    }

    #[test]
    fn running_containers_are_disconnected_before_a_network_is_recreated() {
        let all = networks(
            r#"[{"Id":"1","Name":"body","Driver":"canhub","IPAM":{"Driver":"default"},
                 "Containers":{"c1":{"Name":"ecu1"},"c2":{"Name":"ecu2"}}}]"#,
        );
        assert_eq!(
            addresses("canhub", &all)[0].fix.as_deref(),
            Some(
                "docker network disconnect body ecu1 && docker network disconnect body ecu2 && docker network rm body && docker network create -d canhub --ipam-driver null body && docker network connect body ecu1 && docker network connect body ecu2"
            )
        );
    }

    #[test]
    fn a_compose_network_is_fixed_in_its_file() {
        let all = networks(
            r#"[{"Id":"1","Name":"garage_body","Driver":"canhub","IPAM":{"Driver":"default"},
                 "Labels":{"com.docker.compose.project":"garage","com.docker.compose.network":"body"}},
                {"Id":"2","Name":"garage_old","Driver":"rustyvxcan",
                 "Labels":{"com.docker.compose.project":"garage","com.docker.compose.network":"old"}}]"#,
        );
        for (finding, words) in [
            (addresses("canhub", &all).remove(0), "network body `ipam: {driver: \"null\"}`"),
            (of_rustycan("canhub", &all).remove(0), "network old `driver: canhub`"),
        ] {
            let hint = finding.hint.unwrap_or_default();
            assert!(hint.contains("project garage") && hint.contains(words), "{hint}");
            assert!(hint.contains("`docker compose down`") && finding.fix.is_none(), "{hint}");
        }
    }
}

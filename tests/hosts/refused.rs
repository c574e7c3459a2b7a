//! Who may not take part is refused, and both sides say why.

use std::{
    thread::{panicking, sleep},
    time::Duration,
};

use crate::support::{
    bus::{Bus, until_joined},
    fleet::{join, three, try_join, two, with_input},
    guest::Guest,
    shell::{eventually, not_run, say},
};

const NETWORK: &str = "who";

/// Both hosts on a span of this name, and connected.
#[track_caller]
fn joined(a: &Guest, b: &Guest) -> [Bus; 2] {
    let buses = [a, b].map(|host| Bus::new(host, NETWORK, &["span=who"]));
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
    buses
}

/// `canhub status` or the journal of canhub-span has a sentence with all these words.
#[track_caller]
fn says_why(host: &Guest, words: &[&str]) {
    let told = eventually(&format!("{} says {words:?}", host.name), || {
        let said = host.try_sh(
            "canhub status 2>&1; canhub hosts 2>&1; journalctl -q --no-pager -o cat -u canhub-span -n 60",
        )?;
        let has_all =
            |line: &&str| words.iter().all(|word| line.to_lowercase().contains(&word.to_lowercase()));
        said.lines().find(has_all).map(str::to_owned).ok_or(said)
    });
    say(&format!("{}: {}", host.name, told.trim()));
}

/// Nothing crosses, neither way.
#[track_caller]
fn apart(buses: &[Bus; 2]) {
    for (from, to) in [(0, 1), (1, 0)] {
        let dump = buses[to].hub(8).start(&["candump", "-n", "1", "-T", "2000", &buses[to].hub]);
        sleep(Duration::from_millis(500));
        buses[from].host.run(&["cansend", &buses[from].hub, "666#01"]);
        let heard = dump.finish().unwrap_or_else(|err| err);
        assert!(!heard.contains("666"), "{} hears {}: {heard}", buses[to].host.name, buses[from].host.name);
    }
}

#[test]
fn a_host_without_the_right_for_a_span_neither_speaks_nor_listens() {
    let (a, b) = two();
    let buses = joined(&a, &b);
    a.sh("canhub-span allow b --span other");
    says_why(&a, &["b may not speak on span who"]);
    says_why(&b, &["b may not speak on span who"]);
    apart(&buses);
    a.sh("canhub-span allow b --all");
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
}

#[test]
fn a_revoked_host_is_out_until_it_is_invited_again() {
    let (a, b) = two();
    let buses = joined(&a, &b);
    a.sh("canhub-span revoke b");
    says_why(&a, &["b", "revoked"]);
    says_why(&b, &["revoked"]);
    apart(&buses);
    join(&a, &b, "b", "");
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
}

#[test]
fn a_host_of_another_fleet_is_refused() {
    let (a, b) = two();
    let buses = joined(&a, &b);
    // Its settings still name the first host.
    b.sh("canhub-span leave && canhub-span init --name b && systemctl restart canhub-span");
    says_why(&a, &["certificate"]);
    says_why(&b, &["certificate"]);
    apart(&buses);
    b.sh("canhub-span leave && rm -r /etc/canhub/span-ca");
    a.sh("canhub-span revoke b");
    join(&a, &b, "b", "");
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
}

#[test]
fn a_program_without_a_certificate_is_refused() {
    let (a, b) = two();
    let _buses = joined(&a, &b);
    let refused = b
        .try_sh(&format!("curl --silent --show-error --insecure --max-time 5 https://{}:7447/", a.address()));
    let why = refused.expect_err("it has no certificate");
    say(&why);
    says_why(&a, &["certificate"]);
}

#[test]
fn an_expired_certificate_is_refused() {
    let (a, b) = two();
    let buses = joined(&a, &b);
    // For this host, a certificate of a year is over.
    b.sh("date -s \"$(date -d '+400 days')\" && systemctl restart canhub-span");
    says_why(&b, &["expired"]);
    says_why(&a, &["expired"]);
    apart(&buses);
    b.sh("date -s \"$(date -d '-400 days')\" && systemctl restart canhub-span");
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
}

/// The third host is c again in the end, whatever happens.
struct ThirdAgain<'a> {
    first: &'a Guest,
    third: &'a Guest,
}

impl Drop for ThirdAgain<'_> {
    fn drop(&mut self) {
        let Self { first, third } = self;
        let left = third.try_sh("canhub-span leave; rm -f /etc/canhub/span.toml");
        let revoked = left.and_then(|_| first.try_sh("canhub-span revoke c"));
        let joined = revoked.and_then(|_| try_join(first, third, "c", ""));
        match joined {
            Err(err) if !panicking() => panic!("{} is not c again: {err}", third.name),
            Err(err) => say(&format!("{} is not c again: {err}", third.name)),
            Ok(()) => {}
        }
    }
}

#[test]
fn a_host_of_another_protocol_version_is_refused() {
    const OTHER: &str = "/host/canhub-span-of-another-protocol";
    let (a, b) = two();
    if b.try_sh(&format!("test -x {OTHER}")).is_err() {
        not_run(
            "a_host_of_another_protocol_version_is_refused",
            "it needs one more program: make test-hosts",
        );
        return;
    }
    let buses = joined(&a, &b);
    let installed = "/usr/local/bin/canhub-span";
    b.sh(&format!(
        "systemctl stop canhub-span; mount --bind {OTHER} {installed}; systemctl start canhub-span"
    ));
    says_why(
        &a,
        &["b is refused: it speaks version 2 of the protocol between hosts, this host speaks version 1"],
    );
    says_why(
        &b,
        &["a is refused: it speaks version 1 of the protocol between hosts, this host speaks version 2"],
    );
    apart(&buses);
    b.sh(&format!("systemctl stop canhub-span; umount {installed}; systemctl start canhub-span"));
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
}

#[test]
fn three_hosts_cannot_have_two_of_one_name() {
    let Some((a, b, c)) = three("three_hosts_cannot_have_two_of_one_name") else { return };
    let buses = joined(&a, &b);
    let address = c.address();
    let _again = ThirdAgain { first: &a, third: &c };
    c.sh("canhub-span leave");
    // The second use of an invitation: the same name, another machine.
    let invitation = a.sh("canhub-span renew b");
    with_input(
        &c,
        &format!("rm -f /etc/canhub/span.toml; canhub-span join --listen {address}:7447"),
        &invitation,
    )
    .unwrap_or_else(|err| panic!("{err}"));
    c.sh("systemctl restart canhub-span");
    let third = Bus::new(&c, NETWORK, &["span=who"]);
    says_why(&a, &["two hosts of the fleet are called b", "the one that started later is refused"]);
    says_why(&c, &["two hosts of the fleet are called b"]);
    until_joined(&buses[0].hub(8), &buses[1].hub(9));
    drop(third);
}

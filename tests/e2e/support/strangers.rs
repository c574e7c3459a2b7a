//! Foreign objects on the same host, which must not change, whatever happens to a bus.

use super::{
    host::rules,
    scene::Scene,
    shell::{run, sh},
};

/// A namespace that is not canhub's.
pub const NAMESPACE: &str = "e2e-foreign";

/// Two vcans with a rule between them, and a namespace with a vcan.
pub struct Strangers(String);

impl Strangers {
    /// A shell command that adds their rule again: a flush deletes it too, and only its owner can restore it.
    pub const ADD_RULE: &str = "cangw -A -s foreign-a -d foreign-b -e";

    /// Creates them, until the scene ends.
    pub fn beside(scene: &Scene) -> Self {
        scene.foreign_vcan("foreign-a");
        scene.foreign_vcan("foreign-b");
        // If canhub has not been used yet, the modules are not loaded.
        run("modprobe", &["can-gw"]);
        sh(Self::ADD_RULE);
        sh(&format!("ip netns add {NAMESPACE} && ip -n {NAMESPACE} link add vcan7 type vcan"));
        scene.undo(|| {
            run("ip", &["netns", "del", NAMESPACE]);
        });
        Self(look())
    }

    /// Whether a rule is theirs.
    pub fn own_rule(rule: &str) -> bool {
        rule.contains("foreign-a")
    }

    /// Asserts that nobody touched them, and that nothing was left with them.
    #[track_caller]
    pub fn assert_untouched(&self, meanwhile: &str) {
        assert_eq!(look(), self.0, "{meanwhile}: foreign objects were changed");
    }
}

fn look() -> String {
    let links = ["foreign-a", "foreign-b"].map(|name| run("ip", &["-d", "link", "show", name]));
    let rules: Vec<String> = rules().into_iter().filter(|rule| Strangers::own_rule(rule)).collect();
    let inside = run("ip", &["-n", NAMESPACE, "-d", "link"]);
    format!("{links:#?} {rules:#?} {inside}")
}

//! `canhub-span leave`.

use clap::Args;

use super::places::Places;
use crate::fleet::{Authority, Store};

/// Leave the fleet: remove this host's key, certificates and fleet list
///
/// A running service tells the other hosts and ends. Settings stay. The other hosts list this one as gone until
/// `canhub-span revoke` on the host with the CA, or `canhub hosts forget`.
#[derive(Debug, Args)]
pub(super) struct Leave {
    #[command(flatten)]
    places: Places,
}

impl Leave {
    pub(super) fn run(self) -> Result<String, String> {
        let store = Store::new(self.places.settings()?.state);
        if !store.leave()? {
            return Ok("This host is in no fleet.\n".to_owned());
        }
        let mut text = "This host has left its fleet.\n".to_owned();
        if Authority::exists(&self.places.ca) {
            text += &format!(
                "The fleet's CA is still here, in {}; with it the fleet goes on: canhub-span init\n",
                self.places.ca.display()
            );
        }
        text += "Next, type here:\n  systemctl disable --now canhub-span.service\n\
                 and on the host with the CA:\n  canhub-span revoke HOST\n";
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::places::tests::places, *};
    use crate::fleet::Invitation;

    #[test]
    fn leaving_removes_the_identity_and_keeps_the_ca() {
        let dir = tempfile::tempdir().unwrap();
        let places = places(dir.path());
        let store = Store::new(dir.path().join("state"));
        let leave = || Leave { places: places.clone() }.run().unwrap();
        assert_eq!(leave(), "This host is in no fleet.\n");
        let mut ca = Authority::create(&places.ca, 0).unwrap();
        let own = ca.issue(&"bench".parse().unwrap(), None, 0).unwrap();
        store.join(&Invitation::new(own, ca.certificate(), ca.list(), Vec::new())).unwrap();
        let text = leave();
        assert!(text.starts_with("This host has left") && text.contains("CA is still here"), "{text}");
        assert_eq!(store.identity(), Ok(None));
        assert!(Authority::exists(&places.ca));
    }
}

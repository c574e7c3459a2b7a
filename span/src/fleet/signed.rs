//! The signed form of the fleet list.
//!
//! Three lines: a title with the version of the format, the list as JSON, the signature in base64. The signature is over the
//! first two lines as they are, so nothing depends on how somebody else would write the same JSON.

use std::ops::Deref;

use data_encoding::BASE64;
use rcgen::{KeyPair, SigningKey};

use super::{CaCertificate, List};

const TITLE: &str = "canhub-fleet-list 1";
/// The largest list that is read, in bytes: room for about 1,500 hosts. A list comes from the network.
pub const LARGEST: usize = 256 * 1024;

/// A list with a valid signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedList {
    text: String,
    list: List,
}

impl SignedList {
    /// Signs a list.
    ///
    /// # Errors
    /// One sentence, if there is no room for more hosts.
    pub(super) fn sign(list: List, key: &KeyPair) -> Result<Self, String> {
        let json =
            serde_json::to_string(&list).map_err(|err| format!("cannot write the fleet list: {err}"))?;
        let signed = format!("{TITLE}\n{json}\n");
        let signature =
            key.sign(signed.as_bytes()).map_err(|err| format!("cannot sign the fleet list: {err}"))?;
        let text = format!("{signed}{}\n", BASE64.encode(&signature));
        if text.len() > LARGEST {
            return Err(format!("the fleet list is full: {} bytes, at most {LARGEST}", text.len()));
        }
        Ok(Self { text, list })
    }

    /// Reads a list that this CA signed.
    ///
    /// # Errors
    /// One sentence: what is wrong with it.
    pub fn verify(text: &str, ca: &CaCertificate) -> Result<Self, String> {
        if text.len() > LARGEST {
            return Err(format!("the fleet list is too long: {} bytes, at most {LARGEST}", text.len()));
        }
        let damaged = || "this is no fleet list, or it is damaged".to_owned();
        let (title, rest) = text.split_once('\n').ok_or_else(damaged)?;
        if title != TITLE {
            return Err(match title.strip_prefix("canhub-fleet-list ") {
                Some(version) => format!(
                    "the fleet list has format {version:?}, and this canhub-span reads format 1: upgrade it"
                ),
                None => damaged(),
            });
        }
        let (json, signature) = rest.split_once('\n').ok_or_else(damaged)?;
        let signature = BASE64.decode(signature.trim_end().as_bytes()).map_err(|_| damaged())?;
        let signed = text.get(..title.len() + json.len() + 2).ok_or_else(damaged)?;
        let list: Result<List, _> = serde_json::from_str(json);
        if !ca.has_signed(signed.as_bytes(), &signature) {
            return Err(match list {
                Ok(list) if list.fleet != ca.fingerprint() => format!(
                    "the fleet list is of another fleet: its CA is {}, and ours is {}",
                    shortened(&list.fleet),
                    ca.fingerprint()
                ),
                _ => "the fleet list has no valid signature of our CA".to_owned(),
            });
        }
        let list = list.map_err(|err| format!("cannot read the fleet list: {err}"))?;
        Ok(Self { text: text.to_owned(), list })
    }

    /// The signed text, to be given to other hosts.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// What a stranger wrote, in at most as many letters as a fingerprint has.
fn shortened(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).take(32).collect()
}

impl Deref for SignedList {
    type Target = List;

    fn deref(&self) -> &List {
        &self.list
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Authority, *};

    #[test]
    fn only_what_our_ca_signed_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let ours = Authority::create(&dir.path().join("ours"), 0).unwrap();
        let theirs = Authority::create(&dir.path().join("theirs"), 0).unwrap();
        let text = ours.list().text();
        assert_eq!(SignedList::verify(text, ours.certificate()).unwrap(), *ours.list());
        let refused = |text: &str| SignedList::verify(text, ours.certificate()).unwrap_err();

        let why = refused(theirs.list().text());
        assert!(
            why.contains("of another fleet") && why.contains(theirs.certificate().fingerprint()),
            "{why}"
        );
        let no_signature = "the fleet list has no valid signature of our CA";
        assert_eq!(refused(&text.replace("\"version\":1", "\"version\":9")), no_signature);
        let (signed, _) = text.trim_end().rsplit_once('\n').unwrap();
        let (_, of_theirs) = theirs.list().text().trim_end().rsplit_once('\n').unwrap();
        assert_eq!(refused(&format!("{signed}\n{of_theirs}\n")), no_signature);
        let other_format = text.replace("list 1\n", "list 2\n");
        assert!(refused(&other_format).contains("format \"2\", and this canhub-span reads format 1"));
        assert!(refused(&"x".repeat(LARGEST + 1)).contains("too long: 262145 bytes, at most 262144"));
        for damaged in
            ["", "\n\n", "canhub-fleet-list 1", "canhub-fleet-list 1\n{}", "canhub-fleet-list 1\n{}\n!"]
        {
            assert!(refused(damaged).contains("no fleet list, or it is damaged"), "{damaged:?}");
        }
        // Any byte.
        for at in 0..text.len() {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] ^= 1;
            let changed = String::from_utf8_lossy(&bytes);
            // Behind the signature there is only the end of the line.
            assert!(
                at == text.len() - 1 || SignedList::verify(&changed, ours.certificate()).is_err(),
                "byte {at}"
            );
        }
    }
}

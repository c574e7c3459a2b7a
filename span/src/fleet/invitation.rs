//! An invitation: all that a host needs to join the fleet, as one PEM block. It holds the host's private key, so it is as
//! secret as a password.
//!
//! A block of short lines, not one long line: a terminal in line mode cuts off a pasted line after 4095 bytes, and the
//! fleet list of 40 hosts is longer.

use serde::{Deserialize, Serialize};

use crate::config::connect_address;

use super::{CaCertificate, HostName, SignedList, certificate::HostCertificate};

const TAG: &str = "CANHUB INVITATION";
/// The first line of an invitation.
const BEGIN: &str = "-----BEGIN CANHUB INVITATION-----";
/// The last line of an invitation.
const END: &str = "-----END CANHUB INVITATION-----";
/// The version of the format.
const FORMAT: u32 = 1;

/// An invitation. It has no `Debug`, so that the key is not logged by mistake.
#[derive(PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    format: u32,
    /// Key and certificate of the host, PEM.
    pub(super) identity: String,
    /// The fleet's CA, PEM.
    pub(super) ca: String,
    /// The newest fleet list.
    pub(super) list: String,
    /// Where the host finds the others: `address:port`.
    pub connect: Vec<String>,
}

impl Invitation {
    /// Puts one together.
    pub fn new(identity: String, ca: &CaCertificate, list: &SignedList, connect: Vec<String>) -> Self {
        Self { format: FORMAT, identity, ca: ca.pem().to_owned(), list: list.text().to_owned(), connect }
    }

    /// The block, with the end of the last line.
    ///
    /// # Errors
    /// One sentence.
    pub fn encode(&self) -> Result<String, String> {
        let json = serde_json::to_vec(self).map_err(|err| format!("cannot write the invitation: {err}"))?;
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        Ok(pem::encode_config(&pem::Pem::new(TAG, json), config))
    }

    /// Reads the block; text before and after it does not matter.
    ///
    /// # Errors
    /// One sentence: what is wrong with it.
    pub fn decode(text: &str) -> Result<Self, String> {
        let damaged = |why: &str| format!("this is no invitation, or it is damaged: {why}");
        if text.trim().is_empty() {
            return Err(
                "there is no invitation: `canhub-span invite` on the host with the CA prints one".into()
            );
        }
        // What a cut copy lacks, in better words than those of the parser.
        let has = |line: &str| text.lines().any(|one| one.trim() == line);
        if has(BEGIN) && !has(END) {
            return Err(damaged("its end is missing, so copy all lines"));
        }
        if !text.contains("-----BEGIN ") {
            return Err(damaged(&format!("it has no line {BEGIN}")));
        }
        let block = pem::parse(text).map_err(|err| damaged(&err.to_string()))?;
        if block.tag() != TAG {
            return Err(damaged(&format!("it is a {}", block.tag())));
        }
        let invitation: Self =
            serde_json::from_slice(block.contents()).map_err(|err| damaged(&err.to_string()))?;
        // They end up in the settings.
        if let Some(strange) =
            invitation.connect.iter().find(|one| connect_address(one).as_ref() != Some(*one))
        {
            return Err(damaged(&format!("{strange:?} is no address of another host")));
        }
        match invitation.format {
            FORMAT => Ok(invitation),
            other => Err(format!(
                "the invitation has format {other}, and this canhub-span reads format 1: upgrade it"
            )),
        }
    }

    /// Whether this is the last line, so that a terminal needs no Ctrl-D.
    pub fn ends_with(line: &str) -> bool {
        line.trim() == END
    }

    /// The host that it is for, once everything in it has been checked.
    ///
    /// # Errors
    /// One sentence.
    pub fn host(&self) -> Result<HostName, String> {
        self.parts().map(|(_, certificate, _)| certificate.host)
    }

    /// The fingerprint of the fleet's CA.
    ///
    /// # Errors
    /// One sentence.
    pub fn fleet(&self) -> Result<String, String> {
        self.parts().map(|(ca, ..)| ca.fingerprint().to_owned())
    }

    pub(super) fn parts(&self) -> Result<(CaCertificate, HostCertificate, SignedList), String> {
        let wrong = |why: String| format!("the invitation is damaged: {why}");
        let ca = CaCertificate::parse(&self.ca).map_err(wrong)?;
        let certificate = HostCertificate::parse(&self.identity, &ca).map_err(wrong)?;
        let list = SignedList::verify(&self.list, &ca).map_err(wrong)?;
        Ok((ca, certificate, list))
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Authority, *};

    #[test]
    fn an_invitation_survives_a_terminal() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let identity = ca.issue(&"cell".parse().unwrap(), None, 0).unwrap();
        let invitation =
            Invitation::new(identity, ca.certificate(), ca.list(), vec!["10.0.0.1:7447".to_owned()]);
        let text = invitation.encode().unwrap();
        assert!(text.lines().all(|line| line.len() <= 64), "{text}");
        assert!(
            text.ends_with("-----END CANHUB INVITATION-----\n")
                && text.lines().last().is_some_and(Invitation::ends_with)
        );
        let pasted = format!("here it is:\r\n{}\r\nbye", text.replace('\n', "\r\n"));
        let read = Invitation::decode(&pasted).unwrap();
        assert!(read == invitation);
        assert_eq!(read.host().unwrap().as_str(), "cell");
        assert_eq!(read.fleet().unwrap(), ca.certificate().fingerprint());
    }

    #[test]
    fn what_is_wrong_with_an_invitation_is_told_without_its_key() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let mut other = Authority::create(&dir.path().join("other"), 0).unwrap();
        let host = "cell".parse().unwrap();
        let identity = ca.issue(&host, None, 0).unwrap();
        let of_other = other.issue(&host, None, 0).unwrap();
        let why = |text: &str| Invitation::decode(text).err().unwrap();
        assert!(why("hello").contains("damaged: it has no line -----BEGIN CANHUB INVITATION-----"));
        assert!(why(" \n").starts_with("there is no invitation: "));
        let whole =
            Invitation::new(identity.clone(), ca.certificate(), ca.list(), Vec::new()).encode().unwrap();
        assert!(why(&whole[..700]).contains("its end is missing"), "{}", why(&whole[..700]));
        assert!(why(&identity[identity.find("-----BEGIN C").unwrap()..]).contains("it is a CERTIFICATE"));
        let mut invitation = Invitation::new(of_other, ca.certificate(), ca.list(), Vec::new());
        assert!(invitation.host().unwrap_err().contains("did not sign it"));
        invitation.connect = vec!["a:1\"]\nstate = \"/".to_owned()];
        assert!(why(&invitation.encode().unwrap()).contains("is no address of another host"));
        invitation.connect = Vec::new();
        invitation.format = 2;
        assert!(why(&invitation.encode().unwrap()).contains("format 2"));
        let invitation = Invitation::new(identity, ca.certificate(), other.list(), Vec::new());
        assert!(invitation.host().unwrap_err().contains("of another fleet"));
    }
}

//! Certificates: the fleet's CA, as every host knows it, and a host's own.

use canhub::span::RENEW_DAYS;
use data_encoding::HEXLOWER;
use ring::{
    digest::{SHA256, digest},
    signature::{ED25519, UnparsedPublicKey},
};
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{HostName, time};

/// PEM tags.
const CERTIFICATE: &str = "CERTIFICATE";
/// Seconds.
pub(super) const DAY: i64 = 24 * 3600;

/// The certificate of the fleet's CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaCertificate {
    pem: String,
    der: Vec<u8>,
    public_key: Vec<u8>,
    fingerprint: String,
}

impl CaCertificate {
    /// Reads it from PEM.
    ///
    /// # Errors
    /// One sentence.
    pub fn parse(pem: &str) -> Result<Self, String> {
        let failed = |why: String| format!("this is no certificate of a CA: {why}");
        let der = certificate_in(pem).map_err(failed)?;
        let certificate = x509(&der).map_err(failed)?;
        if !certificate.is_ca() {
            return Err(failed("it may not sign others".to_owned()));
        }
        let public_key = certificate.public_key().subject_public_key.data.to_vec();
        let fingerprint = HEXLOWER.encode(&digest(&SHA256, &der).as_ref()[..16]);
        Ok(Self { pem: pem.to_owned(), public_key, fingerprint, der })
    }

    /// Half of its SHA-256, in hex: 32 digits. It names the fleet.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// As PEM.
    pub(super) fn pem(&self) -> &str {
        &self.pem
    }

    /// Whether this is a signature of the CA.
    pub(super) fn has_signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.public_key).verify(message, signature).is_ok()
    }
}

/// A host's certificate, signed by the fleet's CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostCertificate {
    /// The host's name.
    pub host: HostName,
    /// Its serial number, in hex.
    pub serial: String,
    /// Its end, in seconds since 1970.
    pub expires: i64,
}

impl HostCertificate {
    /// Reads the certificate in a file of PEM blocks, and checks that this CA signed it.
    ///
    /// # Errors
    /// One sentence.
    pub(super) fn parse(pem: &str, ca: &CaCertificate) -> Result<Self, String> {
        let der = certificate_in(pem)?;
        let certificate = x509(&der)?;
        let signer = x509(&ca.der)?;
        certificate
            .verify_signature(Some(signer.public_key()))
            .map_err(|_| format!("the CA of our fleet ({}) did not sign it", ca.fingerprint()))?;
        let mut names = certificate.subject().iter_common_name();
        let name = names.next().and_then(|name| name.as_str().ok());
        let parts = name.and_then(|name| name.split_once(':'));
        let (host, serial) = parts.ok_or("it does not name a host")?;
        Ok(Self {
            host: host.parse()?,
            serial: serial.to_owned(),
            expires: certificate.validity().not_after.timestamp(),
        })
    }

    /// What is wrong with its age, in one sentence: expired, or about to. `now` is in seconds since 1970.
    pub fn problem(&self, now: i64) -> Option<String> {
        let (host, day) = (&self.host, time::day(self.expires));
        let to_renew =
            format!("on the host with the CA type: canhub-span renew {host}, and here: canhub-span join");
        match (self.expires - now).div_euclid(DAY) {
            ..0 => Some(format!("the certificate of {host} expired on {day}; {to_renew}")),
            left @ 0..RENEW_DAYS => {
                Some(format!("the certificate of {host} expires on {day}, in {left} days; {to_renew}"))
            }
            _ => None,
        }
    }
}

/// The first certificate among PEM blocks, as DER.
fn certificate_in(text: &str) -> Result<Vec<u8>, String> {
    let blocks = pem::parse_many(text).map_err(|err| err.to_string())?;
    let block = blocks.into_iter().find(|block| block.tag() == CERTIFICATE);
    block.map(pem::Pem::into_contents).ok_or_else(|| "there is no certificate in it".to_owned())
}

fn x509(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(|err| err.to_string())
}

#[cfg(test)]
mod tests {
    use super::{super::Authority, *};

    #[test]
    fn a_certificate_is_a_problem_thirty_days_before_its_end() {
        let expires = 400 * DAY;
        let one = HostCertificate { host: "cell".parse().unwrap(), serial: "1".to_owned(), expires };
        assert_eq!(one.problem(expires - RENEW_DAYS * DAY), None);
        let soon = one.problem(expires - RENEW_DAYS * DAY + 1).unwrap();
        assert!(soon.contains("expires on 1971-02-05, in 29 days") && soon.contains("renew cell"), "{soon}");
        assert!(one.problem(expires).unwrap().contains("in 0 days"));
        assert!(one.problem(expires + 1).unwrap().contains("expired on 1971-02-05"));
    }

    #[test]
    fn a_host_certificate_is_of_our_ca() {
        let dir = tempfile::tempdir().unwrap();
        let mut ours = Authority::create(&dir.path().join("ours"), 0).unwrap();
        let theirs = Authority::create(&dir.path().join("theirs"), 0).unwrap();
        let host = "cell".parse().unwrap();
        let identity = ours.issue(&host, None, 86_400).unwrap();
        let read = HostCertificate::parse(&identity, ours.certificate()).unwrap();
        assert_eq!((&read.host, read.expires), (&host, 366 * DAY));
        let why = HostCertificate::parse(&identity, theirs.certificate()).unwrap_err();
        assert_eq!(
            why,
            format!("the CA of our fleet ({}) did not sign it", theirs.certificate().fingerprint())
        );
        assert!(CaCertificate::parse(&identity).unwrap_err().contains("may not sign others"));
        assert!(CaCertificate::parse("").unwrap_err().contains("there is no certificate in it"));
        let again = CaCertificate::parse(ours.certificate().pem()).unwrap();
        assert_eq!(again.fingerprint().len(), 32);
        assert_ne!(again.fingerprint(), theirs.certificate().fingerprint());
    }
}

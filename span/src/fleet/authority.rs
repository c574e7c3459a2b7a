//! The fleet's CA: its key, and the newest fleet list. On one host only, in a folder that the service cannot read.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use data_encoding::HEXLOWER;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ED25519, SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use time::OffsetDateTime;

use super::{
    CaCertificate, HostName, List, SignedList, Spans, certificate::DAY, common_name, files, list::Certificate,
};

const KEY: &str = "ca.key";
const CERTIFICATE: &str = "ca.pem";
const LIST: &str = "fleet-list";
const LOCK: &str = "lock";
/// How long a host's certificate is valid, in days.
const VALID_DAYS: i64 = 365;
/// How long the CA's certificate is valid, in days: 20 years, longer than the machines. It cannot be renewed.
const CA_VALID_DAYS: i64 = 20 * 365;
/// Days before now from which certificates are valid, for hosts whose clock is late.
const EARLY_DAYS: i64 = 1;

/// The CA, locked against a second command.
pub struct Authority {
    folder: PathBuf,
    certificate: CaCertificate,
    key: KeyPair,
    list: SignedList,
    _lock: File,
}

impl Authority {
    /// Whether there is one in this folder.
    pub fn exists(folder: &Path) -> bool {
        folder.join(CERTIFICATE).exists()
    }

    /// Makes a CA and an empty list. `now` is in seconds since 1970.
    ///
    /// # Errors
    /// One sentence, also if there is one in this folder already.
    pub fn create(folder: &Path, now: i64) -> Result<Self, String> {
        files::create_folder(folder)?;
        let lock = lock(folder)?;
        if Self::exists(folder) {
            return Err(format!("{} has a CA already", folder.display()));
        }
        let failed = |err: rcgen::Error| format!("cannot make a CA: {err}");
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(failed)?;
        let mut params = params("canhub fleet", &serial()?, now, CA_VALID_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = CaCertificate::parse(&params.self_signed(&key).map_err(failed)?.pem())?;
        let fleet = certificate.fingerprint().to_owned();
        let list = List { fleet, version: 1, hosts: Vec::new(), revoked: Vec::new() };
        let list = SignedList::sign(list, &key)?;
        files::replace(&folder.join(KEY), &key.serialize_pem())?;
        files::replace(&folder.join(LIST), list.text())?;
        // The last: it says that there is a CA.
        files::replace(&folder.join(CERTIFICATE), certificate.pem())?;
        Ok(Self { folder: folder.to_owned(), certificate, key, list, _lock: lock })
    }

    /// Opens the CA in a folder.
    ///
    /// # Errors
    /// One sentence, also if there is none.
    pub fn open(folder: &Path) -> Result<Self, String> {
        if !Self::exists(folder) {
            return Err(format!(
                "there is no CA in {}: use the host where `canhub-span init` was typed, or type it here to start a fleet",
                folder.display()
            ));
        }
        let lock = lock(folder)?;
        let read = |name: &str| {
            let path = folder.join(name);
            files::read(&path)?
                .ok_or_else(|| format!("{} is missing: restore the folder from a backup", path.display()))
        };
        let damaged = |name: &str, why: String| format!("cannot use {}: {why}", folder.join(name).display());
        let certificate =
            CaCertificate::parse(&read(CERTIFICATE)?).map_err(|why| damaged(CERTIFICATE, why))?;
        let key = KeyPair::from_pem(&read(KEY)?).map_err(|err| damaged(KEY, err.to_string()))?;
        let list = SignedList::verify(&read(LIST)?, &certificate).map_err(|why| damaged(LIST, why))?;
        Ok(Self { folder: folder.to_owned(), certificate, key, list, _lock: lock })
    }

    /// The CA's certificate.
    pub fn certificate(&self) -> &CaCertificate {
        &self.certificate
    }

    /// The newest fleet list.
    pub fn list(&self) -> &SignedList {
        &self.list
    }

    /// Goes on from this list, if it is newer: this folder came from a backup, and the fleet knows more.
    pub fn go_on_from(&mut self, list: SignedList) {
        if list.fleet == self.list.fleet && list.version > self.list.version {
            self.list = list;
        }
    }

    /// Makes a key and a certificate for a host, and puts it on the list. A host that is there already keeps its rights,
    /// unless `spans` are given; a new one may speak on all spans.
    ///
    /// Returns key and certificate as PEM.
    ///
    /// # Errors
    /// One sentence.
    pub fn issue(&mut self, host: &HostName, spans: Option<Spans>, now: i64) -> Result<String, String> {
        let failed = |err: rcgen::Error| format!("cannot make a certificate for {host}: {err}");
        let serial = serial()?;
        let hex = HEXLOWER.encode(&serial);
        let key = KeyPair::generate_for(&PKCS_ED25519).map_err(failed)?;
        let mut params = params(&common_name(host, &hex), &serial, now, VALID_DAYS)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        // Each host dials and is dialled.
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let expires = params.not_after.unix_timestamp();
        let issuer = Issuer::from_ca_cert_pem(self.certificate.pem(), &self.key).map_err(failed)?;
        let certificate = params.signed_by(&key, &issuer).map_err(failed)?;
        self.change(now, |list| list.add(host, spans, Certificate { serial: hex, expires }))?;
        Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
    }

    /// Takes all rights from a host.
    ///
    /// # Errors
    /// One sentence, also if there is no such host.
    pub fn revoke(&mut self, host: &HostName, now: i64) -> Result<(), String> {
        self.known(host)?;
        self.change(now, |list| list.revoke(host, now))
    }

    /// Changes on which spans a host may speak and listen.
    ///
    /// # Errors
    /// One sentence, also if there is no such host.
    pub fn allow(&mut self, host: &HostName, spans: Spans, now: i64) -> Result<(), String> {
        self.known(host)?;
        self.change(now, |list| {
            if let Some(host) = list.hosts.iter_mut().find(|known| known.name == *host) {
                host.spans = spans;
            }
        })
    }

    /// Checks that there is such a host.
    ///
    /// # Errors
    /// One sentence.
    pub fn known(&self, host: &HostName) -> Result<(), String> {
        let names: Vec<_> = self.list.hosts.iter().map(|host| host.name.as_str()).collect();
        match names.contains(&host.as_str()) {
            true => Ok(()),
            false => Err(format!("there is no host {host} in this fleet; its hosts: {}", names.join(", "))),
        }
    }

    fn change(&mut self, now: i64, change: impl FnOnce(&mut List)) -> Result<(), String> {
        let mut list = List::clone(&self.list);
        list.version += 1;
        change(&mut list);
        list.tidy(now);
        let list = SignedList::sign(list, &self.key)?;
        files::replace(&self.folder.join(LIST), list.text())?;
        self.list = list;
        Ok(())
    }
}

fn lock(folder: &Path) -> Result<File, String> {
    let path = folder.join(LOCK);
    let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
    locked.map_err(|err| files::failed("lock", &path, &err))
}

fn params(name: &str, serial: &[u8], now: i64, days: i64) -> Result<CertificateParams, String> {
    let at = |seconds: i64| {
        OffsetDateTime::from_unix_timestamp(seconds).map_err(|err| format!("the clock is wrong: {err}"))
    };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from_slice(serial));
    params.not_before = at(now - EARLY_DAYS * DAY)?;
    params.not_after = at(now + days * DAY)?;
    Ok(params)
}

/// Eight random bytes.
///
/// # Errors
/// One sentence: the kernel gives none.
pub fn random() -> Result<[u8; 8], String> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| "the kernel gives no random numbers".to_owned())?;
    Ok(bytes)
}

/// A random serial number. Positive and without leading zeros, so it has 16 digits in hex everywhere.
fn serial() -> Result<[u8; 8], String> {
    let mut serial = random()?;
    serial[0] = serial[0] & 0x7F | 0x40;
    Ok(serial)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn every_change_makes_a_newer_list_that_survives() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ca");
        let mut ca = Authority::create(&folder, 0).unwrap();
        assert_eq!((ca.list().version, ca.list().hosts.len()), (1, 0));
        let (bench, cell) = ("bench".parse().unwrap(), "cell".parse().unwrap());
        ca.issue(&bench, None, 0).unwrap();
        ca.issue(&cell, Some(vec!["body".to_owned()].try_into().unwrap()), 0).unwrap();
        ca.allow(&cell, vec!["seat".to_owned()].try_into().unwrap(), 0).unwrap();
        assert_eq!(ca.list().version, 4);
        assert!(ca.list().may("cell", "seat") && !ca.list().may("cell", "body"));
        ca.revoke(&cell, 0).unwrap();
        assert_eq!(ca.revoke(&cell, 0).unwrap_err(), "there is no host cell in this fleet; its hosts: bench");
        assert!(ca.allow(&cell, Spans::All, 0).unwrap_err().contains("no host cell"));
        let list = ca.list().clone();
        drop(ca);
        assert_eq!(*Authority::open(&folder).unwrap().list(), list);
        for name in [KEY, LIST, CERTIFICATE] {
            let mode = fs::metadata(folder.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }

    #[test]
    fn a_ca_from_a_backup_goes_on_from_the_list_of_the_fleet() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let old = ca.list().clone();
        ca.issue(&"cell".parse().unwrap(), None, 0).unwrap();
        let newer = ca.list().clone();
        ca.list = old.clone();
        ca.go_on_from(newer.clone());
        assert_eq!(*ca.list(), newer);
        ca.go_on_from(old);
        assert_eq!(*ca.list(), newer);
        let mut other = Authority::create(&dir.path().join("other"), 0).unwrap();
        other.go_on_from(newer);
        assert_eq!(other.list().version, 1, "of another fleet");
    }

    #[test]
    fn a_ca_is_made_once_and_errors_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("ca");
        assert!(Authority::open(&folder).err().unwrap().contains("there is no CA in "));
        drop(Authority::create(&folder, 0).unwrap());
        assert!(Authority::create(&folder, 0).err().unwrap().contains("has a CA already"));
        fs::write(folder.join(LIST), "nonsense").unwrap();
        let why = Authority::open(&folder).err().unwrap();
        assert!(why.contains("/ca/fleet-list: this is no fleet list"), "{why}");
        fs::remove_file(folder.join(KEY)).unwrap();
        assert!(Authority::open(&folder).err().unwrap().contains("/ca/ca.key is missing"));
    }
}

//! What a host keeps of its fleet, in the state folder: its key and certificate in one file, so that they always fit
//! together, the CA's certificate, and the fleet list.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::{CaCertificate, HostCertificate, Invitation, SignedList, files, time};

const IDENTITY: &str = "identity.pem";
const CA: &str = "ca.pem";
const LIST: &str = "fleet-list";
const HOSTS: &str = "hosts.json";

/// The state folder of a host.
#[derive(Debug, Clone)]
pub struct Store {
    folder: PathBuf,
}

/// Who this host is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its certificate.
    pub certificate: HostCertificate,
    /// The fleet's CA.
    pub ca: CaCertificate,
    /// The file with the host's key and certificate, both PEM.
    pub identity_file: PathBuf,
    /// The file with the CA's certificate, PEM.
    pub ca_file: PathBuf,
}

/// What became of a list that somebody offered.
#[derive(Debug, PartialEq, Eq)]
pub enum Offered {
    /// It is newer than ours, and is ours now.
    Newer(SignedList),
    /// We have it, or a newer one.
    Known,
}

/// The state of the files: if it differs, read them again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stamp([Option<(u64, i64, i64)>; 3]);

impl Store {
    /// A store in this folder, which need not exist.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file with what is known of other hosts.
    pub fn hosts_file(&self) -> PathBuf {
        self.folder.join(HOSTS)
    }

    /// Who this host is; `None` if it is in no fleet.
    ///
    /// # Errors
    /// One sentence: which file is wrong, and what to do.
    pub fn identity(&self) -> Result<Option<Identity>, String> {
        let (identity_file, ca_file) = (self.folder.join(IDENTITY), self.folder.join(CA));
        let Some(identity) = files::read(&identity_file)? else { return Ok(None) };
        let ca = self.ca()?;
        let certificate = HostCertificate::parse(&identity, &ca).map_err(|why| {
            format!("cannot use {}: {why}; join again with a new invitation", identity_file.display())
        })?;
        Ok(Some(Identity { certificate, ca, identity_file, ca_file }))
    }

    /// The newest fleet list that this host knows.
    ///
    /// # Errors
    /// One sentence: which file is wrong, and what to do.
    pub fn list(&self) -> Result<SignedList, String> {
        let text = self.must_read(LIST)?;
        SignedList::verify(&text, &self.ca()?).map_err(|why| {
            format!(
                "cannot use {}: {why}; join again with a new invitation",
                self.folder.join(LIST).display()
            )
        })
    }

    /// Takes the list that another host offers, if it is newer and signed by our CA. It is safe to call this with anything
    /// from the network.
    ///
    /// # Errors
    /// One sentence: what is wrong with it, or why it could not be written.
    pub fn offer(&self, text: &str) -> Result<Offered, String> {
        let offered = SignedList::verify(text, &self.ca()?)?;
        // An unreadable list of ours is replaced.
        if let Ok(ours) = self.list() {
            if offered.version == ours.version && offered != ours {
                return Err(format!(
                    "there are two fleet lists of version {}: the CA was restored from a backup; \
                     on the host with the CA type: canhub-span renew",
                    ours.version
                ));
            }
            if offered.version <= ours.version {
                return Ok(Offered::Known);
            }
        }
        files::replace(&self.folder.join(LIST), offered.text())?;
        Ok(Offered::Newer(offered))
    }

    /// The state of the files, to see whether a command changed them.
    pub fn stamp(&self) -> Stamp {
        Stamp([IDENTITY, CA, LIST].map(|name| {
            let meta = fs::metadata(self.folder.join(name)).ok()?;
            Some((meta.ino(), meta.mtime(), meta.mtime_nsec()))
        }))
    }

    /// Checks that this host can take an invitation. An identity that cannot be used is no reason not to: an invitation is
    /// what replaces it.
    ///
    /// # Errors
    /// One sentence: this host is somebody else or in another fleet, or the invitation is no longer valid.
    pub fn check(&self, invitation: &Invitation, now: i64) -> Result<(), String> {
        let (ca, certificate, list) = invitation.parts()?;
        if let Ok(Some(now)) = self.identity() {
            if now.ca.fingerprint() != ca.fingerprint() {
                return Err(format!(
                    "this host is in the fleet {} and the invitation is for the fleet {}; \
                     to leave the first: canhub-span leave",
                    now.ca.fingerprint(),
                    ca.fingerprint()
                ));
            }
            if now.certificate.host != certificate.host {
                return Err(format!(
                    "this host is {} and the invitation is for {}; to give up the first name: canhub-span leave",
                    now.certificate.host, certificate.host
                ));
            }
        }
        let newest = match self.list() {
            Ok(ours) if ours.fleet == list.fleet && ours.version > list.version => ours,
            _ => list,
        };
        let refusal = newest.refusal(certificate.host.as_str(), &certificate.serial, None, now);
        refusal.map_or(Ok(()), |why| {
            let today = time::day(now);
            Err(format!("the invitation is not valid any more (today is {today}): {why}"))
        })
    }

    /// Takes what is in an invitation that was [checked](Self::check): a new identity, or a new certificate for the same one.
    ///
    /// # Errors
    /// One sentence.
    pub fn join(&self, invitation: &Invitation) -> Result<HostCertificate, String> {
        let (ca, certificate, list) = invitation.parts()?;
        files::create_folder(&self.folder)?;
        files::replace(&self.folder.join(CA), ca.pem())?;
        // Known is fine: the list in a renewal that waited may be old.
        let _: Offered = self.offer(list.text())?;
        // The last: it says that this host is in a fleet.
        files::replace(&self.folder.join(IDENTITY), &invitation.identity)?;
        Ok(certificate)
    }

    /// Removes all of it; `false` if there was nothing.
    ///
    /// # Errors
    /// One sentence: which file could not be removed, and why.
    pub fn leave(&self) -> Result<bool, String> {
        let mut was_in = false;
        for name in [IDENTITY, LIST, CA, HOSTS] {
            let path = self.folder.join(name);
            match fs::remove_file(&path) {
                Ok(()) => was_in |= name != HOSTS,
                Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                Err(err) => return Err(files::failed("remove", &path, &err)),
            }
        }
        Ok(was_in)
    }

    fn ca(&self) -> Result<CaCertificate, String> {
        CaCertificate::parse(&self.must_read(CA)?).map_err(|why| {
            format!("cannot use {}: {why}; join again with a new invitation", self.folder.join(CA).display())
        })
    }

    fn must_read(&self, name: &str) -> Result<String, String> {
        let path = self.folder.join(name);
        files::read(&path)?.ok_or_else(|| {
            format!("{} is missing: this host is in no fleet; to join one: canhub-span join", path.display())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Authority, *};

    fn invite(ca: &mut Authority, host: &str) -> Invitation {
        let identity = ca.issue(&host.parse().unwrap(), None, 0).unwrap();
        Invitation::new(identity, ca.certificate(), ca.list(), Vec::new())
    }

    #[test]
    fn a_host_joins_renews_and_leaves() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let store = Store::new(dir.path().join("state"));
        assert_eq!(store.identity(), Ok(None));
        assert!(store.list().unwrap_err().contains("this host is in no fleet"));
        assert_eq!(store.leave(), Ok(false));
        let nothing = store.stamp();

        let joined = store.join(&invite(&mut ca, "cell")).unwrap();
        assert_ne!(store.stamp(), nothing);
        let identity = store.identity().unwrap().unwrap();
        assert_eq!((identity.certificate.host.as_str(), &identity.certificate), ("cell", &joined));
        assert_eq!(identity.ca, *ca.certificate());
        assert_eq!(store.list().unwrap().version, 2);

        let (before, renewal) = (store.stamp(), invite(&mut ca, "cell"));
        let renewed = store.join(&renewal).unwrap();
        assert_ne!(renewed.serial, joined.serial);
        assert_ne!(store.stamp(), before);
        assert_eq!(store.stamp(), store.stamp());
        assert_eq!(store.join(&renewal), Ok(renewed), "twice does no harm");
        assert_eq!(store.list().unwrap().common_names("cell").len(), 2);

        let why = store.check(&invite(&mut ca, "rack"), 0).unwrap_err();
        assert!(why.starts_with("this host is cell and the invitation is for rack;"), "{why}");
        let mut other = Authority::create(&dir.path().join("other"), 0).unwrap();
        let foreign = invite(&mut other, "cell");
        assert!(store.check(&foreign, 0).unwrap_err().contains("to leave the first: canhub-span leave"));
        fs::write(store.hosts_file(), "{}").unwrap();
        assert_eq!(store.leave(), Ok(true));
        assert!(!store.hosts_file().exists(), "another fleet has other hosts");
        assert_eq!((store.stamp(), store.check(&foreign, 0)), (nothing, Ok(())));
        assert_eq!(store.join(&foreign).unwrap().host.as_str(), "cell");
    }

    #[test]
    fn an_old_invitation_does_not_replace_what_works() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let store = Store::new(dir.path().join("state"));
        let invitation = invite(&mut ca, "cell");
        let why = store.check(&invitation, 400 * 86_400).unwrap_err();
        assert!(
            why.contains("(today is 1971-02-05): the certificate of cell expired on 1971-01-01"),
            "{why}"
        );
        store.check(&invitation, 0).unwrap();
        ca.revoke(&"cell".parse().unwrap(), 0).unwrap();
        let again = invite(&mut ca, "cell");
        store.check(&again, 0).unwrap();
        store.join(&again).unwrap();
        let why = store.check(&invitation, 0).unwrap_err();
        assert!(why.contains("cell was revoked on 1970-01-01"), "{why}");
    }

    #[test]
    fn an_invitation_replaces_an_identity_that_cannot_be_used() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let store = Store::new(dir.path().join("state"));
        let invitation = invite(&mut ca, "cell");
        store.join(&invitation).unwrap();
        let broken: [&dyn Fn(); 2] = [&|| fs::remove_file(store.folder().join(CA)).unwrap(), &|| {
            fs::write(store.folder().join(IDENTITY), "").unwrap()
        }];
        for break_it in broken {
            break_it();
            assert!(store.identity().is_err());
            store.check(&invitation, 0).unwrap();
            store.join(&invitation).unwrap();
            assert!(store.identity().unwrap().is_some());
        }
    }

    #[test]
    fn only_a_newer_list_of_our_fleet_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let store = Store::new(dir.path().join("state"));
        store.join(&invite(&mut ca, "cell")).unwrap();
        let old = ca.list().clone();
        ca.issue(&"rack".parse().unwrap(), None, 0).unwrap();
        let newer = ca.list().clone();
        assert_eq!(store.offer(newer.text()), Ok(Offered::Newer(newer.clone())));
        assert_eq!(store.offer(newer.text()), Ok(Offered::Known));
        assert_eq!(store.offer(old.text()), Ok(Offered::Known));
        assert_eq!(store.list(), Ok(newer.clone()), "never goes back");
        let other = Authority::create(&dir.path().join("other"), 0).unwrap();
        assert!(store.offer(other.list().text()).unwrap_err().contains("of another fleet"));
        assert!(store.offer("nonsense").is_err());
        assert_eq!(store.list(), Ok(newer));

        // The CA's folder came from a backup, and gave the same version to another list.
        fs::write(dir.path().join("ca/fleet-list"), old.text()).unwrap();
        drop(ca);
        let mut restored = Authority::open(&dir.path().join("ca")).unwrap();
        restored.issue(&"door".parse().unwrap(), None, 0).unwrap();
        assert!(store.offer(restored.list().text()).unwrap_err().contains("two fleet lists of version 3"));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let mut other = Authority::create(&dir.path().join("other"), 0).unwrap();
        let store = Store::new(dir.path().join("state"));
        store.join(&invite(&mut ca, "cell")).unwrap();
        let write = |name: &str, content: &str| fs::write(store.folder().join(name), content).unwrap();
        let theirs = other.issue(&"cell".parse().unwrap(), None, 0).unwrap();
        write(IDENTITY, &theirs);
        let why = store.identity().unwrap_err();
        assert!(
            why.contains("/state/identity.pem: the CA of our fleet") && why.contains("join again"),
            "{why}"
        );
        write(LIST, "nonsense");
        assert!(store.list().unwrap_err().contains("/state/fleet-list: this is no fleet list"));
        assert!(matches!(store.offer(ca.list().text()), Ok(Offered::Newer(_))), "it heals");
        write(CA, "nonsense");
        assert!(store.list().unwrap_err().contains("/state/ca.pem: this is no certificate of a CA"));
    }
}

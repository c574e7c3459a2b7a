use super::{disk::tests::PowerCutDisk, *};
use crate::{endpoint::Stage, kernel::Cookie};

fn network() -> Network {
    Network::new("a1".repeat(32).try_into().unwrap(), [("hub".into(), "vcan7".into())].into()).unwrap()
}

fn endpoint() -> Endpoint {
    Endpoint {
        id: "b2".repeat(32).try_into().unwrap(),
        network: network().id,
        ifname: "can0".parse().unwrap(),
        rate: None,
        filters: crate::filters::Filters::default(),
        shapes: crate::shape::Shapes::default(),
        stage: Stage::Joined { sandbox: "/var/run/docker/netns/abc".into() },
        attached: None,
        namespace: Some(Cookie(4_321)),
    }
}

#[test]
fn saved_records_are_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), "boot-1");
    assert!(store.load().networks.is_empty());
    store.save_networks([&network()]).unwrap();
    store.save_endpoint(&endpoint()).unwrap();
    let loaded = store.load();
    assert_eq!((loaded.networks, loaded.endpoints), (vec![network()], vec![endpoint()]));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
}

#[test]
fn all_that_is_known_of_a_network_is_loaded() {
    let dir = tempfile::tempdir().unwrap();
    let settings = [("bitrate".to_owned(), "500000".to_owned())].into();
    let known = Network {
        provisional: true,
        name: Some("body".into()),
        engine: Some("engine-1".into()),
        found: Some(Found { settings, up: true }),
        ..network()
    };
    Store::new(dir.path(), "boot").save_networks([&known]).unwrap();
    assert_eq!(Store::new(dir.path(), "boot").load().networks, [known]);
}

#[test]
fn a_peek_loads_everything_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), "boot-1");
    store.save_networks([&network()]).unwrap();
    store.save_endpoint(&endpoint()).unwrap();
    let loaded = store.peek();
    assert_eq!((loaded.networks, loaded.endpoints), (vec![network()], vec![endpoint()]));

    fs::write(store.state_file(), "garbage").unwrap();
    let other_boot = Store::new(dir.path(), "boot-2").peek();
    assert_eq!((other_boot.warnings.len(), other_boot.endpoints.len()), (1, 0));
    assert_eq!(fs::read_to_string(store.state_file()).unwrap(), "garbage");
    assert_eq!(store.peek().endpoints, [endpoint()], "its file is still there");
}

#[test]
fn a_peek_at_an_unreadable_file_does_not_stop_the_daemon_from_saving() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), "boot-1");
    store.save_networks([&network()]).unwrap();
    let (file, away) = (store.state_file(), dir.path().join("away"));
    fs::rename(&file, &away).unwrap();
    fs::create_dir(&file).unwrap();
    assert!(store.peek().unread.is_some());
    fs::remove_dir(&file).unwrap();
    fs::rename(&away, &file).unwrap();
    store.save_networks([]).unwrap();
    assert!(store.load().networks.is_empty());
}

#[test]
fn endpoints_end_with_the_boot_and_networks_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), "boot-1");
    store.save_networks([&network()]).unwrap();
    store.save_endpoint(&endpoint()).unwrap();
    let loaded = Store::new(dir.path(), "boot-2").load();
    assert_eq!((loaded.networks.len(), loaded.endpoints.len()), (1, 0));
    assert_eq!(fs::read_dir(dir.path().join("endpoints")).unwrap().count(), 0, "nothing is left over");
}

#[test]
fn garbage_is_renamed_and_reported() {
    for rubbish in ["", "not json", "{\"version\":99,\"networks\":{}}", "{\"version\":1}", "\0\0\0"] {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("state.json"), rubbish).unwrap();
        let loaded = Store::new(dir.path(), "boot").load();
        assert!(loaded.networks.is_empty());
        let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
        let aside = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains("unreadable"))
            .unwrap();
        assert!(warning.contains(&*aside.to_string_lossy()), "{warning}");
        assert_eq!(fs::read_to_string(aside).unwrap(), rubbish);
    }
}

#[test]
fn an_observing_store_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    assert!(Store::observing(&absent, "boot").load().warnings.is_empty());
    assert!(!absent.exists());

    let store = Store::new(dir.path(), "boot-1");
    store.save_endpoint(&endpoint()).unwrap();
    fs::write(dir.path().join("state.json"), "rubbish").unwrap();
    let observer = Store::observing(dir.path(), "boot-2");
    let warnings = observer.load().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("cannot be read"), "{warnings:?}");
    assert!(!observer.is_readable());
    observer.save_networks([&network()]).unwrap();
    observer.remove_endpoint(&endpoint().id);
    assert_eq!(fs::read_to_string(dir.path().join("state.json")).unwrap(), "rubbish");
    assert_eq!(store.load().endpoints, [endpoint()], "it is of another boot but stays");
}

#[test]
fn an_unwritable_folder_is_reported_with_the_next_step() {
    // A file in place of the folder makes it fail for root too.
    let file = tempfile::NamedTempFile::new().unwrap();
    let store = Store::new(file.path(), "boot");
    let err = store.save_networks([&network()]).unwrap_err().to_string();
    assert!(err.contains("state.json") && err.contains("--state-dir"), "{err}");
    assert!(store.save_endpoint(&endpoint()).is_err());
    assert_eq!(store.unsaved().len(), 2, "{:?}", store.unsaved());
    store.remove_endpoint(&endpoint().id);
    assert_eq!(store.unsaved().len(), 1, "an endpoint that left needs no record");
    assert_eq!(store.load().warnings.len(), 1, "the folder");
}

/// A folder is the only file that root cannot read either.
#[test]
fn an_unreadable_state_file_stays_and_is_retried() {
    let dir = tempfile::tempdir().unwrap();
    let (file, good) = (dir.path().join("state.json"), dir.path().join("good"));
    let [kept, deleted] = ["a1", "b2"].map(|id| {
        Network::new(id.repeat(32).try_into().unwrap(), [("hub".into(), format!("vcan-{id}"))].into())
            .unwrap()
    });
    Store::new(dir.path(), "boot").save_networks([&kept, &deleted]).unwrap();
    fs::rename(&file, &good).unwrap();
    fs::create_dir(&file).unwrap();

    let store = Store::new(dir.path(), "boot");
    let loaded = store.load();
    assert!(loaded.networks.is_empty() && loaded.warnings.is_empty(), "{loaded:?}");
    let why = loaded.unread.unwrap();
    assert!(why.contains("cannot read the state file") && why.contains("directory"), "{why}");
    assert_eq!(store.unread(), Some(why.clone()));
    assert!(file.is_dir(), "it was renamed");
    assert!(store.read_again().is_none());
    let refused = store.save_networks([&kept]).unwrap_err().to_string();
    assert!(refused.starts_with(&why) && refused.contains("canhub doctor"), "{refused}");
    store.network_deleted(&deleted.id);

    fs::remove_dir(&file).unwrap();
    fs::rename(&good, &file).unwrap();
    assert!(store.save_networks([]).is_err(), "its content has not been read yet");
    assert_eq!(store.read_again().unwrap().networks, std::slice::from_ref(&kept));
    assert_eq!(store.unread(), None);
    assert!(store.read_again().is_none(), "once is enough");
    store.save_networks([&kept]).unwrap();
    assert_eq!(Store::new(dir.path(), "boot").load().networks, [kept]);
}

#[test]
fn an_unreadable_endpoint_record_stays_and_an_incomplete_one_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path(), "boot-1");
    store.save_endpoint(&endpoint()).unwrap();
    let folder = dir.path().join("endpoints");
    let (unreadable, cut_short, foreign) =
        (folder.join("x.json"), folder.join("y.new"), folder.join("z.txt"));
    fs::create_dir(&unreadable).unwrap();
    fs::copy(folder.join(format!("{}.json", endpoint().id)), &cut_short).unwrap();
    fs::write(&foreign, "mine").unwrap();
    Store::observing(dir.path(), "boot-1").load();
    assert!(cut_short.exists(), "who only observes removes nothing");
    let loaded = store.load();
    assert_eq!(loaded.endpoints, [endpoint()], "the incomplete one does not count");
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    assert!(warning.contains("cannot read the endpoint record") && warning.contains("x.json"), "{warning}");
    assert!(unreadable.exists() && !cut_short.exists());
    assert!(foreign.exists(), "it is no record of canhub's");
}

#[test]
fn an_endpoint_folder_that_cannot_be_listed_is_reported_and_a_missing_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let observer = Store::observing(dir.path(), "boot");
    assert_eq!(observer.load().warnings, [""; 0]);
    // Root may list any folder, so it is a link to itself.
    std::os::unix::fs::symlink("endpoints", dir.path().join("endpoints")).unwrap();
    let warnings = observer.load().warnings;
    assert!(warnings.len() == 1 && warnings[0].contains("cannot read the endpoint records"), "{warnings:?}");
}

#[test]
fn networks_survive_a_power_cut_once_they_are_saved() {
    let dir = tempfile::tempdir().unwrap();
    let disk = PowerCutDisk::default();
    let store = Store { disk: Arc::new(disk.clone()), ..Store::new(dir.path(), "boot") };
    store.save_networks([&network()]).unwrap();
    for content in disk.after_a_power_cut(&store.state_file()) {
        let document: Document = serde_json::from_slice(&content.unwrap()).unwrap();
        assert!(document.networks.contains_key(&network().id));
    }
}

/// A disk that fails to rename while told so.
#[derive(Debug, Default)]
struct Stuck(std::sync::atomic::AtomicBool);

impl Disk for Stuck {
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        disk::Real.write(path, content)
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        disk::Real.sync(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        match self.0.load(std::sync::atomic::Ordering::SeqCst) {
            true => Err(io::ErrorKind::PermissionDenied.into()),
            false => disk::Real.rename(from, to),
        }
    }
}

#[test]
fn a_state_file_that_cannot_be_renamed_is_not_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(Stuck(true.into()));
    let store = Store { disk: disk.clone(), ..Store::new(dir.path(), "boot") };
    fs::write(store.state_file(), "{ half").unwrap();
    let why = store.load().unread.unwrap();
    assert!(why.contains("or renamed"), "{why}");

    disk.0.store(false, std::sync::atomic::Ordering::SeqCst);
    assert!(matches!(store.save_networks([]), Err(Error::Unread(_))));
    assert_eq!(fs::read_to_string(store.state_file()).unwrap(), "{ half");

    let loaded = store.read_again().unwrap();
    assert!(loaded.warnings[0].contains("kept it as"), "{:?}", loaded.warnings);
    store.save_networks([]).unwrap();
    assert!(store.is_readable());
}

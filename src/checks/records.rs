//! canhub's records: can they be read, and is there room for more.

use std::{fs, io, path::Path};

use super::{Finding, Group, Remedy};
use crate::{
    kernel::{FreeSpace, boot_id, free_space},
    manager::RecordsState,
    state::Store,
};

/// With less than this, a record may not fit.
const LITTLE: u64 = 256 << 10;
const CHECK: &str = "records";

/// Checks the state folder. `buses` is how many the running canhub has; 0 if it does not run.
pub fn look(folder: &Path, buses: usize) -> Vec<Finding> {
    let shown = folder.display().to_string();
    let about = |finding: Finding| vec![finding.about(shown.clone())];
    match fs::read_dir(folder) {
        // systemd mounts the folder for canhub when it starts, so only a restart brings it back.
        Err(err) if err.kind() == io::ErrorKind::NotFound && buses > 0 => {
            let sentence = format!(
                "someone deleted {shown} while canhub was running: networks cannot be created, and the existing ones do not come back after a reboot"
            );
            return about(Finding::error(Group::Buses, CHECK, sentence).by("systemctl restart canhub"));
        }
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            return about(Finding::pass(Group::Buses, CHECK, format!("no records yet in {shown}")));
        }
        Err(err) if err.kind() == io::ErrorKind::PermissionDenied => {
            let sentence = format!("cannot read canhub's records in {shown}: permission denied");
            return about(Finding::warning(Group::Buses, CHECK, sentence).hint("run `sudo canhub doctor`"));
        }
        Err(err) => {
            let sentence = format!(
                "cannot read canhub's records in {shown} ({err}): no bus will come back after a reboot"
            );
            return about(
                Finding::error(Group::Buses, CHECK, sentence).hint(format!("check `ls -ld {shown}`")),
            );
        }
        Ok(_) => {}
    }
    let mut findings: Vec<Finding> = no_room(folder).into_iter().collect();
    let store = Store::observing(folder, boot_id());
    if buses > 0 && store.is_missing() {
        let sentence =
            format!("someone deleted {shown}/state.json: the networks do not come back after a reboot");
        findings.push(
            Finding::error(Group::Buses, CHECK, sentence).by("canhub doctor --fix").by_doctor(Remedy::Heal),
        );
    }
    let loaded = store.load();
    if let Some(why) = loaded.unread {
        let sentence =
            format!("{why}: canhub keeps the file and retries; networks cannot be created until then");
        let hint = format!("check `ls -ld {shown}/state.json`");
        findings.push(Finding::error(Group::Buses, CHECK, sentence).hint(hint));
    }
    for warning in loaded.warnings {
        let sentence = format!("{warning}: its contents will be lost when canhub starts again");
        findings.push(
            Finding::error(Group::Buses, CHECK, sentence).by("canhub doctor --fix").by_doctor(Remedy::Heal),
        );
    }
    if findings.is_empty() {
        findings.push(Finding::pass(Group::Buses, CHECK, "canhub's records can be read and written"));
    }
    findings.into_iter().map(|finding| finding.about(shown.clone())).collect()
}

/// The daemon's own records: all are saved, and there is room for more.
pub fn of_daemon(records: &RecordsState) -> Finding {
    let folder = records.folder.display();
    if let Some((file, why)) = &records.unread {
        let sentence = format!(
            "{why}: buses are restored from the kernel and Docker only, and networks cannot be created until it can be read"
        );
        return Finding::error(Group::Buses, CHECK, sentence)
            .hint(format!("check `ls -ld {}`", file.display()));
    }
    if let Some(finding) = no_room(&records.folder) {
        return finding;
    }
    match &records.unsaved {
        None => Finding::pass(Group::Buses, CHECK, format!("all records are saved in {folder}")),
        Some(why) => {
            Finding::error(Group::Buses, CHECK, why.clone()).hint(format!("check `ls -ld {folder}`"))
        }
    }
}

/// What prevents the disk from taking more records, found without writing; `None` if nothing does.
fn no_room(folder: &Path) -> Option<Finding> {
    let shown = folder.display().to_string();
    match free_space(folder) {
        Ok(room) => low_space(&shown, room),
        Err(err) => {
            let sentence = format!("cannot inspect the state folder {shown}: {err}");
            Some(Finding::error(Group::Buses, CHECK, sentence).hint(format!("check `ls -ld {shown}`")))
        }
    }
}

fn low_space(folder: &str, room: FreeSpace) -> Option<Finding> {
    let error = |sentence| Some(Finding::error(Group::Buses, CHECK, sentence));
    if room.read_only {
        let sentence = format!(
            "{folder} is mounted read-only: networks cannot be created, and changes do not survive a reboot"
        );
        return error(sentence)?.by(format!("mount -o remount,rw $(findmnt -no TARGET -T {folder})")).into();
    }
    if room.bytes < LITTLE || room.files == Some(0) {
        let sentence = format!(
            "the disk of {folder} is full: networks cannot be created, and changes do not survive a reboot"
        );
        return error(sentence)?
            .hint(format!("free some space; `df -h {folder}` shows how much there is"))
            .into();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::Level;

    #[test]
    fn readable_records_pass_and_garbage_does_not() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(look(&dir.path().join("none"), 0)[0].level, Level::Pass);
        assert_eq!(look(dir.path(), 0)[0].level, Level::Pass);
        fs::write(dir.path().join("state.json"), "{\"version\":").unwrap();
        let [finding] = &look(dir.path(), 0)[..] else { panic!("one finding") };
        assert_eq!((finding.level, finding.remedy.as_ref()), (Level::Error, Some(&Remedy::Heal)));
        assert!(finding.sentence.contains("state.json") && finding.sentence.contains("EOF"), "{finding:?}");
        assert!(dir.path().join("state.json").exists(), "a check changes nothing");
    }

    #[test]
    fn deleted_records_of_a_running_canhub_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let [finding] = &look(&dir.path().join("none"), 1)[..] else { panic!("one finding") };
        assert_eq!((finding.level, finding.fix.as_deref()), (Level::Error, Some("systemctl restart canhub")));
        let [finding] = &look(dir.path(), 1)[..] else { panic!("one finding") };
        assert_eq!((finding.level, finding.remedy.as_ref()), (Level::Error, Some(&Remedy::Heal)));
    }

    #[test]
    fn a_file_in_place_of_the_folder_is_an_error() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(look(file.path(), 0)[0].level, Level::Error);
    }

    #[test]
    fn a_full_disk_is_reported() {
        let room = FreeSpace { bytes: 1 << 30, files: Some(9), read_only: false };
        let words =
            |room: FreeSpace| low_space("/x", room).map(|finding| finding.sentence).unwrap_or_default();
        assert_eq!(words(room), "");
        assert_eq!(words(FreeSpace { files: None, ..room }), "");
        assert!(
            no_room(Path::new("/nowhere")).is_some_and(|found| found.sentence.contains("cannot inspect"))
        );
        assert!(words(FreeSpace { bytes: 4096, ..room }).contains("is full"));
        assert!(words(FreeSpace { files: Some(0), ..room }).contains("is full"));
        assert!(words(FreeSpace { read_only: true, ..room }).contains("read-only"));
    }
}

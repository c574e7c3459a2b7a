//! What the next run of this program has to know of this one, however it ends: the numbers of its batches, and what was
//! counted.
//!
//! A folder beside the control socket, in memory: it lasts until the host restarts. In it are a file per span, and one with
//! the instance, which the next run keeps. So other hosts find what was lost with a run by the numbers alone.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use canhub::kernel::KeptNumbers;
use parking_lot::Mutex;
use tracing::warn;

use crate::bus::NUMBERS;

/// Changes whenever the meaning of a number in a file does.
const FORMAT: &str = "canhub-span 1";
const INSTANCE: &str = "instance";

/// The folder; without one nothing is kept.
#[derive(Debug, Default)]
pub struct Ledgers {
    folder: Mutex<Option<PathBuf>>,
}

impl Ledgers {
    /// For the program that serves this control socket.
    pub fn beside(socket: &Path) -> Self {
        Self { folder: Mutex::new(Some(socket.with_extension("ledger"))) }
    }

    /// Which instance goes on: that of the run before, if it was one of the same `owner`, else `fresh`, and nothing of another
    /// one is left.
    pub fn resume(&self, owner: &str, fresh: u64) -> u64 {
        let mut folder = self.folder.lock();
        let Some(path) = &*folder else { return fresh };
        if let Some(instance) = instance(path, owner) {
            return instance;
        }
        if let Err(err) = start(path, owner, fresh) {
            warn!(
                "cannot write to {}: {err}; if canhub-span is killed, what is lost with it is not counted",
                path.display()
            );
            *folder = None;
        }
        fresh
    }

    /// The ledger of a span, and what is in it. `None` if there can be none; then the next run is a new instance.
    pub fn of(&self, span: &str) -> Option<KeptNumbers> {
        let mut folder = self.folder.lock();
        let path = folder.as_ref()?;
        let opened = KeptNumbers::open(&path.join(file_of(span)), NUMBERS);
        match opened {
            Ok(ledger) => Some(ledger),
            Err(err) => {
                warn!(
                    span,
                    "cannot write to {}: {err}; if canhub-span is killed, what is lost with it is not counted",
                    path.display()
                );
                let _ = fs::remove_file(path.join(INSTANCE));
                *folder = None;
                None
            }
        }
    }

    /// This host leaves its fleet: the next run knows nothing.
    pub fn clear(&self) {
        if let Some(path) = self.folder.lock().take() {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// No span has a dot in its name.
fn file_of(span: &str) -> String {
    format!("{span}.span")
}

/// The instance of a folder of this owner in which every file can be read.
fn instance(folder: &Path, owner: &str) -> Option<u64> {
    let text = fs::read_to_string(folder.join(INSTANCE)).ok()?;
    let (head, instance) = text.trim_end().rsplit_once('\n')?;
    if head != format!("{FORMAT}\n{owner}") {
        return None;
    }
    for file in fs::read_dir(folder).ok()? {
        let file = file.ok()?;
        if file.file_name() != INSTANCE {
            KeptNumbers::open(&file.path(), NUMBERS).ok()?;
        }
    }
    instance.parse().ok().filter(|instance| *instance != 0)
}

fn start(folder: &Path, owner: &str, instance: u64) -> io::Result<()> {
    match fs::remove_dir_all(folder) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        _ => {}
    }
    fs::DirBuilder::new().mode(0o700).create(folder)?;
    fs::write(folder.join(INSTANCE), format!("{FORMAT}\n{owner}\n{instance}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_run_goes_on_with_the_instance_and_the_numbers_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let run = Ledgers::beside(&socket);
        assert_eq!(run.resume("fleet bench", 7), 7);
        run.of("body").unwrap().write(&[1, 2]);
        let next = Ledgers::beside(&socket);
        assert_eq!(next.resume("fleet bench", 8), 7);
        assert_eq!(next.of("body").unwrap().read(), Some(vec![1, 2]));
        assert_eq!(next.of("power").unwrap().read(), None);
    }

    #[test]
    fn another_owner_or_a_damaged_file_begin_anew() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        type Damage = fn(&Path);
        let damage: [(&str, Damage); 4] = [
            ("another host", |folder| {
                fs::write(folder.join(INSTANCE), format!("{FORMAT}\nother\n7\n")).unwrap()
            }),
            ("another format", |folder| fs::write(folder.join(INSTANCE), "canhub-span 0\nme\n7\n").unwrap()),
            ("no instance", |folder| fs::remove_file(folder.join(INSTANCE)).unwrap()),
            ("a short file", |folder| fs::write(folder.join("body.span"), "short").unwrap()),
        ];
        for (what, damage) in damage {
            Ledgers::beside(&socket).clear();
            let run = Ledgers::beside(&socket);
            assert_eq!(run.resume("me", 7), 7, "{what}");
            run.of("body").unwrap().write(&[1, 2]);
            damage(&folder.path().join("control.ledger"));
            let next = Ledgers::beside(&socket);
            assert_eq!(next.resume("me", 8), 8, "{what}");
            assert_eq!(next.of("body").unwrap().read(), None, "{what}");
        }
    }

    #[test]
    fn without_a_folder_each_run_is_a_new_instance() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("absent/control.sock");
        for fresh in [7, 8] {
            let run = Ledgers::beside(&socket);
            assert_eq!(run.resume("me", fresh), fresh);
            assert!(run.of("body").is_none());
        }
        assert_eq!(Ledgers::default().resume("me", 9), 9);
    }
}

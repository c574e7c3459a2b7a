//! The files of a recording.

use std::{
    fs::{File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{
    cli::quantity::grouped,
    frames::{
        Record,
        formats::{Format, Writer},
    },
};

/// How often what was recorded is given to the kernel, which keeps it if canhub is killed. A frame is at most this old,
/// plus the time for a turn of the loop, well under a second.
const FLUSH: Duration = Duration::from_millis(500);

/// When to start a new file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rotation {
    /// When it has this many bytes.
    pub(super) size: Option<u64>,
    /// When it is this old.
    pub(super) time: Option<Duration>,
}

/// The file that is written, and those before.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    format: Format,
    rotation: Rotation,
    force: bool,
    writer: Option<Writer>,
    opened: Instant,
    flushed: Instant,
    /// All files so far; the last one is being written.
    files: Vec<PathBuf>,
    /// The frames and bytes in the files before.
    before: (u64, u64),
    /// The frames and bytes of the last file that was finished.
    last: (u64, u64),
}

impl Output {
    /// Creates the first file.
    ///
    /// # Errors
    /// One sentence: it exists, unless `force`, or cannot be created.
    pub(super) fn create(
        path: PathBuf,
        format: Format,
        rotation: Rotation,
        force: bool,
    ) -> Result<Self, String> {
        let now = Instant::now();
        let mut output = Self {
            path,
            format,
            rotation,
            force,
            writer: None,
            opened: now,
            flushed: now,
            files: Vec::new(),
            before: (0, 0),
            last: (0, 0),
        };
        output.refuse_numbered()?;
        output.open()?;
        Ok(output)
    }

    /// Refuses before the first frame what would fail at a later file: a recording of the same name, unless `force`.
    fn refuse_numbered(&self) -> Result<(), String> {
        if self.force || matches!(self.rotation, Rotation { size: None, time: None }) {
            return Ok(());
        }
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        // A folder that cannot be listed may still take files.
        let entries = std::fs::read_dir(folder.unwrap_or(Path::new("."))).into_iter().flatten().flatten();
        let mut names: Vec<PathBuf> =
            entries.map(|entry| self.path.with_file_name(entry.file_name())).collect();
        names.sort();
        match names.into_iter().find(|path| is_numbered(&self.path, path)) {
            Some(path) => Err(exists(&path)),
            None => Ok(()),
        }
    }

    fn open(&mut self) -> Result<(), String> {
        let path = match self.rotation {
            Rotation { size: None, time: None } => self.path.clone(),
            Rotation { .. } => numbered(&self.path, self.files.len() + 1),
        };
        let mut options = OpenOptions::new();
        options.write(true);
        let options = if self.force { options.create(true).truncate(true) } else { options.create_new(true) };
        let file: File = options.open(&path).map_err(|err| match err.kind() {
            io::ErrorKind::AlreadyExists => exists(&path),
            _ => format!("{} cannot be created: {err}", path.display()),
        })?;
        self.writer = Some(Writer::new(file, self.format));
        self.files.push(path);
        self.opened = Instant::now();
        Ok(())
    }

    /// Writes a record, to a new file if it is time for one.
    ///
    /// # Errors
    /// One sentence: what was kept.
    pub(super) fn write(&mut self, record: &Record) -> Result<(), String> {
        let is_full = |writer: &Writer| self.rotation.size.is_some_and(|size| writer.length() >= size);
        let is_old = || self.rotation.time.is_some_and(|time| self.opened.elapsed() >= time);
        if self.writer.as_ref().is_some_and(|writer| is_full(writer) || is_old()) {
            self.finish()?;
            self.before.0 += self.last.0;
            self.before.1 += self.last.1;
            self.last = (0, 0);
            self.open()?;
        }
        let written = self.writer.as_mut().map_or(Ok(()), |writer| writer.write(record));
        written.map_err(|err| self.unwritable(&err))
    }

    /// Makes what was written readable for others, from time to time.
    ///
    /// # Errors
    /// One sentence: what was kept.
    pub(super) fn tick(&mut self) -> Result<(), String> {
        if self.flushed.elapsed() < FLUSH {
            return Ok(());
        }
        self.flushed = Instant::now();
        let flushed = self.writer.as_mut().map_or(Ok(()), Writer::flush);
        flushed.map_err(|err| self.unwritable(&err))
    }

    /// Completes the current file.
    ///
    /// # Errors
    /// One sentence: what was kept.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        let flushed = writer.flush();
        self.last = (writer.kept(), writer.length());
        flushed.and_then(|()| writer.finish()).map_err(|err| self.unwritable(&err))
    }

    fn unwritable(&self, err: &io::Error) -> String {
        let path = self.files.last().unwrap_or(&self.path).display();
        let (frames, _) = self.current();
        format!(
            "{path} cannot be written any more: {err}. It is whole, with the {} frames until then; make room, or record to another disk",
            grouped(frames)
        )
    }

    /// The frames and bytes of the current file.
    fn current(&self) -> (u64, u64) {
        self.writer.as_ref().map_or(self.last, |writer| (writer.kept(), writer.length()))
    }

    /// The files so far.
    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The frames that are in the files.
    pub(super) fn frames(&self) -> u64 {
        self.before.0 + self.current().0
    }

    /// The size of the files.
    pub(super) fn bytes(&self) -> u64 {
        self.before.1 + self.current().1
    }
}

fn exists(path: &Path) -> String {
    format!("{} exists: choose another name, or overwrite it with --force", path.display())
}

/// Whether a path is the other one with a number.
fn is_numbered(path: &Path, other: &Path) -> bool {
    let number = other.file_stem().and_then(|stem| stem.to_str()?.rsplit_once('-')?.1.parse().ok());
    number.is_some_and(|number| numbered(path, number) == other)
}

/// `body.log` with a number: `body-0001.log`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{number:04}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::{CanAnyFrame, Sender, Timestamp};
    use socketcan::{CanDataFrame, EmbeddedFrame as _, StandardId};

    const ALWAYS: Rotation = Rotation { size: None, time: None };

    fn record() -> Record {
        let frame: CanAnyFrame = CanDataFrame::new(StandardId::new(0x123).unwrap(), &[1]).unwrap().into();
        Record { time: Timestamp(1_000_000_000), sender: Sender::Host, frame }
    }

    #[test]
    fn an_existing_file_is_only_overwritten_on_request() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("body.log");
        std::fs::write(&path, "precious").unwrap();
        let create = |force| Output::create(path.clone(), Format::CandumpLog, ALWAYS, force);
        let why = create(false).unwrap_err();
        assert!(why.contains("exists") && why.contains("--force"), "{why}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
        create(true).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }

    #[test]
    fn a_full_file_is_followed_by_the_next_number() {
        let dir = tempfile::tempdir().unwrap();
        let rotation = Rotation { size: Some(100), time: None };
        let mut output =
            Output::create(dir.path().join("body.log"), Format::CandumpLog, rotation, false).unwrap();
        for _ in 0..10 {
            output.write(&record()).unwrap();
        }
        output.finish().unwrap();
        let names: Vec<_> = output.files().iter().map(|file| file.file_name().unwrap().to_owned()).collect();
        assert!(names.len() > 2 && names[..2] == ["body-0001.log", "body-0002.log"], "{names:?}");
        let sizes: Vec<u64> = output.files().iter().map(|file| file.metadata().unwrap().len()).collect();
        assert!(sizes.iter().all(|size| *size < 200), "{sizes:?}");
        assert_eq!((output.frames(), output.bytes()), (10, sizes.iter().sum()));
    }

    #[test]
    fn an_earlier_recording_with_any_number_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["body-0007.log", "body-x.log", "body-0001.asc", "body2-0001.log"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let rotation = Rotation { size: Some(100), time: None };
        let create = |force| Output::create(dir.path().join("body.log"), Format::CandumpLog, rotation, force);
        let why = create(false).unwrap_err();
        assert!(why.contains("body-0007.log exists"), "{why}");
        create(true).unwrap();
        std::fs::remove_file(dir.path().join("body-0007.log")).unwrap();
        std::fs::remove_file(dir.path().join("body-0001.log")).unwrap();
        create(false).unwrap();
    }

    #[test]
    fn an_old_file_is_followed_by_the_next_number() {
        for (time, files) in [(Duration::ZERO, 3), (Duration::from_secs(3600), 1)] {
            let dir = tempfile::tempdir().unwrap();
            let rotation = Rotation { size: None, time: Some(time) };
            let path = dir.path().join("body.asc");
            let mut output = Output::create(path, Format::Asc, rotation, false).unwrap();
            output.write(&record()).unwrap();
            output.write(&record()).unwrap();
            output.finish().unwrap();
            assert_eq!((output.files().len(), output.frames()), (files, 2));
            assert!(dir.path().join("body-0001.asc").exists());
        }
    }

    #[test]
    fn a_full_disk_is_one_sentence_with_what_was_kept() {
        // Writing to it fails like a full disk.
        let path = PathBuf::from("/dev/full");
        let writer =
            Some(Writer::new(OpenOptions::new().write(true).open(&path).unwrap(), Format::CandumpLog));
        let (now, dir) = (Instant::now(), tempfile::tempdir().unwrap());
        let mut output = Output::create(dir.path().join("a.log"), Format::CandumpLog, ALWAYS, false).unwrap();
        output = Output { writer, files: vec![path], flushed: now.checked_sub(FLUSH).unwrap(), ..output };
        output.write(&record()).unwrap();
        let why = output.tick().unwrap_err();
        assert!(why.starts_with("/dev/full cannot be written any more: No space left on device"), "{why}");
        assert!(why.contains("with the 0 frames until then"), "{why}");
    }
}

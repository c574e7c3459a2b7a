//! Numbers that outlive the process that counts.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::atomic::{
        AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use crate::system::MappedWords;

/// The first word says which half holds. 0: none yet.
const HALVES: [u64; 2] = [1, 2];

/// Numbers in a file, all of one moment: a process that is killed while it writes them leaves those of before. Writing them
/// is no system call. In a file system in memory they last until the host restarts.
#[derive(Debug)]
pub struct KeptNumbers {
    mapped: MappedWords,
    most: usize,
}

impl KeptNumbers {
    /// Opens a file for at most so many numbers, for one process at a time. A new file has none.
    ///
    /// # Errors
    /// The file cannot be opened, is none, or was made for another number of numbers.
    pub fn open(path: &Path, most: usize) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_CLOEXEC)
            .open(path)?;
        let words = 1 + HALVES.len() * (1 + most);
        let (is, should) = (file.metadata()?.len(), (words * size_of::<u64>()) as u64);
        match is {
            0 => file.set_len(should)?,
            _ if is == should => {}
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "it has another length")),
        }
        Ok(Self { mapped: MappedWords::new(&file, words)?, most })
    }

    /// The numbers that were written last; `None` before the first time, and if the file makes no sense.
    pub fn read(&self) -> Option<Vec<u64>> {
        let [holds, ..] = self.mapped.words() else { return None };
        let [length, numbers @ ..] = self.half(holds.load(Acquire))? else { return None };
        let numbers = numbers.get(..usize::try_from(length.load(Relaxed)).ok()?)?;
        Some(numbers.iter().map(|number| number.load(Relaxed)).collect())
    }

    /// Writes other numbers in place of them; those that there is no room for are left out.
    pub fn write(&self, numbers: &[u64]) {
        let [holds, ..] = self.mapped.words() else { return };
        let next = if holds.load(Relaxed) == HALVES[0] { HALVES[1] } else { HALVES[0] };
        let Some([length, room @ ..]) = self.half(next) else { return };
        for (place, number) in room.iter().zip(numbers) {
            place.store(*number, Relaxed);
        }
        length.store(numbers.len().min(self.most) as u64, Relaxed);
        holds.store(next, Release);
    }

    fn half(&self, number: u64) -> Option<&[AtomicU64]> {
        let at = HALVES.iter().position(|half| *half == number)?;
        let start = 1 + at * (1 + self.most);
        self.mapped.words().get(start..=start + self.most)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_next_process_reads_what_was_written_last() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        let kept = KeptNumbers::open(&path, 3).unwrap();
        assert_eq!(kept.read(), None);
        for numbers in [&[1, 2, 3][..], &[], &[4, 5], &[6, 7, 8, 9]] {
            kept.write(numbers);
            let next = KeptNumbers::open(&path, 3).unwrap();
            assert_eq!(next.read().unwrap(), numbers.get(..3).unwrap_or(numbers));
        }
    }

    #[test]
    fn a_process_that_was_killed_while_it_wrote_leaves_the_numbers_of_before() {
        let folder = tempfile::tempdir().unwrap();
        let kept = KeptNumbers::open(&folder.path().join("numbers"), 3).unwrap();
        for numbers in [[1, 2, 3], [4, 5, 6]] {
            kept.write(&numbers);
            let holds = kept.mapped.words()[0].load(Relaxed);
            let other = HALVES.into_iter().find(|half| *half != holds).unwrap();
            kept.half(other).unwrap().iter().for_each(|word| word.store(99, Relaxed));
            assert_eq!(kept.read(), Some(numbers.to_vec()));
        }
    }

    #[test]
    fn a_file_of_something_else_is_refused_or_has_no_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("numbers");
        fs::write(&path, "short").unwrap();
        assert_eq!(KeptNumbers::open(&path, 3).unwrap_err().kind(), io::ErrorKind::InvalidData);
        fs::write(&path, [255; 9 * 8]).unwrap();
        assert_eq!(KeptNumbers::open(&path, 3).unwrap().read(), None);
        fs::write(&path, [[1, 0, 0, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0, 0]].concat().repeat(5)).unwrap();
        assert!(KeptNumbers::open(&path, 3).is_err());
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(KeptNumbers::open(&link, 3).is_err());
    }
}

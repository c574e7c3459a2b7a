//! `canhub man`: the man page, out of the words of `--help`.

use std::{fs, io, path::PathBuf};

use clap::{Args, Command};
use clap_mangen::Man as Page;

/// Print the man page
#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write canhub.1 and one page for each command there instead
    folder: Option<PathBuf>,
}

impl Man {
    pub(super) fn run(self, command: Command) -> Result<(), String> {
        let written = match &self.folder {
            None => Page::new(command).render(&mut io::stdout()),
            Some(folder) => {
                fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder))
            }
        };
        match (written, self.folder) {
            (Err(err), Some(folder)) => Err(format!("cannot write man pages to {}: {err}", folder.display())),
            // A reader who has gone (`| head`) has seen enough.
            _ => Ok(()),
        }
    }
}

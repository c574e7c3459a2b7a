//! `canhub-span join`.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, IsTerminal},
    net::SocketAddr,
    path::PathBuf,
};

use clap::Args;

use super::{
    START, note,
    places::{Places, check_name, parse_listen},
};
use crate::fleet::{Invitation, LARGEST, Store, time};

/// Join a fleet with an invitation, or take a renewed certificate
///
/// The invitation is what `canhub-span invite` or `canhub-span renew` printed on the host with the CA.
#[derive(Debug, Args)]
pub(super) struct Join {
    /// File with the invitation; `-` or nothing reads standard input
    file: Option<PathBuf>,
    /// Address on which other hosts can reach this one, with or without a port (7447): 0.0.0.0 for all. May be repeated
    #[arg(long, value_name = "ADDRESS", value_parser = parse_listen)]
    listen: Vec<SocketAddr>,
    #[command(flatten)]
    places: Places,
}

/// A list and two certificates, in base64.
const LONGEST: u64 = 2 * LARGEST as u64;

impl Join {
    pub(super) fn run(self) -> Result<String, String> {
        let text = match self.file.as_ref().filter(|file| file.as_os_str() != "-") {
            Some(file) => File::open(file)
                .and_then(|file| read(BufReader::new(file)))
                .map_err(|err| format!("cannot read {}: {err}", file.display()))?,
            None => {
                if io::stdin().is_terminal() {
                    note("Paste the invitation:");
                }
                read(io::stdin().lock()).map_err(|err| format!("cannot read the invitation: {err}"))?
            }
        };
        self.take(&Invitation::decode(&text)?)
    }

    fn take(self, invitation: &Invitation) -> Result<String, String> {
        let settings = self.places.settings()?;
        let name = invitation.host()?;
        check_name(&self.places, &settings, &name)?;
        let store = Store::new(&settings.state);
        let was_in = matches!(store.identity(), Ok(Some(_)));
        store.check(invitation, time::now())?;
        // Before the host is in the fleet: a service that waits for this reads them then.
        let lacks = self.places.write_settings(&name, &self.listen, &invitation.connect)?;
        let certificate = store.join(invitation)?;

        let day = time::day(certificate.expires);
        let mut text = match was_in {
            true => format!(
                "The certificate of {name} is valid until {day}; a running service takes it in a second.\n"
            ),
            false => format!("This host is {name} in the fleet {}, until {day}.\n", invitation.fleet()?),
        };
        for lack in lacks {
            text += &format!("{lack}\n");
        }
        if let Some(problem) = certificate.problem(time::now()) {
            text += &format!("{problem}\n");
        }
        if self.listen.is_empty() && settings.listen.is_empty() {
            text += "Nothing listens on this host, so it hears only hosts that do (canhub-span join --listen 0.0.0.0, or \
                     listen in its settings).\n";
        }
        if !was_in {
            text += &format!("Next, type here:\n  {START}\n");
        }
        Ok(text)
    }
}

/// Reads up to the end of the invitation.
fn read(from: impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    for line in from.take(LONGEST).lines() {
        let line = line?;
        text += &line;
        text.push('\n');
        if Invitation::ends_with(&line) {
            break;
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{super::places::tests::places, *};
    use crate::fleet::Authority;

    #[test]
    fn a_host_joins_and_takes_a_renewal() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("other-machine"), time::now()).unwrap();
        let mut invite = || {
            let identity = ca.issue(&"cell".parse().unwrap(), None, time::now()).unwrap();
            Invitation::new(identity, ca.certificate(), ca.list(), vec!["10.0.0.1:7447".to_owned()])
        };
        let places = places(dir.path());
        let file = dir.path().join("cell.invitation");
        let join = |invitation: &Invitation| {
            std::fs::write(&file, invitation.encode().unwrap()).unwrap();
            Join { file: Some(file.clone()), listen: Vec::new(), places: places.clone() }.run()
        };
        let first = invite();
        let text = join(&first).unwrap();
        assert!(text.starts_with("This host is cell in the fleet "), "{text}");
        assert!(text.contains("add to it: connect = [\"10.0.0.1:7447\"]") && text.contains(START), "{text}");
        assert!(join(&invite()).unwrap().starts_with("The certificate of cell is valid until "));
        let secret = first.encode().unwrap();
        assert!(!text.contains(secret.lines().nth(3).unwrap()), "no secret is shown");
    }

    #[test]
    fn settings_that_contradict_stop_join_before_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        let mut ca = Authority::create(&dir.path().join("ca"), 0).unwrap();
        let identity = ca.issue(&"cell".parse().unwrap(), None, 0).unwrap();
        let invitation = Invitation::new(identity, ca.certificate(), ca.list(), Vec::new());
        let places = places(dir.path());
        let state = dir.path().join("state");
        std::fs::write(&places.config, format!("name = 'bench'\nstate = '{}'\n", state.display())).unwrap();
        let why = Join { file: None, listen: Vec::new(), places }.take(&invitation).unwrap_err();
        assert!(why.contains("says name = \"bench\", and this host would be cell"), "{why}");
        assert_eq!(Store::new(state).identity(), Ok(None));
    }

    #[test]
    fn a_terminal_needs_no_end_of_file() {
        let mut pasted =
            "-----BEGIN CANHUB INVITATION-----\r\nAAAA\r\n-----END CANHUB INVITATION-----\r\nrm -rf /\n"
                .as_bytes();
        assert!(read(&mut pasted).unwrap().ends_with("END CANHUB INVITATION-----\n"));
        assert_eq!(pasted, b"rm -rf /\n");
    }
}

//! A CAN adapter without hardware, on one wire with an adapter on another machine: the kernel's serial driver (slcan) on a
//! pseudo terminal, whose other end is a TCP connection to a probe there. Frames pass, commands to the adapter do not.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::Command,
    thread::{self, sleep},
    time::Duration,
};

use nix::pty::openpty;

use crate::line;

/// What `probe serial` was asked for.
#[derive(Debug, clap::Args)]
pub struct Serial {
    /// The name of the interface
    interface: String,
    /// Wait for the other probe at this ADDRESS:PORT
    #[arg(long, conflicts_with = "connect", required_unless_present = "connect")]
    listen: Option<String>,
    /// Connect to the other probe at this ADDRESS:PORT
    #[arg(long)]
    connect: Option<String>,
}

/// Creates the interface, prints `ready` when the other one is there too, and carries frames until the connection ends.
pub fn run(args: &Serial) -> io::Result<()> {
    let pair = openpty(None, None)?;
    let path = fs::read_link(format!("/proc/self/fd/{}", pair.slave.as_raw_fd()))?;
    // It exits at once; the line remains an adapter as long as it is open here.
    let attached = Command::new("slcan_attach").args(["-n", &args.interface]).arg(path).output()?;
    if !attached.status.success() {
        return Err(io::Error::other(String::from_utf8_lossy(&attached.stderr).into_owned()));
    }
    let far = args.far()?;
    far.set_nodelay(true)?;
    line("ready")?;
    let (from_kernel, to_kernel) = (File::from(pair.master.try_clone()?), File::from(pair.master));
    let to_far = far.try_clone()?;
    thread::spawn(move || carry(from_kernel, to_far));
    carry(far, to_kernel)
}

impl Serial {
    fn far(&self) -> io::Result<TcpStream> {
        if let Some(address) = &self.listen {
            return TcpListener::bind(address)?.accept().map(|(far, _)| far);
        }
        let address = self.connect.as_deref().unwrap_or_default();
        // The other one starts at the same time.
        for _ in 0..100 {
            match TcpStream::connect(address) {
                Err(err) if err.kind() == io::ErrorKind::ConnectionRefused => {
                    sleep(Duration::from_millis(100))
                }
                tried => return tried,
            }
        }
        TcpStream::connect(address)
    }
}

/// Passes on lines that are frames.
fn carry(from: impl Read, mut to: impl Write) -> io::Result<()> {
    let mut from = BufReader::new(from);
    let mut message = Vec::new();
    while from.read_until(b'\r', &mut message)? > 0 {
        if matches!(message.first(), Some(b't' | b'T' | b'r' | b'R')) {
            to.write_all(&message)?;
        }
        message.clear();
    }
    Ok(())
}

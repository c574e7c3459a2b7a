//! `canhub door`: lets programs on other systems onto a bus.

use std::{net::SocketAddr, sync::Arc};

use clap::Args;
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};

use super::{Failed, bus::BusChoice, complain, lines};
use crate::frames::door::{Door, Options};

/// Let programs on other systems onto a bus: python-can, cantools, SavvyCAN
///
/// A socketcand server in raw mode. It listens on the loopback interface only, unless --listen says otherwise: the protocol
/// has no password and no encryption, so reach it through `ssh -L 29536:127.0.0.1:29536 HOST`. Clients hear and cannot
/// send, unless --write is given. Remote and FD frames are not in the protocol, and the sender of a frame is not either.
/// Needs no privileges. Ctrl-C ends it.
#[derive(Debug, Args)]
pub(super) struct DoorCommand {
    #[command(flatten)]
    bus: BusChoice,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:29536")]
    listen: SocketAddr,
    /// Let clients send
    #[arg(long)]
    write: bool,
    /// So many clients at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    clients: u16,
    /// Pass FD frames on as frames with up to 64 bytes, without their flags; clients must expect that
    #[arg(long)]
    fd: bool,
}

impl DoorCommand {
    pub(super) fn run(self) -> Result<(), Failed> {
        let bus = self.bus.find()?;
        let name = bus.name().to_owned();
        let interface = bus.hub().map(str::to_owned).ok_or_else(|| {
            format!("{name} has no interface on this host at the moment: see `canhub status`")
        })?;
        let options = Options { write: self.write, fd: self.fd, clients: self.clients.into() };
        let names = vec![name.clone(), interface.clone()];
        let door = Arc::new(Door::new(interface, names, options, complain));

        let cannot = |err| format!("cannot serve: {err}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        runtime.block_on(async {
            let listener = TcpListener::bind(self.listen).await.map_err(|err| {
                format!("cannot listen on {}: {err}; choose another with --listen", self.listen)
            })?;
            let address = listener.local_addr().unwrap_or(self.listen);
            if !address.ip().is_loopback() {
                complain(&format!(
                    "everybody who reaches {address} can {} {name}: the protocol has no password",
                    if self.write { "read and write" } else { "read" }
                ));
            }
            let may = if self.write { "clients may send" } else { "read-only" };
            lines::print(&format!("{name} is open on {address}, {may}; Ctrl-C ends\n"));
            let stop = asked_to_stop().map_err(cannot)?;
            Arc::clone(&door).serve(listener, stop).await;
            Ok::<_, String>(())
        })?;
        lines::print(&format!("{}\n", door.summary()));
        Ok(())
    }
}

fn asked_to_stop() -> std::io::Result<impl Future<Output = ()>> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

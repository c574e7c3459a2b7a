//! The least that TLS with certificates on both sides costs, over TCP: each frame of a bus goes at once into a record of its
//! own, on threads that do nothing else. No engine, no numbers, no ages.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use canhub::frames::CanAnyFrame;
use canhub_span::cannelloni::tcp;
use parking_lot::Mutex;
use rustls::{
    ClientConfig, ClientConnection, Connection, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::ring::default_provider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    version::TLS13,
};
use socketcan::{CanFdSocket, Socket as _};

/// A host's files, as `canhub-span` keeps them.
pub struct Identity {
    ca: PathBuf,
    own: PathBuf,
}

impl Identity {
    pub fn in_folder(folder: &Path) -> Self {
        Self { ca: folder.join("ca.pem"), own: folder.join("identity.pem") }
    }

    fn verifier(&self) -> Arc<dyn ClientCertVerifier> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(&self.ca).unwrap()).unwrap();
        WebPkiClientVerifier::builder_with_provider(roots.into(), default_provider().into()).build().unwrap()
    }

    fn certificate(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let certificates = CertificateDer::pem_file_iter(&self.own).unwrap().map(Result::unwrap).collect();
        (certificates, PrivateKeyDer::from_pem_file(&self.own).unwrap())
    }

    fn server(&self) -> Connection {
        let (certificates, key) = self.certificate();
        let config = ServerConfig::builder_with_provider(default_provider().into())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .with_client_cert_verifier(self.verifier())
            .with_single_cert(certificates, key)
            .unwrap();
        ServerConnection::new(config.into()).unwrap().into()
    }

    fn client(&self) -> Connection {
        let (certificates, key) = self.certificate();
        let config = ClientConfig::builder_with_provider(default_provider().into())
            .with_protocol_versions(&[&TLS13])
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyHost(self.verifier())))
            .with_client_auth_cert(certificates, key)
            .unwrap();
        ClientConnection::new(config.into(), ServerName::try_from("host").unwrap()).unwrap().into()
    }
}

/// The other end has a certificate of the fleet, whatever its name: they have no names of servers.
#[derive(Debug)]
struct AnyHost(Arc<dyn ClientCertVerifier>);

impl ServerCertVerifier for AnyHost {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.0.verify_client_cert(certificate, intermediates, now);
        verified.map(|_| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// Waits for the other end, and carries frames until it is gone.
pub fn listen(bus: &str, listener: &TcpListener, identity: &Identity) -> [JoinHandle<()>; 2] {
    carry(bus, listener.accept().unwrap().0, identity.server())
}

/// Connects as soon as the other end listens, and carries frames until it is gone.
pub fn connect(bus: &str, address: &str, identity: &Identity) -> [JoinHandle<()>; 2] {
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return carry(bus, stream, identity.client()),
            Err(_) => thread::sleep(Duration::from_millis(100)),
        }
    }
}

fn carry(bus: &str, mut stream: TcpStream, mut connection: Connection) -> [JoinHandle<()>; 2] {
    stream.set_nodelay(true).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut stream).unwrap();
    }
    // One socket for both directions does not hear what it sends.
    let bus = Arc::new(CanFdSocket::open(bus).unwrap());
    let connection = Arc::new(Mutex::new(connection));
    let (reads, writes, sending, receiving) = (bus.clone(), bus, connection.clone(), connection);
    let out = stream.try_clone().unwrap();
    [
        thread::spawn(move || send(&reads, &sending, out)),
        thread::spawn(move || receive(&writes, &receiving, stream)),
    ]
}

fn send(bus: &CanFdSocket, connection: &Mutex<Connection>, mut stream: TcpStream) {
    let mut bytes = tcp::GREETING.to_vec();
    loop {
        if tcp::put(&mut bytes, &bus.read_frame().unwrap()).is_err() {
            continue;
        }
        let mut connection = connection.lock();
        connection.writer().write_all(&bytes).unwrap();
        bytes.clear();
        while connection.wants_write() {
            if connection.write_tls(&mut stream).is_err() {
                return;
            }
        }
    }
}

fn receive(bus: &CanFdSocket, connection: &Mutex<Connection>, mut stream: TcpStream) {
    let (mut records, mut plain) = (vec![0; 65_536], vec![0; 65_536]);
    let (mut reader, mut frames) = (tcp::Reader::default(), Vec::<CanAnyFrame>::new());
    while let Ok(length @ 1..) = stream.read(&mut records) {
        let mut connection = connection.lock();
        let mut left = &records[..length];
        while !left.is_empty() {
            connection.read_tls(&mut left).unwrap();
            connection.process_new_packets().unwrap();
            loop {
                match connection.reader().read(&mut plain) {
                    Ok(length @ 1..) => reader.read(&plain[..length], |frame| frames.push(frame)).unwrap(),
                    Err(err) if err.kind() == ErrorKind::WouldBlock => break,
                    _ => return,
                }
            }
        }
        drop(connection);
        for frame in frames.drain(..) {
            let _ = bus.write_frame(&frame);
        }
    }
}

//! USB adapters without hardware: devices that the kernel's `gs_usb` takes for a candleLight, over USB/IP, with the
//! test as the server. They have vendor, product, serial number and port, and can be unplugged; adapters with the same
//! bit timing receive each other's frames.
//!
//! The protocol is in Documentation/usb/usbip_protocol.rst; what the driver requests from a device is in
//! drivers/net/can/usb/gs_usb.c. Errors are not simulated.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    io::{Read, Write},
    net::Shutdown,
    os::{fd::AsRawFd, unix::net::UnixStream},
    sync::Arc,
    thread,
};

use parking_lot::Mutex;

use super::{
    host::udev_property,
    shell::{PATIENCE, eventually, run, within},
};

/// The IDs of all of them, as `usb:VENDOR:PRODUCT`.
pub const CANDLELIGHT: &str = "1d50:606f";
const HOST_CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// `enum usb_device_speed`.
const USB_SPEED_HIGH: u32 = 3;
const CMD_SUBMIT: u32 = 1;
const CMD_UNLINK: u32 = 2;
const RET_SUBMIT: u32 = 3;
const RET_UNLINK: u32 = 4;
const HEADER_BYTES: usize = 48;
const STALL: i32 = -32;
const UNLINKED: i32 = -104;

/// A physical bus, and the adapters by port.
#[derive(Debug, Clone, Default)]
pub struct Wire(Arc<Mutex<BTreeMap<u8, Node>>>);

#[derive(Debug)]
struct Node {
    serial: String,
    line: UnixStream,
    /// Pending reads of the driver for a frame.
    reads: VecDeque<u32>,
    frames: VecDeque<Vec<u8>>,
    timing: Vec<u8>,
    on: bool,
}

/// An adapter that is plugged in; unplugged on drop.
#[derive(Debug)]
pub struct Adapter {
    wire: Wire,
    port: u8,
    /// Its interface.
    pub interface: String,
}

impl Wire {
    /// Without adapters.
    #[track_caller]
    pub fn new() -> Self {
        run("modprobe", &["--all", "vhci-hcd", "gs_usb"]);
        Self::default()
    }

    /// Plugs in an adapter; its interface exists when this returns.
    #[track_caller]
    pub fn plug(&self, port: u8, serial: &str) -> Adapter {
        let (ours, kernels) = UnixStream::pair().expect("there are sockets");
        let line = ours.try_clone().expect("it is open");
        let node = Node {
            serial: serial.into(),
            line,
            reads: VecDeque::new(),
            frames: VecDeque::new(),
            timing: Vec::new(),
            on: false,
        };
        self.0.lock().insert(port, node);
        let wire = self.clone();
        thread::spawn(move || wire.serve(port, ours));

        let device = 1 + u32::from(port);
        let attach = format!("{port} {} {device} {USB_SPEED_HIGH}", kernels.as_raw_fd());
        fs::write(format!("{HOST_CONTROLLER}/attach"), attach).expect("the port is free");
        let interface = eventually(&format!("the adapter {serial} becomes an interface"), || {
            interface_at(port).ok_or_else(|| "the interface does not exist".to_owned())
        });
        Adapter { wire: self.clone(), port, interface }
    }

    /// Serves the kernel's requests, until it or the adapter hangs up.
    fn serve(&self, port: u8, mut line: UnixStream) {
        let mut head = [0; HEADER_BYTES];
        while line.read_exact(&mut head).is_ok() {
            let request = Request::parse(&head);
            let mut data = vec![0; if request.reads() { 0 } else { request.length }];
            if line.read_exact(&mut data).is_err() {
                break;
            }
            let mut nodes = self.0.lock();
            match (request.command, request.endpoint) {
                (CMD_SUBMIT, 0) => {
                    let Some(node) = nodes.get_mut(&port) else { break };
                    match node.control(&head[40..HEADER_BYTES], &data) {
                        Some(mut reply) if request.input => {
                            reply.truncate(request.length);
                            node.answer(RET_SUBMIT, request.number, 0, &reply, reply.len());
                        }
                        Some(_) => node.answer(RET_SUBMIT, request.number, 0, &[], data.len()),
                        None => node.answer(RET_SUBMIT, request.number, STALL, &[], 0),
                    }
                }
                (CMD_SUBMIT, _) if request.input => {
                    let Some(node) = nodes.get_mut(&port) else { break };
                    node.reads.push_back(request.number);
                    node.deliver();
                }
                (CMD_SUBMIT, _) => transmit(&mut nodes, port, request.number, data),
                _ => {
                    let Some(node) = nodes.get_mut(&port) else { break };
                    let waits = node.reads.iter().position(|number| *number == request.unlinks);
                    let status = if waits.is_some() { UNLINKED } else { 0 };
                    waits.map(|at| node.reads.remove(at));
                    node.answer(RET_UNLINK, request.number, status, &[], 0);
                }
            }
        }
    }
}

/// The sender gets its confirmation, and all adapters with the same bit timing receive the frame.
fn transmit(nodes: &mut BTreeMap<u8, Node>, port: u8, number: u32, frame: Vec<u8>) {
    let Some(sender) = nodes.get_mut(&port) else { return };
    sender.answer(RET_SUBMIT, number, 0, &[], frame.len());
    let timing = sender.timing.clone();
    let mut heard = frame.clone();
    sender.frames.push_back(frame);
    sender.deliver();
    // `echo_id` of a frame from another sender.
    heard[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    for (_, node) in
        nodes.iter_mut().filter(|(other, node)| **other != port && node.on && node.timing == timing)
    {
        node.frames.push_back(heard.clone());
        node.deliver();
    }
}

/// `struct usbip_header`.
struct Request {
    command: u32,
    number: u32,
    input: bool,
    endpoint: u32,
    /// In bytes.
    length: usize,
    /// The request to cancel.
    unlinks: u32,
}

impl Request {
    fn parse(head: &[u8; HEADER_BYTES]) -> Self {
        let word = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        Self {
            command: word(0),
            number: word(4),
            input: word(12) == 1,
            endpoint: word(16),
            length: word(24) as usize,
            unlinks: word(20),
        }
    }

    /// Whether no data follows.
    fn reads(&self) -> bool {
        self.input || self.command == CMD_UNLINK
    }
}

impl Node {
    fn answer(&mut self, command: u32, number: u32, status: i32, data: &[u8], length: usize) {
        let mut reply = vec![0; HEADER_BYTES];
        reply[..4].copy_from_slice(&command.to_be_bytes());
        reply[4..8].copy_from_slice(&number.to_be_bytes());
        reply[20..24].copy_from_slice(&status.to_be_bytes());
        if command == RET_SUBMIT {
            reply[24..28].copy_from_slice(&(length as u32).to_be_bytes());
        }
        reply.extend_from_slice(data);
        // It may have just been unplugged.
        let _ = self.line.write_all(&reply);
    }

    fn deliver(&mut self) {
        while !self.frames.is_empty()
            && let Some(number) = self.reads.pop_front()
            && let Some(frame) = self.frames.pop_front()
        {
            self.answer(RET_SUBMIT, number, 0, &frame, frame.len());
        }
    }

    /// A control request to the device; `None` if it is not supported.
    fn control(&mut self, setup: &[u8], data: &[u8]) -> Option<Vec<u8>> {
        Some(match (setup[0], setup[1], setup[3], setup[2]) {
            // Descriptors: the device, its single configuration with a bulk endpoint in each direction, its strings.
            (0x80, 6, 1, _) => vec![18, 1, 0, 2, 0, 0, 0, 64, 0x50, 0x1d, 0x6f, 0x60, 0, 0, 1, 2, 3, 1],
            (0x80, 6, 2, _) => vec![
                9, 2, 32, 0, 1, 1, 0, 0x80, 50, 9, 4, 0, 0, 2, 0xff, 0xff, 0xff, 0, 7, 5, 0x81, 2, 0, 2, 0,
                7, 5, 2, 2, 0, 2, 0,
            ],
            (0x80, 6, 3, 0) => vec![4, 3, 9, 4],
            (0x80, 6, 3, 1) => text("canhub's tests"),
            (0x80, 6, 3, 2) => text("a candleLight of their own"),
            (0x80, 6, 3, 3) => text(&self.serial),
            (0x80..=0x82, 0, ..) => vec![0, 0],
            (0x00..=0x02, ..) => Vec::new(),
            // GS_USB_BREQ_DEVICE_CONFIG: one channel. GS_USB_BREQ_BT_CONST: listen-only, loopback, triple-sampling,
            // one-shot; 48 MHz and its limits.
            (0xc1, 5, ..) => words(&[0, 2, 1]),
            (0xc1, 4, ..) => words(&[15, 48_000_000, 1, 16, 1, 8, 4, 1, 1024, 1]),
            // GS_USB_BREQ_BITTIMING, GS_USB_BREQ_MODE, and others that no test depends on.
            (0x41, 1, ..) => {
                self.timing = data.to_vec();
                Vec::new()
            }
            (0x41, 2, ..) => {
                self.on = data.first() == Some(&1);
                Vec::new()
            }
            (0x41, ..) => Vec::new(),
            _ => return None,
        })
    }
}

fn words(list: &[u32]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// A string descriptor.
fn text(words: &str) -> Vec<u8> {
    let characters = words.encode_utf16().flat_map(u16::to_le_bytes);
    [2 + 2 * words.len() as u8, 3].into_iter().chain(characters).collect()
}

/// The CAN interface at a port.
fn interface_at(port: u8) -> Option<String> {
    let names = |folder: &str| -> Vec<String> {
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    };
    let buses =
        names(HOST_CONTROLLER).into_iter().filter_map(|name| Some(name.strip_prefix("usb")?.to_owned()));
    let at = |bus: String| format!("{HOST_CONTROLLER}/usb{bus}/{bus}-{0}/{bus}-{0}:1.0/net", port + 1);
    buses.map(at).find_map(|folder| names(&folder).pop())
}

impl Adapter {
    /// Its port, as udev names it.
    #[track_caller]
    pub fn id_path(&self) -> String {
        udev_property(&self.interface, "ID_PATH")
    }
}

impl Drop for Adapter {
    fn drop(&mut self) {
        if let Some(node) = self.wire.0.lock().remove(&self.port) {
            // The kernel hangs up, and the device is gone.
            let _ = node.line.shutdown(Shutdown::Both);
        }
        let port = self.port;
        // A failing test must not fail a second time.
        let _ = within(PATIENCE, || interface_at(port).map_or(Ok(()), Err));
    }
}

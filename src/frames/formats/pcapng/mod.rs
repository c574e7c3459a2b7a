//! Wireshark's format, pcapng, with one interface per sender (draft-ietf-opsawg-pcapng; link type
//! `LINKTYPE_CAN_SOCKETCAN` of the registry at tcpdump.org).

mod read;
mod write;

pub(super) use read::Reader;
pub(super) use write::Encoder;

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;

const BYTE_ORDER: u32 = 0x1A2B_3C4D;

const LINK_TYPE_SOCKETCAN: u16 = 227;

const OPTION_END: u16 = 0;
const OPTION_NAME: u16 = 2;
const OPTION_RESOLUTION: u16 = 9;
const OPTION_OFFSET: u16 = 14;
/// Of a section: the program that wrote it.
const OPTION_PROGRAM: u16 = 4;

/// In a packet: id with flags (big-endian), length, FD flags, two reserved bytes, data.
const HEADER: usize = 8;
/// FD flags of a packet: BRS, ESI, and that it is an FD frame.
const BRS: u8 = 1;
const ESI: u8 = 2;
const FDF: u8 = 4;
/// The length of a packet with a `canfd_frame`. Programs that do not set `FDF` can be told by it.
const FD_PACKET: usize = 72;

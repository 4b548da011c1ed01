//! A server of NAT-PMP only (RFC 6886), as old home routers have it, at the carrier's NAT ([`Carrier`]).
//!
//! [`Carrier`]: super::Carrier

use super::{Lab, Receiver, WAN_FAR_SIDE};
use anyhow::Result;
use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Instant;

/// Where it listens.
const ADDRESS: &str = "100.64.0.1:5351";

/// The server. What it was asked for it forgets with its end.
#[derive(Debug)]
pub struct NatPmpServer {
    _receiver: Receiver,
}

/// What it holds: an internal endpoint for each protocol and external port.
type Mappings = HashMap<(u8, u16), (Ipv4Addr, u16)>;

impl NatPmpServer {
    /// Starts it. Ports in `taken` are other subscribers'.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(lab: &Lab, taken: &'static [u16]) -> Result<Self> {
        let socket = lab.wan.udp(ADDRESS)?;
        let (namespace, started) = (lab.wan.name().to_owned(), Instant::now());
        let mut mappings = Mappings::new();
        let receiver = Receiver::start(socket, move |socket, datagram, from| {
            let epoch = u32::try_from(started.elapsed().as_secs()).unwrap_or(u32::MAX);
            let Some(answer) = answer(datagram, from, epoch, taken, &mut mappings) else { return };
            forward(&namespace, &mappings);
            // A client that has gone away is no matter of the server.
            let _ = socket.send_to(&answer, from);
        })?;
        Ok(Self { _receiver: receiver })
    }
}

fn answer(
    datagram: &[u8],
    from: SocketAddr,
    epoch: u32,
    taken: &[u16],
    mappings: &mut Mappings,
) -> Option<Vec<u8>> {
    let head = |opcode: u8, result: u8| {
        let mut head = vec![0, 128 | opcode, 0, result];
        head.extend(epoch.to_be_bytes());
        head
    };
    match *datagram {
        [0, 0] => Some([head(0, 0), WAN_FAR_SIDE.octets().to_vec()].concat()),
        [0, opcode @ (1 | 2), _, _, i0, i1, e0, e1, l0, l1, l2, l3] => {
            let SocketAddr::V4(from) = from else { return None };
            let inside = (*from.ip(), u16::from_be_bytes([i0, i1]));
            let lifetime = u32::from_be_bytes([l0, l1, l2, l3]);
            let mut port = u16::from_be_bytes([e0, e1]);
            mappings.retain(|(of, _), held| *of != opcode || *held != inside);
            if lifetime > 0 {
                while taken.contains(&port) || mappings.contains_key(&(opcode, port)) {
                    port += 1;
                }
                mappings.insert((opcode, port), inside);
            }
            let [high, low] = port.to_be_bytes();
            Some([head(opcode, 0), vec![i0, i1, high, low, l0, l1, l2, l3]].concat())
        }
        // Unsupported Version.
        [1..=u8::MAX, ..] => Some(head(0, 1)),
        _ => None,
    }
}

/// Has the carrier's NAT do it.
fn forward(namespace: &str, mappings: &Mappings) {
    let mut rules = "flush chain inet filter incoming\n".to_owned();
    for ((opcode, port), (address, inside)) in mappings {
        let protocol = if *opcode == 1 { "udp" } else { "tcp" };
        rules += &format!(
            "add rule inet filter incoming iifname \"far0\" {protocol} dport {port} dnat ip to \
             {address}:{inside}\n"
        );
    }
    let arguments = ["netns", "exec", namespace, "nft", &rules];
    // The test sees what comes of it.
    let _ = Command::new("ip").args(arguments).output();
}

//! STUN's Binding over UDP, for a client that asks from which address it is seen (RFC 8489): one request
//! without attributes, and one attribute of its response. Crates for STUN bring the digests of its
//! authentication with them, of which nothing is used here.

use std::net::{Ipv4Addr, SocketAddrV4};

/// The server's port where none is said (section 8.1).
pub const PORT: u16 = 3478;
/// Longest response that is looked at: what fits into the smallest MTU of IPv4 (section 6.1).
pub const MAX_RESPONSE: usize = 576;

const COOKIE: u32 = 0x2112_a442;
const REQUEST: u16 = 0x0001;
const SUCCESS: u16 = 0x0101;
const MAPPED_ADDRESS: u16 = 0x0001;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// Attributes from here on may be ignored (section 14).
const OPTIONAL: u16 = 0x8000;
/// What a server may say beside it that has to be understood to be ignored: who has authenticated itself,
/// and what RFC 3489 had.
const KNOWN: [u16; 8] = [MAPPED_ADDRESS, 0x0004, 0x0005, 0x0006, 0x0008, 0x0014, 0x001c, 0x001e];
const IPV4: u8 = 1;

/// Names a request, so that its response is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionId(pub [u8; 12]);

/// A Binding request.
pub fn binding_request(id: TransactionId) -> Vec<u8> {
    message(REQUEST, id, &[])
}

/// A Binding response that tells a client its address, as XOR-MAPPED-ADDRESS.
pub fn binding_response(id: TransactionId, seen: SocketAddrV4) -> Vec<u8> {
    let [high, low] = (seen.port() ^ (COOKIE >> 16) as u16).to_be_bytes();
    let [a, b, c, d] = (seen.ip().to_bits() ^ COOKIE).to_be_bytes();
    let [kind, length] = [XOR_MAPPED_ADDRESS, 8].map(u16::to_be_bytes);
    let attribute = [kind, length, [0, IPV4], [high, low], [a, b], [c, d]].concat();
    message(SUCCESS, id, &attribute)
}

fn message(kind: u16, TransactionId(id): TransactionId, attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attributes.len()).unwrap_or(u16::MAX);
    let mut message = kind.to_be_bytes().to_vec();
    message.extend_from_slice(&length.to_be_bytes());
    message.extend_from_slice(&COOKIE.to_be_bytes());
    message.extend_from_slice(&id);
    message.extend_from_slice(attributes);
    message
}

/// The address that the response to a request tells; `None` when the datagram is no such response, or
/// tells none of IPv4.
pub fn mapped_address(datagram: &[u8], id: TransactionId) -> Option<SocketAddrV4> {
    let (head, mut rest) = datagram.split_at_checked(20)?;
    let length = usize::from(u16::from_be_bytes([*head.get(2)?, *head.get(3)?]));
    let wanted = message(SUCCESS, id, &[]);
    let ours = head.get(..2) == wanted.get(..2) && head.get(4..) == wanted.get(4..);
    if !ours || length != rest.len() || !length.is_multiple_of(4) {
        return None;
    }
    let (mut plain, mut hidden) = (None, None);
    while let [k1, k0, l1, l0, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*l1, *l0]));
        let value = after.get(..length)?;
        rest = after.get(length.next_multiple_of(4)..)?;
        match u16::from_be_bytes([*k1, *k0]) {
            // The first of a kind counts (section 14).
            XOR_MAPPED_ADDRESS => hidden = hidden.or(Some(address(value, COOKIE)?)),
            MAPPED_ADDRESS => plain = plain.or_else(|| address(value, 0)),
            known if known >= OPTIONAL || KNOWN.contains(&known) => {}
            // Section 6.3.3: such a response is discarded.
            _ => return None,
        }
    }
    // Some NATs rewrite addresses that they find in packets, which is why the other one is hidden.
    hidden.or(plain)
}

fn address(value: &[u8], mask: u32) -> Option<SocketAddrV4> {
    let [_, IPV4, p1, p0, a, b, c, d] = *value else { return None };
    let port = u16::from_be_bytes([p1, p0]) ^ (mask >> 16) as u16;
    let address = u32::from_be_bytes([a, b, c, d]) ^ mask;
    Some(SocketAddrV4::new(Ipv4Addr::from_bits(address), port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ID: TransactionId = TransactionId(*b"\xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae");
    const SEEN: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 32_853);

    /// RFC 5769 2.2, as far as its attributes go that are no digests.
    const SAMPLE: &[u8] = b"\x01\x01\x00\x1c\x21\x12\xa4\x42\
        \xb7\xe7\xa7\x01\xbc\x34\xd6\x86\xfa\x87\xdf\xae\
        \x80\x22\x00\x0b\x74\x65\x73\x74\x20\x76\x65\x63\x74\x6f\x72\x20\
        \x00\x20\x00\x08\x00\x01\xa1\x47\xe1\x12\xa6\x43";

    #[test]
    fn the_sample_of_rfc_5769_is_read() {
        assert_eq!(mapped_address(SAMPLE, ID), Some(SEEN));
        assert_eq!(mapped_address(SAMPLE, TransactionId([0; 12])), None, "another's");
        for cut in 0..SAMPLE.len() {
            assert_eq!(mapped_address(&SAMPLE[..cut], ID), None);
        }
    }

    #[test]
    fn a_request_is_twenty_octets() {
        let request = binding_request(ID);
        assert_eq!(&request[..8], b"\x00\x01\x00\x00\x21\x12\xa4\x42");
        assert_eq!((&request[8..], request.len()), (&ID.0[..], 20));
    }

    #[test]
    fn what_has_to_be_understood_and_is_not_makes_a_response_worthless() {
        let told = b"\x00\x01\x00\x08\x00\x01\x80\x55\xc0\x00\x02\x01";
        let with = |more: &[u8]| mapped_address(&message(SUCCESS, ID, &[told, more].concat()), ID);
        assert_eq!(with(&[]), Some(SEEN), "as RFC 3489 has it");
        assert_eq!(with(b"\x80\x2b\x00\x00"), Some(SEEN));
        assert_eq!(with(b"\x00\x7f\x00\x00"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(id: [u8; 12], address: u32, port: u16) {
            let (id, seen) = (TransactionId(id), SocketAddrV4::new(address.into(), port));
            prop_assert_eq!(mapped_address(&binding_response(id, seen), id), Some(seen));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            mapped_address(&bytes, ID);
            mapped_address(&message(SUCCESS, ID, &bytes), ID);
        }
    }
}

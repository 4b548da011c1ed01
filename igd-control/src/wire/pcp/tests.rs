use super::*;
use proptest::prelude::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn mapping() -> Mapping {
    Mapping {
        nonce: Nonce([7; 12]),
        protocol: 17,
        internal_port: 5_600,
        external_port: 6_000,
        external: address("192.0.2.1"),
    }
}

fn map_request() -> Request {
    Request {
        lifetime: 7_200,
        client: address("192.168.1.10"),
        operation: Operation::Map(mapping()),
        options: Vec::new(),
    }
}

#[test]
fn a_map_request_is_as_the_rfc_shows_it() {
    let bytes = map_request().encode();
    assert_eq!(bytes.len(), 60);
    assert_eq!(bytes[..8], [2, 1, 0, 0, 0, 0, 0x1c, 0x20]);
    assert_eq!(bytes[8..24], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 168, 1, 10]);
    assert_eq!(bytes[24..36], [7; 12]);
    assert_eq!(bytes[36..44], [17, 0, 0, 0, 0x15, 0xe0, 0x17, 0x70]);
    assert_eq!(bytes[44..], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
}

#[test]
fn a_peer_request_has_the_remote_peer_behind_the_mapping() {
    let peer = RemotePeer { port: 443, address: address("2001:db8::1") };
    let request = Request { operation: Operation::Peer(mapping(), peer), ..map_request() };
    let bytes = request.encode();
    assert_eq!(bytes.len(), 80);
    assert_eq!(bytes[60..64], [1, 0xbb, 0, 0]);
    assert_eq!(bytes[64..], "2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    assert_eq!(Request::decode(&bytes), Ok(request));
}

#[test]
fn options_are_padded_to_four_octets_and_keep_their_order() {
    let filter = Filter { prefix: 120, port: 53, address: address("198.51.100.0") };
    let options = vec![
        PcpOption::Filter(filter),
        PcpOption::Unknown { code: 200, data: vec![1, 2, 3, 4, 5] },
        PcpOption::ThirdParty(address("192.168.1.11")),
        PcpOption::PreferFailure,
        PcpOption::Filter(Filter { port: 54, ..filter }),
    ];
    let request = Request { options, ..map_request() };
    let bytes = request.encode();
    assert_eq!(bytes.len(), 60 + 24 + 12 + 20 + 4 + 24);
    assert_eq!(bytes[60..68], [3, 0, 0, 20, 0, 120, 0, 53]);
    assert_eq!(bytes[84..96], [200, 0, 0, 5, 1, 2, 3, 4, 5, 0, 0, 0]);
    assert_eq!(bytes[96..100], [1, 0, 0, 16]);
    assert_eq!(bytes[116..120], [2, 0, 0, 0]);
    assert_eq!(Request::decode(&bytes), Ok(request.clone()));
    assert_eq!(request.internal_client(), address("192.168.1.11"));
    let mandatory: Vec<_> = request.options.iter().map(PcpOption::is_mandatory).collect();
    assert_eq!(mandatory, [true, false, true, true, true]);
}

#[test]
fn an_option_that_cannot_be_read_is_malformed() {
    let refused = Err(RequestError::Refused(ResultCode::MalformedOption));
    for option in [
        // Longer than the message.
        &[200, 0, 0, 5, 1, 2, 3, 4][..],
        &[200, 0, 0xff, 0xff],
        // Of another length than it has.
        &[2, 0, 0, 4, 0, 0, 0, 0],
        &[1, 0, 0, 4, 0, 0, 0, 0],
        &[3, 0, 0, 0],
    ] {
        let bytes = [&map_request().encode()[..], option].concat();
        assert_eq!(Request::decode(&bytes), refused, "{option:?}");
    }
}

/// Section 8.2, check by check.
#[test]
fn requests_are_refused_in_the_order_of_the_rfc() {
    use ResultCode::{MalformedRequest, UnsuppOpcode, UnsuppVersion};
    let bytes = map_request().encode();
    let with = |index: usize, value: u8| {
        let mut bytes = bytes.clone();
        bytes[index] = value;
        bytes
    };
    let refused = |code| Err(RequestError::Refused(code));
    let ignored = Err(RequestError::Ignored);
    for length in [0, 1, 2, 20, 23] {
        assert_eq!(Request::decode(&bytes[..length]), ignored, "{length} octets");
    }
    assert_eq!(Request::decode(&with(1, 0x81)), ignored, "a response");
    for version in [1, 3, 255] {
        assert_eq!(Request::decode(&with(0, version)), refused(UnsuppVersion));
        assert_eq!(Request::decode(&[version, 1]), refused(UnsuppVersion), "however short");
    }
    for opcode in 3..128 {
        assert_eq!(Request::decode(&with(1, opcode)), refused(UnsuppOpcode), "{opcode}");
    }
    for length in [24, 28, 56] {
        assert_eq!(Request::decode(&bytes[..length]), refused(MalformedRequest), "{length}");
    }
    for length in [25, 58, 59] {
        assert_eq!(Request::decode(&bytes[..length]), refused(MalformedRequest), "{length}");
    }
    let options = vec![PcpOption::Unknown { code: 128, data: vec![0; 1_036] }];
    let longest = Request { options, ..map_request() }.encode();
    assert_eq!(longest.len(), MAX_MESSAGE);
    assert!(Request::decode(&longest).is_ok());
    let longer = [&longest[..], &[128, 0, 0, 0]].concat();
    assert_eq!(Request::decode(&longer), refused(MalformedRequest));
}

#[test]
fn an_error_copies_the_request() {
    let request = map_request().encode();
    let read = error_response(&request, ResultCode::NotAuthorized, 1_800, 9, true);
    assert_eq!(read[..12], [2, 0x81, 0, 2, 0, 0, 7, 8, 0, 0, 0, 9]);
    assert_eq!(read[12..24], [0; 12]);
    assert_eq!(read[24..], request[24..]);
    let response = Response::decode(&read).unwrap();
    assert_eq!(response.result, ResultCode::NotAuthorized);
    assert_eq!(response.operation(), Some(&Operation::Map(mapping())));
}

#[test]
fn an_error_to_what_could_not_be_read_keeps_the_end_of_the_clients_address() {
    let mut request = map_request().encode();
    request[0] = 9;
    let unread = error_response(&request, ResultCode::UnsuppVersion, 1_800, 9, false);
    assert_eq!(unread[0], VERSION);
    assert_eq!(unread[12..24], request[12..24]);
    request.resize(3_001, 5);
    let long = error_response(&request, ResultCode::MalformedRequest, 1_800, 9, false);
    assert_eq!(long.len(), MAX_MESSAGE);
    let odd = error_response(&request[..61], ResultCode::MalformedRequest, 1_800, 9, false);
    assert_eq!((odd.len(), &odd[61..]), (64, &[0; 3][..]), "padded with zeros");
    let short = error_response(&[9, 1], ResultCode::UnsuppVersion, 1_800, 9, false);
    assert_eq!(short.len(), HEADER);
}

#[test]
fn an_error_of_any_opcode_is_read_and_a_success_must_be_whole() {
    let unread = |opcode| Payload::Unread { opcode };
    let error = error_response(&[2, 77], ResultCode::UnsuppOpcode, 1_800, 9, false);
    assert_eq!(Response::decode(&error).unwrap().payload, unread(77));
    let cut = error_response(&[2, 1], ResultCode::MalformedRequest, 1_800, 9, false);
    assert_eq!(Response::decode(&cut).unwrap().payload, unread(1));
    let mut success = cut;
    success[3] = 0;
    assert_eq!(Response::decode(&success), Err(ResponseError::Malformed));
    assert_eq!(Response::decode(&map_request().encode()), Err(ResponseError::NotAResponse));
    for opcode in [0, 128] {
        let of_nat_pmp = Response::decode(&[0, opcode, 0, 1, 0, 0, 0, 9]);
        assert_eq!(of_nat_pmp, Err(ResponseError::Version(0)));
    }
}

#[test]
fn every_code_has_its_number_and_name() {
    for (number, code) in ResultCode::all().enumerate() {
        assert_eq!(usize::from(code.number()), number);
        assert_eq!(ResultCode::of(number as u8), code);
    }
    assert_eq!(ResultCode::of(14), ResultCode::Other(14));
    assert_eq!(ResultCode::Other(200).number(), 200);
    assert_eq!(ResultCode::ExcessiveRemotePeers.to_string(), "EXCESSIVE_REMOTE_PEERS");
    assert_eq!(ResultCode::of(11), ResultCode::CannotProvideExternal);
    let short: Vec<_> = ResultCode::all().filter(|code| code.is_short()).collect();
    assert_eq!(short.iter().map(|code| code.number()).collect::<Vec<_>>(), [7, 8, 10, 11]);
}

fn any_address() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Ipv4Addr::from_bits(bits).into()),
        (1u128 << 64..).prop_map(|bits| Ipv6Addr::from_bits(bits).into()),
    ]
}

fn any_operation() -> impl Strategy<Value = Operation> {
    let mapping = (any::<[u8; 12]>(), any::<u8>(), any::<u16>(), any::<u16>(), any_address())
        .prop_map(|(nonce, protocol, internal_port, external_port, external)| {
            let nonce = Nonce(nonce);
            Mapping { nonce, protocol, internal_port, external_port, external }
        });
    let peer =
        (any::<u16>(), any_address()).prop_map(|(port, address)| RemotePeer { port, address });
    (0..3, mapping, peer).prop_map(|(kind, mapping, peer)| match kind {
        0 => Operation::Announce,
        1 => Operation::Map(mapping),
        _ => Operation::Peer(mapping, peer),
    })
}

fn any_options() -> impl Strategy<Value = Vec<PcpOption>> {
    let option = prop_oneof![
        any_address().prop_map(PcpOption::ThirdParty),
        Just(PcpOption::PreferFailure),
        (any::<u8>(), any::<u16>(), any_address()).prop_map(|(prefix, port, address)| {
            PcpOption::Filter(Filter { prefix, port, address })
        }),
        (4..=255u8, prop::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(code, data)| PcpOption::Unknown { code, data }),
    ];
    prop::collection::vec(option, 0..8)
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        lifetime in any::<u32>(), client in any_address(), operation in any_operation(),
        options in any_options(), result in any::<u8>(), epoch in any::<u32>(),
    ) {
        let request = Request { lifetime, client, operation, options: options.clone() };
        prop_assert_eq!(Request::decode(&request.encode()), Ok(request.clone()));
        let payload = Payload::Known(operation, options);
        let response = Response { result: ResultCode::of(result), lifetime, epoch, payload };
        prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), known in any::<bool>()) {
        let mut bytes = bytes;
        if known && let [version, opcode, _, result, ..] = &mut bytes[..] {
            *version = VERSION;
            *opcode %= 3;
            *result %= 3;
        }
        if let Ok(request) = Request::decode(&bytes) {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        if let Some(opcode) = bytes.get_mut(1) {
            *opcode ^= RESPONSE;
        }
        // Of what could not be read nothing is left to be read again.
        if let Ok(response) = Response::decode(&bytes) && response.operation().is_some() {
            prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
        }
        for read in [false, true] {
            let error = error_response(&bytes, ResultCode::NoResources, 30, 1, read);
            prop_assert!(error.len() >= HEADER && error.len() <= MAX_MESSAGE);
            prop_assert!(error.len().is_multiple_of(4));
            prop_assert!(Response::decode(&error).is_ok());
        }
    }
}

use super::*;
use proptest::prelude::*;

fn mapping() -> Mapping {
    Mapping { protocol: Protocol::Tcp, internal_port: 80, external_port: 8080, lifetime: 7200 }
}

#[test]
fn messages_are_as_the_rfc_shows_them() {
    assert_eq!(Request::Address.encode(), [0, 0]);
    let map = [0, 2, 0, 0, 0, 80, 0x1f, 0x90, 0, 0, 0x1c, 0x20];
    assert_eq!(Request::Map(mapping()).encode(), map);
    let address = Response {
        result: ResultCode::Success,
        epoch: 258,
        answer: Answer::Address(Ipv4Addr::new(192, 0, 2, 1)),
    };
    assert_eq!(address.encode(), [0, 128, 0, 0, 0, 0, 1, 2, 192, 0, 2, 1]);
    let mapped = Response { answer: Answer::Map(mapping()), ..address };
    let bytes = [0, 130, 0, 0, 0, 0, 1, 2, 0, 80, 0x1f, 0x90, 0, 0, 0x1c, 0x20];
    assert_eq!(mapped.encode(), bytes);
}

#[test]
fn what_is_no_request_is_ignored_and_an_unknown_opcode_is_not() {
    for ignored in [
        &[][..],
        &[0],
        &[0, 128],
        &[0, 129, 0, 0, 0, 80, 0, 80, 0, 0, 0, 1],
        &[0, 1, 0, 0, 0, 80, 0, 80, 0, 0, 0],
        &[2, 0],
    ] {
        assert_eq!(Request::decode(ignored), Err(RequestError::Ignored), "{ignored:?}");
    }
    for opcode in 3..128 {
        assert_eq!(Request::decode(&[0, opcode]), Err(RequestError::UnknownOpcode));
    }
    // Whatever else is behind it: clients pad.
    assert_eq!(Request::decode(&[0, 0, 1, 2, 3]), Ok(Request::Address));
}

#[test]
fn an_unknown_opcode_is_answered_by_the_whole_request() {
    let request: Vec<u8> = [0, 77].into_iter().chain(2..40).collect();
    let answer = unsupported_opcode(&request, 9);
    assert_eq!(answer.len(), request.len());
    assert_eq!(answer[..8], [0, 77 | 128, 0, 5, 0, 0, 0, 9]);
    assert_eq!(answer[8..], request[8..]);
    let short = unsupported_opcode(&[0, 3], 9);
    assert_eq!(short, [0, 131, 0, 5, 0, 0, 0, 9]);
    assert!(unsupported_opcode(&[3; 60_000], 9).len() <= MAX_ANSWER);
    let read = Response::decode(&answer).unwrap();
    assert_eq!(read.answer, Answer::Nothing { opcode: 77 });
}

#[test]
fn the_answer_about_versions_is_read_with_and_without_the_bit_of_responses() {
    for opcode in [0, 128] {
        let read = Response::decode(&[0, opcode, 0, 1, 0, 0, 0, 7]).unwrap();
        assert_eq!((read.result, read.epoch), (ResultCode::UnsupportedVersion, 7));
    }
}

#[test]
fn a_success_without_its_answer_is_malformed() {
    let short = Response::decode(&[0, 129, 0, 0, 0, 0, 0, 7, 0, 80]);
    assert_eq!(short, Err(ResponseError::Malformed));
    assert_eq!(Response::decode(&[0, 1, 0, 0, 0, 0, 0, 0, 0]), Err(ResponseError::NotAResponse));
    assert_eq!(Response::decode(&[0, 129, 0]), Err(ResponseError::Malformed));
}

fn any_mapping() -> impl Strategy<Value = Mapping> {
    (any::<bool>(), any::<u16>(), any::<u16>(), any::<u32>()).prop_map(
        |(tcp, internal_port, external_port, lifetime)| {
            let protocol = if tcp { Protocol::Tcp } else { Protocol::Udp };
            Mapping { protocol, internal_port, external_port, lifetime }
        },
    )
}

fn any_answer() -> impl Strategy<Value = Answer> {
    prop_oneof![
        any::<u32>().prop_map(|bits| Answer::Address(Ipv4Addr::from_bits(bits))),
        any_mapping().prop_map(Answer::Map),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(
        mapping in any_mapping(), result in any::<u16>(), epoch in any::<u32>(), answer in any_answer()
    ) {
        for request in [Request::Address, Request::Map(mapping)] {
            prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
        let response = Response { result: ResultCode::of(result), epoch, answer };
        prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        for version in 0..2 {
            let bytes = [&[version][..], &bytes].concat();
            if let Ok(request) = Request::decode(&bytes) {
                prop_assert_eq!(Request::decode(&request.encode()), Ok(request));
            }
            if let Ok(response) = Response::decode(&bytes) {
                prop_assert_eq!(Response::decode(&response.encode()), Ok(response));
            }
            let _ = unsupported_opcode(&bytes, 1);
        }
    }
}

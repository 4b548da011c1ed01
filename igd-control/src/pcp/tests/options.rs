//! THIRD_PARTY, PREFER_FAILURE, FILTER, and those that nobody knows.

use super::*;
use crate::mapping::RemoteFilter;
use crate::wire::pcp::{Filter, RemotePeer};

fn third_party(host: Ipv4Addr) -> PcpOption {
    PcpOption::ThirdParty(host.into())
}

fn filter(prefix: u8, port: u16, address: &str) -> PcpOption {
    PcpOption::Filter(Filter { prefix, port, address: address.parse().unwrap() })
}

fn unknown(code: u8) -> PcpOption {
    PcpOption::Unknown { code, data: vec![1, 2, 3] }
}

#[test]
fn what_must_be_known_is_refused_and_what_may_be_ignored_is() {
    let mut bench = Bench::new();
    let refused = bench.ask(&map(5600, 6000, 600).with(unknown(100)));
    assert_eq!(refused.result, ResultCode::UnsuppOption);
    assert!(bench.gateway.table().is_empty());
    let response = bench.ask(&map(5600, 6000, 600).with(unknown(200)));
    assert_eq!((response.result, response.options()), (ResultCode::Success, &[][..]));
}

#[test]
fn prefer_failure_gives_this_port_or_none() {
    let mut bench = Bench::new();
    let exactly = map(5600, 6000, 600).with(PcpOption::PreferFailure);
    let response = bench.ask(&exactly);
    assert_eq!(response.options(), [PcpOption::PreferFailure], "processed options come back");
    assert_eq!(bench.map(&exactly), Ok((6000, 600)), "renewed");
    let taken = exactly.clone().by(HOST_B);
    assert_eq!(bench.map(&taken), Err(ResultCode::CannotProvideExternal));
    let moved = map(5600, 6001, 600).with(PcpOption::PreferFailure);
    assert_eq!(bench.map(&moved), Err(ResultCode::CannotProvideExternal), "it has another");
    let elsewhere = map(5601, 6001, 600)
        .with(PcpOption::PreferFailure)
        .changed(|mapping| mapping.external = "198.51.100.9".parse().unwrap());
    assert_eq!(bench.map(&elsewhere), Err(ResultCode::CannotProvideExternal), "another address");
    let forbidden = map(5601, 80, 600).with(PcpOption::PreferFailure);
    assert_eq!(bench.map(&forbidden), Err(ResultCode::CannotProvideExternal));
    let twice = map(5601, 6001, 600).with(PcpOption::PreferFailure).with(PcpOption::PreferFailure);
    assert_eq!(bench.map(&twice), Err(ResultCode::MalformedOption));
    assert_eq!(bench.gateway.table().len(), 1);
}

#[test]
fn another_address_that_is_only_suggested_does_not_matter() {
    let mut bench = Bench::new();
    let request =
        map(5600, 6000, 600).changed(|mapping| mapping.external = "198.51.100.9".parse().unwrap());
    assert_eq!(bench.map(&request), Ok((6000, 600)));
}

#[test]
fn third_parties_are_mapped_for_where_it_is_switched_on_and_the_policy_lets() {
    let for_b = map(5600, 6000, 600).with(third_party(HOST_B));
    assert_eq!(Bench::new().map(&for_b), Err(ResultCode::UnsuppOption));

    let settings = Settings { third_party: true, ..Settings::default() };
    let on = || Bench::with(settings, Limits::default());
    assert_eq!(on().map(&for_b), Err(ResultCode::NotAuthorized));

    let mut bench = on().rules(
        "[[rule]]\naction = \"allow\"\nrequesters = [\"192.168.1.10\"]\n\
         clients = [\"192.168.1.0/24\"]\n",
    );
    let response = bench.ask(&for_b);
    assert_eq!((response.result, response.options()), (ResultCode::Success, &for_b.options[..]));
    let internal = bench.gateway.path().forward(Protocol::Udp, 6000).unwrap().internal;
    assert_eq!(internal, SocketAddrV4::new(HOST_B, 5600));
    let own = map(5600, 6000, 600).with(third_party(HOST_A));
    assert_eq!(bench.map(&own), Err(ResultCode::MalformedRequest), "no third party");
    let twice = for_b.clone().with(third_party(HOST_B));
    assert_eq!(bench.map(&twice), Err(ResultCode::MalformedOption));
    let nobody = map(5600, 6000, 600).with(PcpOption::ThirdParty("2001:db8::1".parse().unwrap()));
    assert_eq!(bench.map(&nobody), Err(ResultCode::NotAuthorized));
    // The third party's own mapping stays its own.
    let theirs = map(5601, 6001, 600).by(HOST_B).with_nonce(OTHER_NONCE);
    bench.map(&theirs).unwrap();
    let end = map(5601, 6001, 0).with(third_party(HOST_B));
    assert_eq!(bench.map(&end), Err(ResultCode::NotAuthorized));
    assert_eq!(bench.map(&Request { lifetime: 0, ..for_b }), Ok((6000, 0)));
}

#[test]
fn filters_add_up_until_all_are_taken_away() {
    let mut bench = Bench::new();
    let dns = filter(128, 53, "198.51.100.7");
    let net = filter(120, 0, "192.0.2.77");
    let response = bench.ask(&map(5600, 6000, 600).with(dns.clone()));
    assert_eq!(response.options(), std::slice::from_ref(&dns));
    let filters =
        |bench: &Bench| bench.gateway.path().forward(Protocol::Udp, 6000).unwrap().filters.clone();
    let of_dns = RemoteFilter::new(Ipv4Addr::new(198, 51, 100, 7), 32, 53);
    let of_net = RemoteFilter::new(Ipv4Addr::new(192, 0, 2, 0), 24, 0);
    assert_eq!(filters(&bench), [of_dns]);
    bench.map(&map(5600, 6000, 600).with(dns.clone())).unwrap();
    assert_eq!(filters(&bench), [of_dns], "the same again");
    bench.map(&map(5600, 6000, 600).with(net.clone())).unwrap();
    assert_eq!(filters(&bench), [of_dns, of_net], "another one");
    bench.map(&map(5600, 6000, 600)).unwrap();
    assert_eq!(filters(&bench), [of_dns, of_net], "a plain renewal");
    let none = filter(0, 0, "0.0.0.0");
    bench.map(&map(5600, 6000, 600).with(none.clone()).with(net)).unwrap();
    assert_eq!(filters(&bench), [of_net], "all, and a new one");
    bench.map(&map(5600, 6000, 600).with(none)).unwrap();
    assert_eq!(filters(&bench), []);
}

#[test]
fn filters_that_cannot_be_made_change_nothing() {
    let mut bench = Bench::new();
    let mut many = map(5600, 6000, 600);
    for port in 1..=9 {
        many = many.with(filter(128, port, "198.51.100.7"));
    }
    assert_eq!(bench.map(&many), Err(ResultCode::ExcessiveRemotePeers));
    assert!(bench.gateway.table().is_empty());
    many.options.pop();
    bench.map(&many).unwrap();
    let ninth = map(5600, 6000, 600).with(filter(128, 9, "198.51.100.7"));
    assert_eq!(bench.map(&ninth), Err(ResultCode::ExcessiveRemotePeers));
    for (prefix, address, code) in [
        (95, "198.51.100.7", ResultCode::MalformedOption),
        (129, "198.51.100.7", ResultCode::MalformedOption),
        (129, "2001:db8::1", ResultCode::MalformedOption),
        (64, "2001:db8::1", ResultCode::ExcessiveRemotePeers),
    ] {
        let request = map(5601, 6001, 600).with(filter(prefix, 0, address));
        assert_eq!(bench.map(&request), Err(code), "{address}/{prefix}");
    }
    // Everybody of IPv4 is a filter too.
    assert_eq!(bench.map(&map(5602, 6002, 600).with(filter(96, 53, "0.0.0.0"))), Ok((6002, 600)));
}

#[test]
fn all_ports_together_cannot_be_filtered() {
    let mut bench = Bench::new()
        .rules("[[rule]]\naction = \"allow\"\nexternal-ports = [0]\ninternal-ports = [0]\n");
    let request = map(0, 0, 600).with(filter(128, 53, "198.51.100.7"));
    assert_eq!(bench.map(&request), Err(ResultCode::ExcessiveRemotePeers));
    assert_eq!(bench.map(&map(0, 0, 600)), Ok((0, 600)));
}

#[test]
fn a_mapping_of_upnp_cannot_be_filtered() {
    let mut bench = Bench::new();
    bench.add_upnp(SocketAddrV4::new(HOST_A, 5600), 6000, 600);
    let request = map(5600, 6000, 600).with(filter(128, 53, "198.51.100.7"));
    assert_eq!(bench.map(&request), Err(ResultCode::ExcessiveRemotePeers));
}

#[test]
fn options_stand_where_they_may() {
    let mut bench = Bench::new();
    let ask = |bench: &mut Bench, operation, option| {
        let request = Request { operation, ..map(5600, 6000, 600) }.with(option);
        bench.ask(&request).result
    };
    let announce = ask(&mut bench, Operation::Announce, PcpOption::PreferFailure);
    assert_eq!(announce, ResultCode::MalformedOption);
    let Operation::Map(mapping) = map(5600, 0, 600).operation else { panic!("MAP") };
    let peer = RemotePeer { port: 53, address: "198.51.100.7".parse().unwrap() };
    let peer = ask(&mut bench, Operation::Peer(mapping, peer), PcpOption::PreferFailure);
    assert_eq!(peer, ResultCode::MalformedRequest);
}

use super::*;
use std::net::Ipv4Addr;

const HOST: [u8; 4] = [192, 168, 1, 10];
const OTHER: [u8; 4] = [192, 168, 1, 11];
const GUEST: [u8; 4] = [192, 168, 9, 7];

fn ip(octets: [u8; 4]) -> IpAddr {
    Ipv4Addr::from(octets).into()
}

/// The host asks for TCP 5000 to its own port 5000.
fn question() -> Question {
    Question {
        requester: ip(HOST),
        client: ip(HOST),
        protocol: Protocol::Tcp,
        external_port: 5000,
        internal_port: 5000,
        remote: None,
        via: Via::Upnp,
    }
}

fn policy(mode: Mode, rules: &str) -> Policy {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        rule: Vec<Rule>,
    }
    Policy { mode, rules: toml::from_str::<File>(rules).unwrap().rule }
}

fn allows(policy: &Policy, question: &Question) -> bool {
    policy.decide(question).allowed
}

#[test]
fn without_rules_clients_map_their_own_ports_from_1024_on() {
    let policy = Policy::default();
    assert_eq!(policy.decide(&question()), Decision { allowed: true, reason: Reason::Own });
    for (changed, reason) in [
        (Question { client: ip(OTHER), ..question() }, Reason::ForeignClient),
        (Question { external_port: 1023, ..question() }, Reason::PrivilegedPort),
        (Question { internal_port: 1023, ..question() }, Reason::PrivilegedPort),
        (Question { external_port: 0, ..question() }, Reason::PrivilegedPort),
    ] {
        assert_eq!(policy.decide(&changed), Decision { allowed: false, reason }, "{changed}");
        assert!(allows(&Mode::Open.into(), &changed), "{changed}");
    }
}

#[test]
fn the_first_rule_that_matches_decides() {
    let rules = "
        [[rule]]
        action = 'allow'
        requesters = ['192.168.9.7']
        [[rule]]
        action = 'deny'
        requesters = ['192.168.9.0/24']
    ";
    let policy = policy(Mode::OwnClient, rules);
    let guest = |last| {
        let host = ip([192, 168, 9, last]);
        policy.decide(&Question { requester: host, client: host, ..question() })
    };
    assert_eq!(guest(7), Decision { allowed: true, reason: Reason::Rule(0) });
    assert_eq!(guest(8), Decision { allowed: false, reason: Reason::Rule(1) });
    assert_eq!(policy.decide(&question()).reason, Reason::Own);
}

#[test]
fn each_key_of_a_rule_narrows_it() {
    let foreign = Question {
        requester: ip(GUEST),
        client: ip(GUEST),
        protocol: Protocol::Udp,
        external_port: 6000,
        internal_port: 6000,
        remote: Some(ip([198, 51, 100, 1])),
        via: Via::Pcp,
    };
    for key in [
        "requesters = ['192.168.1.0/24']",
        "clients = ['192.168.1.10']",
        "protocols = ['tcp']",
        "external-ports = [80, '4000-5000']",
        "internal-ports = ['5000']",
        "via = ['upnp', 'nat-pmp']",
    ] {
        let policy = policy(Mode::OwnClient, &format!("[[rule]]\naction = 'deny'\n{key}\n"));
        assert!(!allows(&policy, &question()), "{key}");
        assert!(allows(&policy, &foreign), "{key}");
    }
    let remote = "[[rule]]\naction = 'deny'\nremote-hosts = ['198.51.100.0/24']\n";
    let policy = policy(Mode::OwnClient, remote);
    assert!(!allows(&policy, &foreign));
    assert!(allows(&policy, &question()), "a mapping for everybody is not for one of these");
    let both = "[[rule]]\naction = 'deny'\nprotocols = ['udp']\nexternal-ports = [5000]\n";
    assert!(allows(&self::policy(Mode::OwnClient, both), &question()), "all keys must match");
}

#[test]
fn a_rule_that_allows_widens_only_what_it_names() {
    let web = policy(Mode::OwnClient, "[[rule]]\naction = 'allow'\nexternal-ports = [80]\n");
    let port_80 = Question { external_port: 80, ..question() };
    assert!(allows(&web, &port_80));
    assert!(!allows(&web, &Question { client: ip(OTHER), ..port_80 }), "another host's port");
    assert!(!allows(&web, &Question { internal_port: 80, ..port_80 }), "the internal port");
    let trusted = "
        [[rule]]
        action = 'allow'
        requesters = ['192.168.1.10']
        clients = ['192.168.1.0/24']
        external-ports = ['0-65535']
        internal-ports = ['1-65535']
    ";
    let trusted = policy(Mode::OwnClient, trusted);
    let far = Question { client: ip(OTHER), external_port: 0, internal_port: 22, ..question() };
    assert!(allows(&trusted, &far));
    assert!(!allows(&trusted, &Question { requester: ip(GUEST), ..far }));
}

#[test]
fn rules_that_deny_hold_in_open_mode_too() {
    let rules = "[[rule]]\naction = 'deny'\nrequesters = ['192.168.9.0/24']\n";
    let policy = policy(Mode::Open, rules);
    assert!(allows(&policy, &Question { client: ip(OTHER), external_port: 80, ..question() }));
    assert!(!allows(&policy, &Question { requester: ip(GUEST), ..question() }));
    assert_eq!(policy.scope(ip(HOST), Via::Upnp), Scope::All);
    assert_eq!(policy.scope(ip(GUEST), Via::Upnp), Scope::Picked);
}

#[test]
fn what_a_client_may_map_it_may_see_and_delete() {
    let rules =
        "[[rule]]\naction = 'allow'\nrequesters = ['192.168.1.10']\nclients = ['192.168.1.11']\n";
    let policy = policy(Mode::OwnClient, rules);
    let foreign = Question { client: ip(OTHER), ..question() };
    assert!(policy.may_touch(&foreign));
    assert!(!policy.may_touch(&Question { external_port: 80, ..foreign }));
    assert!(!policy.may_touch(&Question { requester: ip(GUEST), ..foreign }));
    assert_eq!(policy.scope(ip(HOST), Via::Upnp), Scope::Picked);
    assert_eq!(policy.scope(ip(GUEST), Via::Upnp), Scope::Own);
}

#[test]
fn a_rule_that_comes_later_does_not_keep_a_client_from_closing_its_port() {
    let policy = policy(Mode::OwnClient, "[[rule]]\naction = 'deny'\n");
    assert!(!allows(&policy, &question()));
    assert!(policy.may_touch(&question()));
    assert!(!policy.may_touch(&Question { client: ip(OTHER), ..question() }));
}

#[test]
fn a_port_below_1024_may_be_asked_about_where_a_rule_opens_it() {
    let rules =
        "[[rule]]\naction = 'allow'\nrequesters = ['192.168.1.10']\nexternal-ports = [80]\n";
    let policy = policy(Mode::OwnClient, rules);
    assert!(policy.may_ask(ip(HOST), Via::Upnp, 80));
    assert!(!policy.may_ask(ip(HOST), Via::Upnp, 81));
    assert!(!policy.may_ask(ip(GUEST), Via::Upnp, 80));
    assert!(policy.may_ask(ip(GUEST), Via::Upnp, 1024));
}

#[test]
fn a_decision_is_explained() {
    let rules = "[[rule]]\naction = 'deny'\nname = 'guests'\nrequesters = ['192.168.9.0/24']\n";
    let policy = policy(Mode::OwnClient, rules);
    let guest = Question { requester: ip(GUEST), client: ip(GUEST), ..question() };
    assert_eq!(
        policy.explain(&guest).to_string(),
        "192.168.9.7 asks by UPnP for TCP 5000 to 192.168.9.7 port 5000, for everybody\n\
         denied: rule 1 (guests) is the first that matches"
    );
    let foreign = Question { client: ip(OTHER), remote: Some(ip(GUEST)), ..question() };
    assert_eq!(
        policy.explain(&foreign).to_string(),
        "192.168.1.10 asks by UPnP for TCP 5000 to 192.168.1.11 port 5000, for 192.168.9.7\n\
         denied: the one rule does not match; mode \"own-client\": the internal client must be the \
         address that asks"
    );
}

#[test]
fn what_is_no_subnet_or_port_is_refused() {
    for (text, why) in [
        ("192.168.1.300", "is no address or subnet"),
        ("192.168.1.0/33", "is no address or subnet"),
        ("192.168.1.5/24", "is 192.168.1.0/24 meant"),
    ] {
        let error = text.parse::<Subnet>().unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    for (text, why) in [("65536", "no port"), ("http", "no port"), ("9-8", "ends before")] {
        let error = text.parse::<PortRange>().unwrap_err();
        assert!(error.contains(why), "{error}");
    }
    assert_eq!("192.168.1.5".parse::<Subnet>().unwrap().to_string(), "192.168.1.5");
    assert_eq!("8000-8999".parse::<PortRange>().unwrap().to_string(), "8000-8999");
}

use super::*;
use std::collections::BTreeSet;

fn error(text: &str) -> String {
    Config::parse("edge.toml", text).expect_err("the file is wrong").to_string()
}

#[test]
fn an_empty_file_gives_the_defaults() {
    assert_eq!(Config::parse("edge.toml", "").unwrap(), Config::default());
}

#[test]
fn the_printed_file_says_the_defaults() {
    assert_eq!(Config::parse("printed", &default_file()).unwrap(), Config::default());
}

#[test]
fn the_table_lists_exactly_the_keys_of_the_structs() {
    let listed: BTreeSet<_> = KEYS.iter().map(|key| (key.section, key.name)).collect();
    assert_eq!(listed.len(), KEYS.len(), "a key is listed twice");
    let structs = toml::Table::try_from(Config::default()).unwrap();
    let keys = structs.iter().flat_map(|(section, keys)| {
        keys.as_table().unwrap().keys().map(|name| (section.as_str(), name.as_str()))
    });
    assert_eq!(listed, keys.collect());
}

#[test]
fn the_examples_of_rules_and_mappings_are_right_and_whole() {
    let commented = |line: &str| {
        line.strip_prefix('#').filter(|line| !line.starts_with(' ')).map(str::to_owned)
    };
    let text: String =
        default_file().lines().filter_map(commented).map(|line| line + "\n").collect();
    let config = Config::parse("examples", &text).unwrap();
    let written = toml::Table::try_from(&config).unwrap();
    let [rule] = written["policy"]["rule"].as_array().unwrap().as_slice() else {
        panic!("one rule")
    };
    let [mapping] = written["mapping"].as_array().unwrap().as_slice() else { panic!("one") };
    for (table, example) in TABLES.iter().zip([rule, mapping]) {
        let listed: BTreeSet<_> = table.keys.iter().map(|key| key.name).collect();
        let known = example.as_table().unwrap().keys().map(String::as_str).collect();
        assert_eq!(listed, known, "{}", table.name);
    }
}

#[test]
fn what_is_wrong_with_a_rule_is_named_with_its_line() {
    for (rule, wanted) in [
        ("action = 'permit'", "edge.toml:5: policy.rule[2].action: unknown variant"),
        (
            "action = 'deny'\nclient = ['10.0.0.1']",
            "edge.toml:6: policy.rule[2].client: unknown field",
        ),
        ("action = 'deny'\nclients = ['10.0.0.1/8']", "edge.toml:6: policy.rule[2].clients: "),
        (
            "action = 'deny'\nexternal-ports = [70000]",
            "edge.toml:6: policy.rule[2].external-ports: ",
        ),
        (
            "action = 'deny'\nexternal-ports = ['9-8']",
            "edge.toml:6: policy.rule[2].external-ports: ",
        ),
        ("name = 'nothing'", "edge.toml:4: policy.rule[2]: missing field `action`"),
    ] {
        let message = error(&format!(
            "[policy]\n[[policy.rule]]\naction = 'allow'\n[[policy.rule]]\n{rule}\n"
        ));
        assert!(message.starts_with(wanted), "{message}");
    }
}

#[test]
fn static_mappings_are_checked_by_themselves_and_together() {
    let one = "[[mapping]]\nprotocol = 'tcp'\nexternal-port = 80\nclient = '10.0.0.1'\n";
    let mapping = Config::parse("edge.toml", one).unwrap().mapping.remove(0);
    let request = mapping.request();
    assert_eq!(
        (request.internal, request.deadline),
        ("10.0.0.1:80".parse().unwrap(), nat_common::BootTime::NEVER)
    );
    for (second, wanted) in [
        ("external-port = 81\nclient = '127.0.0.1'", "edge.toml:8: mapping[2].client: "),
        (
            "external-port = 80\nclient = '10.0.0.1'",
            "edge.toml:7: mapping[2].external-port: mapping 1 has",
        ),
        (
            "external-port = 80\nclient = '10.0.0.2'\nremote-host = '11.0.0.1'",
            "edge.toml:7: mapping[2].external-port: mapping 1 has",
        ),
        ("external-port = 81\nclient = 'nas'", "edge.toml:8: mapping[2].client: "),
        (
            "external-port = 81\nclient = '10.0.0.2'\ninternal-port = 0",
            "edge.toml:9: mapping[2].internal-port: ",
        ),
    ] {
        let message = error(&format!("{one}[[mapping]]\nprotocol = 'tcp'\n{second}\n"));
        assert!(message.starts_with(wanted), "{message}");
    }
    let beside = "[[mapping]]\nprotocol = 'tcp'\nexternal-port = 80\nclient = '10.0.0.1'\nremote-host = '11.0.0.1'\n";
    Config::parse("edge.toml", &format!("{one}{beside}")).unwrap();
}

#[test]
fn the_documentation_is_the_printed_table() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&file, docs_page()).unwrap();
    }
    assert!(
        std::fs::read_to_string(&file).unwrap_or_default() == docs_page(),
        "docs/configuration.md is out of date: UPDATE_DOCS=1 cargo test -p igd-control config"
    );
}

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let message = error("[nat]\nudp-timeout = 300\nudp-timeuot = 3\n");
    assert!(message.starts_with("edge.toml:3: nat.udp-timeuot: unknown field"), "{message}");
    let message = error("\n[natt]\n");
    assert!(message.starts_with("edge.toml:2: natt: unknown field"), "{message}");
}

#[test]
fn a_value_of_the_wrong_type_is_named_with_its_line() {
    let message = error("[upnp]\n\nhttp-port = \"5000\"\n");
    assert!(message.starts_with("edge.toml:3: upnp.http-port: invalid type"), "{message}");
    let message = error("[upnp]\nhttp-port = 70000\n");
    assert!(message.starts_with("edge.toml:2: upnp.http-port: invalid value"), "{message}");
    let message = error("[policy]\nmode = \"closed\"\n");
    assert!(message.starts_with("edge.toml:2: policy.mode: unknown variant"), "{message}");
}

#[test]
fn a_broken_file_is_named_with_its_line() {
    let message = error("[nat]\nudp-timeout = \n");
    assert!(message.starts_with("edge.toml:2: "), "{message}");
    let message = error("[nat]\nudp-timeout = 300\nudp-timeout = 300\n");
    assert!(message.starts_with("edge.toml:3: ") && message.contains("duplicate"), "{message}");
}

#[test]
fn a_message_is_one_line_however_the_file_is_broken() {
    let message = error("nat = { icmp-timeout = 60 \"\"\"}\ndaemon.log = \"info\"\n");
    assert!(message.starts_with("edge.toml:1: ") && !message.contains('\n'), "{message}");
}

#[test]
fn timeouts_below_the_rfc_floors_are_refused() {
    for (key, floor) in [
        ("udp-timeout", 120),
        ("tcp-established-timeout", 7440),
        ("tcp-transitory-timeout", 240),
        ("icmp-timeout", 60),
    ] {
        Config::parse("edge.toml", &format!("[nat]\n{key} = {floor}\n")).unwrap();
        let message = error(&format!("# home\n[nat]\n{key} = {}\n", floor - 1));
        assert!(message.starts_with(&format!("edge.toml:3: nat.{key}: ")), "{message}");
        assert!(message.contains(&floor.to_string()) && message.contains("RFC"), "{message}");
    }
}

#[test]
fn values_that_contradict_each_other_are_refused() {
    let message = error("[upnp]\nmax-age = 100\nnotify-interval = 60\n");
    assert!(message.starts_with("edge.toml:3: upnp.notify-interval: "), "{message}");
    let message = error("[policy]\nmax-mappings-per-client = 65535\n");
    assert!(message.starts_with("edge.toml:2: policy.max-mappings-per-client: "), "{message}");
}

#[test]
fn a_gateway_without_a_nat_needs_a_server_upstream() {
    let message = error("[nat]\nenabled = false\n");
    assert!(message.starts_with("edge.toml:2: nat.enabled: without a NAT"), "{message}");
    for server in ["server = \"gateway\"", "server-file = \"/run/pcp\""] {
        let text = format!("[nat]\nenabled = false\n[upstream]\n{server}\n");
        Config::parse("edge.toml", &text).unwrap();
    }
}

#[test]
fn a_server_upstream_has_an_address_or_a_name() {
    let server = |text: &str| Upstream { server: text.to_owned(), ..Default::default() }.server();
    let at = |text: &str| Some(UpstreamServer::At(text.parse().unwrap()));
    assert_eq!(server("100.64.0.1"), at("100.64.0.1"));
    assert_eq!(server("2001:db8::1"), at("2001:db8::1"));
    assert_eq!(server("fe80::1%wan0"), at("fe80::1%wan0"));
    let name = "aftr.example.net";
    assert_eq!(server(name), Some(UpstreamServer::Named(name.to_owned())));
    assert_eq!(server("gateway"), Some(UpstreamServer::Gateway));
    let config = Upstream { interface: "eth0".to_owned(), ..Default::default() };
    assert_eq!((config.interface("ds0"), Upstream::default().interface("ds0")), ("eth0", "ds0"));
}

#[test]
fn odd_texts_are_refused() {
    for (section, line) in [
        ("upnp", "friendly-name = \"\""),
        ("upnp", "friendly-name = \"a\\u0007b\""),
        ("upnp", "uuid = \"1234\""),
        ("daemon", "log = \"igd=loud\""),
        ("daemon", "pin-dir = \"bpf\""),
        ("daemon", "control-socket = \"\""),
        ("daemon", "state-dir = \"lib\""),
        ("metrics", "listen = \"9469\""),
        ("upstream", "server = \"ff02::1\""),
        ("upstream", "server = \"10.0.0.300\""),
        ("upstream", "server = \"fe80::1%\""),
        ("upstream", "server = \"a b\""),
        ("upstream", "interface = \"a/b\""),
        ("upstream", "clat-prefix = \"2001:db8::/64\""),
        ("upstream", "clat-prefix = \"2001:db8::/96\"\nnat64-prefix = \"\""),
        ("upstream", "nat64-prefix = \"64:ff9b::1/96\""),
        ("upstream", "stun-server = \"a b\""),
        ("upstream", "stun-server = \"stun.example.net:0\""),
        ("upstream", "stun-server = \":3478\""),
    ] {
        let message = error(&format!("[{section}]\n{line}\n"));
        let key = line.split(' ').next().unwrap();
        assert!(message.starts_with(&format!("edge.toml:2: {section}.{key}: ")), "{message}");
    }
}

#[test]
fn a_gateway_needs_interfaces_that_differ() {
    let with = |lan: &[&str], wan: &str| {
        let lan = lan.iter().map(ToString::to_string).collect();
        let interfaces = Interfaces { lan, wan: wan.to_owned(), ..Default::default() };
        Config { interfaces, ..Default::default() }.complete().map_err(|error| error.to_string())
    };
    assert_eq!(with(&["lan0", "lan1"], "wan0"), Ok(()));
    assert!(with(&[], "wan0").unwrap_err().contains("--lan"));
    assert!(with(&["lan0"], "").unwrap_err().contains("--wan"));
    assert!(with(&["lan0", "eth0"], "eth0").unwrap_err().contains("eth0 is named twice"));
    assert!(with(&["a-name-too-long-for-linux"], "wan0").is_err());
}

#[test]
fn seconds_reach_the_packet_path_as_nanoseconds() {
    let nat = Nat { udp_timeout: 121, preserve_ports: false, ..Nat::default() };
    let settings = nat.settings();
    assert_eq!(settings.udp_timeout, 121_000_000_000);
    assert_eq!(settings.preserve_ports, 0);
    let limits = Settings {
        max_sessions_per_client: 65_536,
        max_ports_per_client: 16_384,
        ..Settings::DEFAULT
    };
    assert_eq!(Nat::default().settings(), limits);
}

#[test]
fn filtering_reaches_the_packet_path_for_each_protocol() {
    use nat_common::{Protocol, settings::Filtering as Mode};
    let text = "[nat]\nfiltering-udp = \"address-dependent\"\n\
                filtering-icmp = \"address-and-port-dependent\"\n";
    let settings = Config::parse("edge.toml", text).unwrap().nat.settings();
    assert_eq!(settings.filtering(Protocol::Udp), Mode::AddressDependent);
    assert_eq!(settings.filtering(Protocol::Tcp), Mode::EndpointIndependent);
    assert_eq!(settings.filtering(Protocol::Icmp), Mode::AddressAndPortDependent);
    let message = error("[nat]\nfiltering-udp = \"symmetric\"\n");
    assert!(message.starts_with("edge.toml:2: nat.filtering-udp: unknown variant"), "{message}");
}

#[test]
fn an_empty_pin_directory_pins_nothing() {
    let mut daemon = Daemon::default();
    assert_eq!(daemon.pin_dir(), Some(Path::new("/sys/fs/bpf/igd-control")));
    daemon.pin_dir = PathBuf::new();
    assert_eq!(daemon.pin_dir(), None);
}

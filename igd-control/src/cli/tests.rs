use super::{table::*, *};
use crate::datapath::{ClientView, SessionView};
use serde_json::json;
use std::net::{Ipv4Addr, SocketAddrV4};

fn run_args(line: &str) -> RunArgs {
    let words = ["igd-control", "run"].into_iter().chain(line.split_whitespace());
    match Cli::try_parse_from(words).unwrap().command {
        Command::Run(args) => args,
        other => panic!("{other:?}"),
    }
}

fn rows(values: serde_json::Value) -> Vec<Row> {
    serde_json::from_value(values).unwrap()
}

fn shown(table: &Table<'_>, rows: &[Row]) -> String {
    let mut out = Vec::new();
    table.all(&mut out, rows).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_definition_of_the_command_line_is_sound() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

#[test]
fn lan_interfaces_may_be_listed_and_repeated() {
    let config = run_args("--lan a b --wan w --lan c").config().unwrap();
    assert_eq!(config.interfaces.lan, ["a", "b", "c"]);
    assert_eq!(config.interfaces.wan, "w");
}

#[test]
fn flags_come_before_the_file() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("edge.toml");
    std::fs::write(
        &file,
        "[interfaces]\nlan = [\"l\"]\nwan = \"w\"\n[upnp]\nhttp-port = 1\nmax-age = 1900\n",
    )
    .unwrap();
    let config = format!("--config {}", file.display());
    let from_file = run_args(&config).config().unwrap();
    assert_eq!(from_file.interfaces.lan, ["l"]);
    assert_eq!(from_file.upnp.http_port, 1);
    let flags = format!("{config} --lan x --http-port 0 --no-pin --control-socket /tmp/s");
    let both = run_args(&flags).config().unwrap();
    assert_eq!(both.interfaces.lan, ["x"]);
    assert_eq!(both.interfaces.wan, "w");
    assert_eq!((both.upnp.http_port, both.upnp.max_age), (0, 1900));
    assert_eq!(both.daemon.pin_dir(), None);
    assert_eq!(both.daemon.control_socket, PathBuf::from("/tmp/s"));
}

#[test]
fn a_missing_interface_is_a_usage_error() {
    let error = run_args("--wan w").config().unwrap_err();
    assert!(matches!(&error, ConfigError::Incomplete(text) if text.contains("--lan")), "{error}");
    let error = run_args("--lan l --wan w --pin-dir here").config().unwrap_err();
    assert!(error.to_string().contains("daemon.pin-dir"), "{error}");
}

#[test]
fn a_missing_file_is_named() {
    let error = run_args("--config /nonexistent/edge.toml").config().unwrap_err();
    assert!(error.to_string().starts_with("/nonexistent/edge.toml: "), "{error}");
}

#[test]
fn pinning_somewhere_and_nowhere_contradict() {
    let line = ["igd-control", "run", "--no-pin", "--pin-dir", "/sys/fs/bpf/x"];
    assert_eq!(Cli::try_parse_from(line).unwrap_err().exit_code(), i32::from(USAGE));
}

#[test]
fn columns_are_aligned() {
    const COLUMNS: &[Column] = &[
        Column::text("NAME", "name"),
        Column::number("COUNT", "count"),
        Column::text("NOTE", "note"),
    ];
    let rows = rows(json!([
        { "name": "a", "count": 1_234_567, "note": null },
        { "name": "longer", "count": 5, "note": ["x", "y"] },
    ]));
    let expected = "NAME      COUNT  NOTE\na       1234567  -\nlonger        5  x, y\n";
    assert_eq!(shown(&Table::fitting(COLUMNS, &rows), &rows), expected);
}

#[test]
fn a_clients_words_cannot_steer_the_terminal() {
    let shown = cell(Some(&json!("\u{1b}]0;owned\u{7}\n\u{9b}x")));
    assert!(!shown.chars().any(char::is_control), "{shown:?}");
}

#[test]
fn the_session_table_shows_every_member() {
    let end = SocketAddrV4::new(Ipv4Addr::new(100, 100, 100, 100), 10_000);
    let session = SessionView {
        protocol: "ICMP",
        internal: end,
        external: end,
        remote: end,
        opened: "outside",
        state: "established",
        expires_in: 7_440,
    };
    let row: Row = serde_json::from_value(serde_json::to_value(session).unwrap()).unwrap();
    let mut members: Vec<_> = columns::SESSIONS.iter().map(|column| column.key).collect();
    members.sort_unstable();
    assert_eq!(members, row.keys().collect::<Vec<_>>());
    let fixed = Table::new(columns::SESSIONS);
    let rows = [row];
    assert_eq!(shown(&fixed, &rows), shown(&Table::fitting(columns::SESSIONS, &rows), &rows));
}

#[test]
fn the_client_table_shows_every_member() {
    let client = ClientView {
        address: Ipv4Addr::LOCALHOST,
        sessions: 1,
        ports: 1,
        over_sessions: 0,
        over_ports: 0,
        over_rate: 0,
    };
    let row: Row = serde_json::from_value(serde_json::to_value(client).unwrap()).unwrap();
    let mut members: Vec<_> = columns::CLIENTS.iter().map(|column| column.key).collect();
    members.sort_unstable();
    assert_eq!(members, row.keys().collect::<Vec<_>>());
}

#[test]
fn counters_come_in_the_packet_paths_order_with_their_meaning() {
    let values = rows(json!([{ "new_one": 1, "inbound_packets": 2, "outbound_packets": 3 }]));
    let rows = query::counter_rows(values.into_iter().next().unwrap());
    let names: Vec<_> = rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["outbound_packets", "inbound_packets", "new_one"]);
    assert_eq!(rows[0]["help"], "packets translated from the LAN to the WAN");
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let closed = io::Error::from(io::ErrorKind::BrokenPipe);
    assert!(is_closed_pipe(&anyhow::Error::from(closed).context("printing")));
    assert!(!is_closed_pipe(&anyhow::anyhow!("something else")));
}

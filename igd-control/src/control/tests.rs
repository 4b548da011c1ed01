use super::{client::ClientError, *};
use serde_json::Value;
use std::{
    net::SocketAddrV4,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::PathBuf,
    sync::Arc,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// More than fits into the chunks that may wait.
const SESSIONS: u16 = 10_000;

/// A daemon without a data path.
#[derive(Default)]
struct Fake {
    broken: bool,
}

impl Operator for Fake {
    fn status(&self) -> anyhow::Result<Status> {
        anyhow::ensure!(!self.broken, "the map is gone");
        Ok(Status {
            version: "1",
            pid: 7,
            uptime: 0,
            external_address: None,
            behind_nat: "no",
            seen_from_outside: "not asked".to_owned(),
            upstream: "off".to_owned(),
            pool: Vec::new(),
            interfaces: Vec::new(),
            uuid: String::new(),
            subscriptions: 0,
            http: Vec::new(),
            mappings: 0,
            sessions: SESSIONS.into(),
            max_sessions: 262_144,
            store: "ok".to_owned(),
        })
    }

    fn mappings(&self) -> Vec<MappingView> {
        Vec::new()
    }

    fn sessions(&self, each: &mut dyn FnMut(SessionView)) -> anyhow::Result<()> {
        for port in 0..SESSIONS {
            let end = SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
            each(SessionView {
                protocol: "UDP",
                internal: end,
                external: end,
                remote: end,
                opened: "inside",
                state: "-",
                expires_in: 1,
            });
        }
        anyhow::ensure!(!self.broken, "the map is gone");
        Ok(())
    }

    fn clients(&self) -> anyhow::Result<Vec<ClientView>> {
        Ok(vec![ClientView {
            address: Ipv4Addr::LOCALHOST,
            sessions: 2,
            ports: 1,
            over_sessions: 0,
            over_ports: 0,
            over_rate: 5,
        }])
    }

    fn counters(&self) -> anyhow::Result<Vec<(Counter, u64)>> {
        Ok(Counter::ALL.iter().map(|counter| (*counter, 3)).collect())
    }

    fn metrics(&self) -> anyhow::Result<String> {
        Ok("metric 1\n".to_owned())
    }

    fn add_mapping(&self, mapping: &StaticMapping) -> anyhow::Result<()> {
        anyhow::ensure!(mapping.external_port == 80, "the port is taken");
        Ok(())
    }

    fn remove_mapping(&self, _: &StaticKey) -> anyhow::Result<()> {
        Ok(())
    }

    fn explain(&self, question: &Question) -> Explanation {
        crate::policy::Policy::default().explain(question)
    }

    fn reload(&self) -> anyhow::Result<Reloaded> {
        Ok(Reloaded { rules: 2, ..Reloaded::default() })
    }
}

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("control.sock");
    (directory, path)
}

fn serve(path: &std::path::Path, fake: Fake) -> JoinHandle<()> {
    tokio::spawn(ControlSocket::bind(path).unwrap().serve(Arc::new(fake)))
}

async fn ask(path: &std::path::Path, question: &'static str) -> Result<Value, ClientError> {
    let answer = client::get(path, question).await?.whole().await?;
    Ok(serde_json::from_slice(&answer).unwrap())
}

#[tokio::test]
async fn questions_are_answered_in_json() {
    let (_directory, path) = place();
    let _server = serve(&path, Fake::default());
    assert_eq!(ask(&path, "/status").await.unwrap()["pid"], 7);
    assert_eq!(ask(&path, "/mappings").await.unwrap(), Value::Array(Vec::new()));
    let clients = ask(&path, "/clients").await.unwrap();
    assert_eq!(
        (&clients[0]["address"], &clients[0]["over_rate"]),
        (&"127.0.0.1".into(), &5.into())
    );
    let counters = ask(&path, "/counters").await.unwrap();
    assert_eq!(counters.as_object().unwrap().len(), Counter::ALL.len());
    assert_eq!(counters["outbound_packets"], 3);
}

async fn tell(
    path: &std::path::Path,
    what: &'static str,
    body: Value,
) -> Result<Value, ClientError> {
    let answer = client::post(path, what, body.to_string().into()).await?.whole().await?;
    Ok(serde_json::from_slice(&answer).unwrap())
}

#[tokio::test]
async fn an_operator_changes_things_by_post() {
    let (_directory, path) = place();
    let _server = serve(&path, Fake::default());
    let mapping = |port: u16| serde_json::json!({ "protocol": "tcp", "external-port": port, "client": "10.0.0.1" });
    assert_eq!(tell(&path, "/mappings/add", mapping(80)).await.unwrap(), Value::Null);
    let error = tell(&path, "/mappings/add", mapping(81)).await.unwrap_err();
    assert!(error.to_string().contains("the port is taken"), "{error}");
    let error = tell(&path, "/mappings/add", serde_json::json!({})).await.unwrap_err();
    assert!(error.to_string().contains("missing field"), "{error}");
    assert_eq!(tell(&path, "/reload", Value::Null).await.unwrap()["rules"], 2);
    let asked = serde_json::json!({
        "requester": "10.0.0.1", "protocol": "udp", "external-port": 80, "via": "upnp",
    });
    let told = tell(&path, "/policy/check", asked).await.unwrap();
    assert_eq!((&told["allowed"], &told["rule"]), (&Value::Bool(false), &Value::Null));
    let error = ask(&path, "/reload").await.unwrap_err();
    assert!(error.to_string().contains("only POST"), "{error}");
}

#[tokio::test]
async fn metrics_are_told_as_text() {
    let (_directory, path) = place();
    let _server = serve(&path, Fake::default());
    let answer = client::get(&path, "/metrics").await.unwrap().whole().await.unwrap();
    assert_eq!(&answer[..], b"metric 1\n");
}

#[tokio::test]
async fn all_sessions_arrive() {
    let (_directory, path) = place();
    let _server = serve(&path, Fake::default());
    let sessions = ask(&path, "/sessions").await.unwrap();
    assert_eq!(sessions.as_array().unwrap().len(), usize::from(SESSIONS));
    assert_eq!(sessions[77]["internal"], "127.0.0.1:77");
}

#[tokio::test]
async fn a_reader_that_hangs_up_does_no_harm() {
    let (_directory, path) = place();
    let _server = serve(&path, Fake::default());
    let mut answer = client::get(&path, "/sessions").await.unwrap();
    assert!(answer.chunk().await.unwrap().is_some());
    drop(answer);
    assert_eq!(ask(&path, "/status").await.unwrap()["pid"], 7);
}

#[tokio::test]
async fn errors_are_told() {
    let (_directory, path) = place();
    let _server = serve(&path, Fake { broken: true });
    let error = ask(&path, "/status").await.unwrap_err();
    assert!(error.to_string().contains("the map is gone"), "{error}");
    let error = ask(&path, "/nonsense").await.unwrap_err();
    assert!(error.to_string().contains("/nonsense"), "{error}");
    assert!(matches!(ask(&path, "/sessions").await, Err(ClientError::Broken(_))));
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_goes_with_the_daemon() {
    let (_directory, path) = place();
    let socket = ControlSocket::bind(&path).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(socket);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_dead_daemons_socket_is_replaced() {
    let (_directory, path) = place();
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    ControlSocket::bind(&path).unwrap();
}

#[tokio::test]
async fn a_live_daemons_socket_is_left_alone() {
    let (_directory, path) = place();
    let _server = serve(&path, Fake::default());
    let error = ControlSocket::bind(&path).unwrap_err().to_string();
    assert!(error.contains("another daemon answers"), "{error}");
    assert_eq!(ask(&path, "/status").await.unwrap()["pid"], 7);
}

#[tokio::test]
async fn a_file_that_is_no_socket_is_left_alone() {
    let (_directory, path) = place();
    std::fs::write(&path, "precious").unwrap();
    assert!(ControlSocket::bind(&path).is_err());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "precious");
}

#[tokio::test]
async fn no_daemon_is_told_with_what_to_do() {
    let (_directory, path) = place();
    let missing = ask(&path, "/status").await.unwrap_err();
    drop(UnixListener::bind(&path).unwrap());
    let dead = ask(&path, "/status").await.unwrap_err();
    for error in [missing, dead] {
        let error = error.to_string();
        assert!(error.starts_with("no daemon answers at /"), "{error}");
        assert!(error.ends_with("is `igd-control run` running?"), "{error}");
    }
}

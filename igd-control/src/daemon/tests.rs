use super::{lan::Subnet, *};
use std::net::Ipv4Addr;

#[tokio::test]
async fn a_dropped_trigger_is_seen_by_all_and_by_those_who_come_late() {
    let (trigger, shutdown) = shutdown();
    let mut early = shutdown.clone();
    let waiting = tokio::spawn(async move { early.wait().await });
    drop(trigger);
    waiting.await.unwrap();
    shutdown.clone().wait().await;
}

#[test]
fn a_subnet_reaches_its_hosts_only() {
    let subnet = |address: [u8; 4], prefix: u32| Subnet {
        address: address.into(),
        mask: Ipv4Addr::from_bits(u32::MAX << (32 - prefix)),
    };
    let home = subnet([192, 168, 1, 1], 24);
    assert!(home.reaches([192, 168, 1, 254].into()));
    for stranger in [[192, 168, 2, 1], [192, 168, 1, 0], [192, 168, 1, 255], [192, 168, 1, 1]] {
        assert!(!home.reaches(stranger.into()), "{stranger:?}");
    }
    assert!(subnet([10, 0, 0, 0], 31).reaches([10, 0, 0, 1].into()));
    assert!(!subnet([10, 0, 0, 1], 32).reaches([10, 0, 0, 2].into()));
}

#[test]
fn the_data_path_is_told_what_is_configured() {
    let mut config = Config::default();
    config.interfaces.lan = vec!["lan0".to_owned()];
    config.interfaces.wan = "wan0".to_owned();
    config.nat.max_sessions = 5_000;
    config.daemon.pin_dir = std::path::PathBuf::new();
    let told = data_path_config(&config);
    assert_eq!((told.lan, told.wan), (config.interfaces.lan, config.interfaces.wan));
    assert_eq!((told.max_sessions, told.pin_dir), (5_000, None));
    assert_eq!(told.settings, config.nat.settings());
}

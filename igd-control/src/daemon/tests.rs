use super::*;

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

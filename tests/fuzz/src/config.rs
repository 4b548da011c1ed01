//! The daemon's configuration file.

use igd_control::config::{Config, ConfigError};

/// Name of the file in messages.
const FILE: &str = "edge.toml";

/// Takes the text of a file. What is accepted must survive being written and read again; what is not
/// must be refused with a line of the file.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    match Config::parse(FILE, text) {
        Ok(config) => {
            // Conversions with arithmetic in them.
            let _ = (config.nat.settings(), config.policy.limits(), config.upnp.uuid());
            let _ = (config.daemon.pin_dir(), config.complete());
            let written = toml::to_string(&config).unwrap_or_default();
            match Config::parse(FILE, &written) {
                Ok(again) => assert_eq!(again, config, "written as\n{written}"),
                Err(error) => assert!(written.is_empty(), "{error}, written as\n{written}"),
            }
        }
        Err(ConfigError::File { line, message, .. }) => {
            let lines = text.matches('\n').count() + 1;
            assert!((1..=lines).contains(&line), "line {line} of {lines}: {message}");
            assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
        }
        Err(other) => assert!(matches!(other, ConfigError::File { .. }), "{other}"),
    }
}

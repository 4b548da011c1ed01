//! `igd-control`: the gateway's daemon and its command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    igd_control::cli::main()
}

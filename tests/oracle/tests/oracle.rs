//! Random packets through the pipeline and through a plain reference NAT, results compared to the last
//! byte. `ORACLE_PACKETS` and `ORACLE_SEED` say how many, and which.

use nat_oracle::{HostMachine, Run};
use std::io::Write as _;

#[test]
fn a_million_random_packets_become_what_the_reference_makes_of_them() {
    let run = Run::new(1_000_000, "tests/oracle.regressions");
    let played = run.and_then(|run| run.play(&mut HostMachine::new(1)));
    let played = played.unwrap_or_else(|why| panic!("{why}"));
    // Past the test runner, which would keep it to itself.
    let _ = writeln!(std::io::stderr(), "the host: {played}");
}

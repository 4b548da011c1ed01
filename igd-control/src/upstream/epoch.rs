//! Whether a server still knows what it knew (RFC 6887 8.5; RFC 6886 3.6).

use nat_common::BootTime;
use nat_common::time::NANOS_PER_SEC;

/// The last Epoch Time of a server, and when it was heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerEpoch(Option<(u32, BootTime)>);

/// By which rule epochs are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// PCP's: neither too slow nor too fast.
    Pcp,
    /// NAT-PMP's: only not too slow.
    NatPmp,
}

impl ServerEpoch {
    /// Notes an Epoch Time; tells whether it says that the server has lost its state since the last one.
    pub(super) fn heard(&mut self, now: BootTime, epoch: u32, rule: Rule) -> bool {
        let is_invalid = match rule {
            Rule::Pcp => is_invalid,
            Rule::NatPmp => is_behind,
        };
        // The first one is as good as any.
        let lost = self.0.is_some_and(|(then, at)| is_invalid(then, epoch, now.nanos_from(at)));
        self.0 = Some((epoch, now));
        lost
    }
}

fn is_invalid(previous: u32, current: u32, passed: u64) -> bool {
    let (previous, current) = (u64::from(previous), u64::from(current));
    if current + 1 < previous {
        return true;
    }
    let server = current.saturating_sub(previous);
    let client = passed / NANOS_PER_SEC;
    client + 2 < server - server / 16 || server + 2 < client - client / 16
}

/// Two seconds less than 7/8 of the time that has passed, or less than that.
fn is_behind(previous: u32, current: u32, passed: u64) -> bool {
    let passed = passed / NANOS_PER_SEC;
    u64::from(current) + 2 < u64::from(previous) + passed - passed / 8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(previous: u32, current: u32, seconds: u64) -> bool {
        let mut epoch = ServerEpoch::default();
        let start = BootTime(NANOS_PER_SEC);
        assert!(!epoch.heard(start, previous, Rule::Pcp), "the first one");
        epoch.heard(start.plus_secs(seconds), current, Rule::Pcp)
    }

    #[test]
    fn an_epoch_that_runs_with_our_clock_is_valid() {
        for (previous, current, seconds) in
            [(0, 0, 0), (100, 160, 60), (100, 99, 0), (100, 102, 0), (0, 1_000, 1_060), (5, 5, 2)]
        {
            assert!(!lost(previous, current, seconds), "{previous} {current} {seconds}");
        }
    }

    #[test]
    fn an_epoch_that_goes_back_stands_still_or_jumps_means_a_loss() {
        for (previous, current, seconds) in [
            (100, 98, 0),
            (1_000, 0, 60),
            (100, 100, 3),
            (100, 104, 0),
            (0, 1_000, 500),
            (9, 20, 600),
        ] {
            assert!(lost(previous, current, seconds), "{previous} {current} {seconds}");
        }
    }

    #[test]
    fn the_next_one_is_compared_with_the_newest() {
        let mut epoch = ServerEpoch::default();
        epoch.heard(BootTime(0), 5_000, Rule::Pcp);
        assert!(epoch.heard(BootTime(0).plus_secs(10), 2, Rule::Pcp));
        assert!(!epoch.heard(BootTime(0).plus_secs(20), 12, Rule::Pcp));
    }

    #[test]
    fn an_epoch_of_nat_pmp_may_run_ahead_and_not_behind() {
        for (previous, current, seconds, lost) in [
            (100, 160, 60, false),
            (100, 151, 60, false),
            (100, 150, 60, true),
            (100, 10_000, 60, false),
            (1_000, 0, 60, true),
        ] {
            let mut epoch = ServerEpoch::default();
            let start = BootTime(NANOS_PER_SEC);
            epoch.heard(start, previous, Rule::NatPmp);
            assert_eq!(epoch.heard(start.plus_secs(seconds), current, Rule::NatPmp), lost);
        }
    }
}

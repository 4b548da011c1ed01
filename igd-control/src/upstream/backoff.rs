//! When a request without an answer is sent again (RFC 6887 8.1.1; RFC 6886 3.1).

use crate::mapping::Random;
use nat_common::BootTime;
use nat_common::time::NANOS_PER_SEC;

/// IRT: after how long for the first time.
const INITIAL: u64 = 3 * NANOS_PER_SEC;
/// MRT: the longest pause. MRC and MRD are 0: there is no last time.
const LONGEST: u64 = 1_024 * NANOS_PER_SEC;

/// The same of NAT-PMP, whose pauses double exactly.
const INITIAL_NAT_PMP: u64 = NANOS_PER_SEC / 4;
/// After this one, the ninth, it is given up.
const LONGEST_NAT_PMP: u64 = 64 * NANOS_PER_SEC;

/// The retransmission timer of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    pause: u64,
    nat_pmp: bool,
    /// When the request is sent again.
    pub due: BootTime,
}

impl Backoff {
    /// After the first request.
    pub fn start(now: BootTime, random: &mut Random) -> Self {
        let pause = spread(INITIAL, random);
        Self { pause, nat_pmp: false, due: now.plus_nanos(pause) }
    }

    /// After the first request by NAT-PMP.
    pub fn start_nat_pmp(now: BootTime) -> Self {
        let pause = INITIAL_NAT_PMP;
        Self { pause, nat_pmp: true, due: now.plus_nanos(pause) }
    }

    /// Before a first request by NAT-PMP, which is not sent until then.
    pub const fn at(due: BootTime) -> Self {
        Self { pause: INITIAL_NAT_PMP / 2, nat_pmp: true, due }
    }

    /// Whether it is given up when it is due.
    pub const fn is_last(&self) -> bool {
        self.nat_pmp && self.pause >= LONGEST_NAT_PMP
    }

    /// After another one.
    #[must_use]
    pub fn again(self, now: BootTime, random: &mut Random) -> Self {
        let twice = self.pause.saturating_mul(2);
        let pause = if self.nat_pmp { twice } else { spread(twice.min(LONGEST), random) };
        Self { pause, due: now.plus_nanos(pause), ..self }
    }
}

/// (1 + RAND) times as long, RAND being between -0.1 and +0.1.
fn spread(nanos: u64, random: &mut Random) -> u64 {
    nanos - nanos / 10 + part(nanos / 5, random)
}

/// A random part of `nanos`.
pub(super) fn part(nanos: u64, random: &mut Random) -> u64 {
    let part = u128::from(nanos) * u128::from(random.next_u32()) / u128::from(u32::MAX);
    u64::try_from(part).unwrap_or(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_three_seconds_to_1024_and_spread_by_a_tenth() {
        for seed in 0..200 {
            let mut random = Random::new(seed);
            let (mut now, mut timer) = (BootTime(0), Backoff::start(BootTime(0), &mut random));
            let mut before = None;
            for _ in 0..16 {
                let pause = timer.due.nanos_from(now);
                let middle = before.map_or(INITIAL, |before: u64| (2 * before).min(LONGEST));
                assert!(pause >= middle - middle / 10 && pause <= middle + middle / 10, "{pause}");
                before = Some(pause);
                now = timer.due;
                timer = timer.again(now, &mut random);
            }
            assert!(before.unwrap() >= LONGEST - LONGEST / 10);
        }
    }

    #[test]
    fn by_nat_pmp_nine_requests_are_sent_with_pauses_that_double() {
        let mut random = Random::new(1);
        let mut timer = Backoff::start_nat_pmp(BootTime(0));
        let mut sent = vec![0];
        while !timer.is_last() {
            sent.push(timer.due.0 / 1_000_000);
            timer = timer.again(timer.due, &mut random);
        }
        assert_eq!(sent, [0, 250, 750, 1_750, 3_750, 7_750, 15_750, 31_750, 63_750]);
        assert_eq!(timer.due.0 / 1_000_000, 127_750);
    }
}

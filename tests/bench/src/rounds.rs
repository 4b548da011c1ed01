//! Rounds: each contestant has its turn in each, and is compared with the others within it, so that what befalls
//! one befalls all of them.

use crate::report::Stat;
use anyhow::Result;

/// What all turns of all rounds have told.
#[derive(Clone, Debug)]
pub(crate) struct Rounds<T>(Vec<Vec<T>>);

impl<T> Rounds<T> {
    /// Plays so many rounds. What a round tells is in the order of the contestants.
    pub(crate) fn play(count: u32, mut round: impl FnMut() -> Result<Vec<T>>) -> Result<Self> {
        (0..count).map(|_| round()).collect::<Result<_>>().map(Self)
    }

    /// A figure over the rounds, of what `of` makes of each.
    pub(crate) fn stat(&self, of: impl Fn(&[T]) -> f64) -> Stat {
        Stat::of(self.0.iter().map(|round| of(round)).collect())
    }

    /// The mean over the rounds.
    pub(crate) fn mean(&self, of: impl Fn(&[T]) -> f64) -> f64 {
        self.0.iter().map(|round| of(round)).sum::<f64>() / self.0.len() as f64
    }

    /// The first round, which tells who takes part.
    pub(crate) fn first(&self) -> &[T] {
        self.0.first().map_or(&[], Vec::as_slice)
    }
}

/// What the contestant at `place` has told; not a number when there is none.
pub(crate) fn at(round: &[f64], place: usize) -> f64 {
    round.get(place).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_formed_within_a_round() {
        let mut rounds = [vec![1.0, 2.0], vec![10.0, 30.0], vec![100.0, 400.0]].into_iter();
        let rounds = Rounds::play(3, || Ok(rounds.next().unwrap())).unwrap();
        let ratio = rounds.stat(|round| at(round, 1) / at(round, 0));
        assert_eq!((ratio.lower, ratio.median, ratio.upper), (2.0, 3.0, 4.0));
        assert_eq!(rounds.mean(|round| at(round, 0)), 37.0);
        assert!(rounds.stat(|round| at(round, 2)).median.is_nan());
    }
}

//! A run beside an earlier one: what got worse, and what cannot be told.
//!
//! How far off a median may be follows from its spread and the number of rounds, by Student's t. A few rounds may
//! agree by chance, so a figure's own spread is taken together with what is usual among the figures of the
//! earlier run, as if [`USUAL_ROUNDS`] rounds had told that of it.

use crate::report::Stat;

/// In which direction a figure gets worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worse {
    Higher,
    Lower,
}

/// How many rounds' worth the usual spread is.
const USUAL_ROUNDS: u32 = 4;

/// What two runs of the same program may differ by, as a part of the figure.
const BETWEEN_RUNS: f64 = 0.1;
/// The same of the packet path, whose tables lie elsewhere in memory in each run, and in the same place for all
/// rounds of it. Two quiet runs one after the other differed by up to 36 of a hundred.
const BETWEEN_TABLES: f64 = 0.4;

/// What is usual among some figures of a run: the spread of most is about so large a part of the figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Usual {
    part: Option<f64>,
    /// See [`BETWEEN_RUNS`].
    between: f64,
}

impl Usual {
    /// Among these.
    pub(crate) fn of(figures: impl Iterator<Item = Stat>) -> Self {
        let parts: Vec<f64> =
            figures.map(|stat| part(&stat)).filter(|part| part.is_finite()).collect();
        let part = (!parts.is_empty()).then(|| Stat::of(parts).median);
        Self { part, between: BETWEEN_RUNS }
    }

    /// Of figures of the packet path.
    pub(crate) fn with_tables(self) -> Self {
        Self { between: BETWEEN_TABLES, ..self }
    }

    /// How far the median of a run may be from what more rounds would have given, in one case of a hundred further.
    /// Infinite when nothing tells.
    fn error(self, stat: &Stat) -> f64 {
        let usual = self.part.map_or((0, 0.0), |part| (USUAL_ROUNDS, part));
        let own = (stat.rounds.saturating_sub(1), part(stat));
        let freedom = own.0 + usual.0;
        let squares = [own, usual].map(|(freedom, part)| f64::from(freedom) * part * part);
        let variance = squares.iter().sum::<f64>() / f64::from(freedom);
        let error = student(freedom) * (variance / f64::from(stat.rounds)).sqrt();
        if error.is_nan() { f64::INFINITY } else { error * stat.median.abs() }
    }
}

/// The spread as a part of the figure.
fn part(stat: &Stat) -> f64 {
    (stat.upper - stat.lower) / stat.median.abs()
}

/// Student's t that one of a hundred exceeds.
fn student(freedom: u32) -> f64 {
    const TABLE: [f64; 16] = [
        f64::INFINITY,
        31.82,
        6.96,
        4.54,
        3.75,
        3.36,
        3.143,
        3.00,
        2.90,
        2.82,
        2.76,
        2.72,
        2.68,
        2.65,
        2.62,
        2.60,
    ];
    TABLE.get(freedom as usize).copied().unwrap_or(2.57)
}

/// A run beside an earlier one.
#[derive(Clone, Debug, Default)]
pub struct Comparison {
    /// How many figures were compared.
    pub compared: usize,
    /// Those that got worse by more than chance explains.
    pub worse: Vec<String>,
    /// Those that only one of the runs has, or that tell nothing.
    pub left_out: Vec<String>,
}

impl Comparison {
    /// Compares a figure; `usual` of the earlier run.
    pub(crate) fn add(
        &mut self,
        what: &str,
        old: Option<Stat>,
        new: Option<Stat>,
        worse: Worse,
        usual: Usual,
    ) {
        let known = |stat: Option<Stat>| stat.filter(|stat| !stat.median.is_nan());
        let (old, new) = match (known(old), known(new)) {
            (Some(old), Some(new)) => (old, new),
            (Some(_), None) => return self.left_out.push(format!("{what}: not measured now")),
            (None, Some(_)) => return self.left_out.push(format!("{what}: not measured before")),
            (None, None) => return,
        };
        let whole = old.median.abs();
        let chance = usual.error(&old).hypot(usual.error(&new)).max(usual.between * whole);
        // It could have doubled, or halved, unnoticed.
        let (moved, most) = match worse {
            Worse::Higher => (new.median - old.median, whole),
            Worse::Lower => (old.median - new.median, whole / 2.0),
        };
        let told = format!(
            "{:.2}, and it was {:.2} (chance explains {chance:.2})",
            new.median, old.median
        );
        if moved > chance {
            self.worse.push(format!("{what}: {told}"));
        } else if chance > most {
            return self
                .left_out
                .push(format!("{what}: too restless, or too few rounds, to tell: {told}"));
        }
        self.compared += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(lower: f64, median: f64, upper: f64, rounds: u32) -> Stat {
        Stat { lower, median, upper, rounds }
    }

    fn compared(old: Stat, new: Stat, usual: f64) -> Comparison {
        let mut comparison = Comparison::default();
        comparison.add(
            "figure",
            Some(old),
            Some(new),
            Worse::Higher,
            Usual { part: Some(usual), between: BETWEEN_RUNS },
        );
        comparison
    }

    /// A figure of the committed baseline, and what three rounds have made of the same program.
    #[test]
    fn three_rounds_that_agree_by_chance_raise_no_alarm() {
        let old = stat(2.28, 2.50, 2.63, 5);
        for spread in [0.0, 0.1, 0.3, 0.6] {
            let new = stat(3.12 - spread / 2.0, 3.12, 3.12 + spread / 2.0, 3);
            let comparison = compared(old, new, 0.16);
            assert!(comparison.worse.is_empty(), "{spread}: {comparison:?}");
        }
    }

    #[test]
    fn fifteen_rounds_find_a_third_more() {
        let baseline = |rounds| stat(2.28, 2.50, 2.63, rounds);
        let new = stat(1.3 * 2.28, 1.3 * 2.50, 1.3 * 2.63, 15);
        for rounds in [5, 15] {
            assert_eq!(compared(baseline(rounds), new, 0.16).worse.len(), 1, "{rounds}");
        }
        // On a quiet machine three are enough.
        let quiet = |median: f64| stat(0.98 * median, median, 1.02 * median, 3);
        assert_eq!(compared(quiet(2.0), quiet(2.6), 0.04).worse.len(), 1);
    }

    #[test]
    fn what_a_quiet_run_moves_by_less_than_a_tenth_is_no_news() {
        let steady = |median| stat(median, median, median, 15);
        assert!(compared(steady(2.0), steady(2.19), 0.01).worse.is_empty());
        assert_eq!(compared(steady(2.0), steady(2.21), 0.01).worse.len(), 1);
    }

    #[test]
    fn tables_that_lie_elsewhere_are_no_news_and_half_as_much_again_is() {
        let steady = |median: f64| stat(0.98 * median, median, 1.02 * median, 15);
        let worse = |now| {
            let mut comparison = Comparison::default();
            let usual = Usual::of([steady(1.0)].into_iter()).with_tables();
            let (old, new) = (Some(steady(6.85)), Some(steady(now)));
            comparison.add("figure", old, new, Worse::Higher, usual);
            comparison.worse.len()
        };
        assert_eq!((worse(9.31), worse(6.85 * 1.5)), (0, 1));
    }

    #[test]
    fn a_restless_run_is_not_a_worse_one_unless_it_is_much_worse() {
        let old = stat(1.9, 2.0, 2.1, 9);
        let comparison = compared(old, stat(1.0, 3.0, 6.0, 5), 0.1);
        assert_eq!((comparison.compared, comparison.worse.len()), (0, 0), "{comparison:?}");
        assert!(comparison.left_out[0].contains("too restless"), "{comparison:?}");
        assert_eq!(compared(old, stat(12.0, 14.0, 17.0, 5), 0.1).worse.len(), 1);
    }

    #[test]
    fn one_round_tells_nothing_without_what_is_usual() {
        let one = stat(2.0, 2.0, 2.0, 1);
        let mut comparison = Comparison::default();
        comparison.add(
            "figure",
            Some(one),
            Some(stat(9.0, 9.0, 9.0, 1)),
            Worse::Higher,
            Usual { part: None, between: BETWEEN_RUNS },
        );
        assert_eq!((comparison.compared, comparison.worse.len()), (0, 0), "{comparison:?}");
    }

    #[test]
    fn what_falls_gets_worse_where_more_is_better() {
        let mut comparison = Comparison::default();
        let run = |median: f64| stat(0.97 * median, median, 1.03 * median, 5);
        let usual = Usual::of([run(1.0), run(5.0)].into_iter());
        comparison.add("lower", Some(run(0.73)), Some(run(0.73 / 1.3)), Worse::Lower, usual);
        comparison.add("higher", Some(run(0.73)), Some(run(0.73 * 1.3)), Worse::Lower, usual);
        assert_eq!((comparison.compared, comparison.worse.len()), (2, 1), "{comparison:?}");
    }
}

//! What could not be written, until a record that says so has been.
//!
//! In: how many lines were lost, why, and the sequence number of the first. Out: one `Loss` a reason, for a
//! `sensor-events-lost` record. Such a record can be lost itself: then what it said comes back (`restore`) beside its
//! own loss, so at any time the numbers missing in the output are those reported in it and those kept here. Memory is
//! bounded: reasons and ranges of sequence numbers are; counts stay exact where ranges had to be merged.

/// Ranges of one reason. Where there are more, neighbours are merged: then their length is more than the count.
const RANGES_MAX: usize = 32;
/// Reasons; there are as many as a write has errors.
const REASONS_MAX: usize = 8;
const OTHER: &str = "other reasons";

/// What was lost for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// `queue full`, or the name of an errno.
    pub kind: String,
    pub count: u64,
    /// First and last sequence number of what is missing; none where lines have no numbers.
    pub ranges: Vec<(u64, u64)>,
    /// ns since the epoch.
    pub since: i64,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    losses: Vec<Loss>,
    /// Of the whole run.
    totals: Vec<(String, u64)>,
}

impl Ledger {
    /// Counts lost lines. `first`: the sequence number of the first, 0 if they have none.
    pub(super) fn add(&mut self, kind: &str, first: u64, count: u64, now: i64) {
        if count == 0 {
            return;
        }
        let known = self.totals.iter().any(|(known, _)| known == kind);
        let kind = if known || self.totals.len() < REASONS_MAX { kind } else { OTHER };
        match self.totals.iter_mut().find(|(known, _)| known == kind) {
            Some((_, total)) => *total += count,
            None => self.totals.push((kind.into(), count)),
        }
        let ranges = if first > 0 { vec![(first, first + count - 1)] } else { Vec::new() };
        self.restore(Loss { kind: kind.into(), count, ranges, since: now });
    }

    /// Takes back what was about to be reported, but could not be.
    pub(super) fn restore(&mut self, loss: Loss) {
        match self.losses.iter_mut().find(|known| known.kind == loss.kind) {
            Some(known) => {
                known.count += loss.count;
                known.since = known.since.min(loss.since);
                known.ranges = merged(std::mem::take(&mut known.ranges), loss.ranges);
            }
            None => self.losses.push(loss),
        }
    }

    /// What is to be reported next.
    pub(super) fn take(&mut self) -> Option<Loss> {
        (!self.losses.is_empty()).then(|| self.losses.remove(0))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.losses.is_empty()
    }

    /// Everything that is in no record.
    pub(super) fn unreported(&self) -> &[Loss] {
        &self.losses
    }

    /// Lost in the whole run, by reason, reported or not.
    pub(super) fn totals(&self) -> &[(String, u64)] {
        &self.totals
    }
}

fn merged(mut ranges: Vec<(u64, u64)>, more: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    ranges.extend(more);
    ranges.sort_unstable();
    let mut out: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        match out.last_mut() {
            Some((_, before)) if first <= before.saturating_add(1) => *before = last.max(*before),
            _ => out.push((first, last)),
        }
    }
    if out.len() > RANGES_MAX {
        let last = out.last().map(|(_, last)| *last);
        out.truncate(RANGES_MAX);
        if let (Some(end), Some(last)) = (out.last_mut(), last) {
            end.1 = last;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_is_kept_until_it_is_reported_and_comes_back_if_the_report_is_lost() {
        let mut ledger = Ledger::default();
        ledger.add("ENOSPC", 5, 3, 100);
        ledger.add("ENOSPC", 8, 1, 200);
        ledger.add("queue full", 20, 2, 300);
        let report = ledger.take().unwrap();
        assert_eq!(report, Loss { kind: "ENOSPC".into(), count: 4, ranges: vec![(5, 8)], since: 100 });
        // The record with it was number 9, and is lost too.
        ledger.add("ENOSPC", 9, 1, 400);
        ledger.restore(report);
        let all: Vec<_> = std::iter::from_fn(|| ledger.take()).collect();
        assert_eq!(
            all.iter().map(|loss| (loss.count, loss.ranges.clone())).collect::<Vec<_>>(),
            [(2, vec![(20, 21)]), (5, vec![(5, 9)])]
        );
        assert_eq!(all[1].since, 100);
        assert!(ledger.is_empty());
        assert_eq!(ledger.totals(), [("ENOSPC".into(), 5), ("queue full".into(), 2)]);
    }

    #[test]
    fn memory_is_bounded_and_counts_stay_exact() {
        let mut ledger = Ledger::default();
        for n in 0..1000 {
            ledger.add("EIO", 1 + 2 * n, 1, 0);
            ledger.add(&format!("errno {n}"), 2 + 2 * n, 1, 0);
        }
        assert_eq!(ledger.unreported().iter().map(|loss| loss.count).sum::<u64>(), 2000);
        assert_eq!(ledger.totals().iter().map(|(_, count)| count).sum::<u64>(), 2000);
        assert!(ledger.unreported().len() <= REASONS_MAX + 1);
        assert!(ledger.unreported().iter().all(|loss| loss.ranges.len() <= RANGES_MAX));
        let (first, last) = (ledger.unreported()[0].ranges[0], *ledger.unreported()[0].ranges.last().unwrap());
        assert_eq!((first.0, last.1), (1, 1999));
    }
}

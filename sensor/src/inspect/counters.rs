//! The inspector's account: every question ends in exactly one of these, every death and kill is one more.

use serde::{Deserialize, Serialize};

/// Since the start; restarts of the broker do not set them back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Questions accepted.
    pub asked: u64,
    /// Questions not accepted by `ask`.
    pub not_accepted: u64,
    pub answered: u64,
    pub deadline: u64,
    pub gone: u64,
    pub refused: u64,
    pub budget: u64,
    pub crashed: u64,
    pub identity: u64,
    /// Of `refused`: because the user's questions missed their deadlines.
    pub penalty: u64,
    /// Of `refused`: because too many waited.
    pub queue: u64,
    /// Replies to tickets that had been answered already (late ones, after a restart).
    pub late: u64,
    /// Deaths of the broker.
    pub broker_deaths: u64,
    /// The broker was killed since it did not answer.
    pub broker_kills: u64,
    /// What the broker counts.
    pub children: Children,
}

/// Of the broker's children.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Children {
    pub forked: u64,
    /// Ended by themselves: crashes, resource limits, somebody's SIGKILL.
    pub died: u64,
    /// Killed at a deadline.
    pub killed: u64,
    /// Killed since they sent what they may not.
    pub distrusted: u64,
    /// Killed and still not gone: stuck in the kernel.
    pub stuck: u64,
    /// Times that a user was put aside for missed deadlines.
    pub penalties: u64,
    /// Surveys that were started again past a process at which they hung.
    pub survey_hangs: u64,
}

impl Children {
    /// The account of a broker that ended, plus that of its successor.
    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            forked: self.forked + other.forked,
            died: self.died + other.died,
            killed: self.killed + other.killed,
            distrusted: self.distrusted + other.distrusted,
            stuck: self.stuck + other.stuck,
            penalties: self.penalties + other.penalties,
            survey_hangs: self.survey_hangs + other.survey_hangs,
        }
    }
}

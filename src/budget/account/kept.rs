//! What a snapshot keeps of an account.

use super::{Account, Based, Earlier, Pushed, clamped};
use crate::budget::period::Window;
use crate::money::Nanos;

/// The parts of an account that a snapshot keeps beside its open holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Whether the opening spend is posted.
    pub opened: bool,
    /// Tag of the period.
    pub tag: String,
    /// How often that has changed, where a shared store counts that.
    pub turn: u64,
    /// The current window.
    pub window: Window,
    /// Posted in it.
    pub posted: Nanos,
    /// The push in force.
    pub pushed: Option<Pushed>,
    /// Charged by this process's own records, of what is posted.
    pub charged: Nanos,
    /// Charged by other processes' records.
    pub elsewhere: Nanos,
    /// What is posted besides charges, where a shared store has said so.
    pub based: Option<Based>,
    /// Posted in earlier windows with open holds, and charged there by own records.
    pub earlier: Vec<(i64, Nanos, Nanos)>,
}

impl Account {
    /// An account as a snapshot kept it, without its open holds.
    pub fn restored(kept: Kept) -> Self {
        let earlier = kept.earlier.into_iter();
        Self {
            opened: kept.opened,
            tag: kept.tag,
            turn: kept.turn,
            window: kept.window,
            posted: clamped(kept.posted),
            charged: kept.charged,
            elsewhere: kept.elsewhere,
            based: kept.based,
            pushed: kept.pushed,
            earlier: earlier
                .map(|(start, posted, charged)| {
                    let open = 0;
                    (
                        start,
                        Earlier {
                            posted,
                            charged,
                            open,
                        },
                    )
                })
                .collect(),
            ..Self::default()
        }
    }

    /// What a snapshot keeps of the account beside its open holds.
    pub fn kept(&self) -> Kept {
        Kept {
            opened: self.opened,
            tag: self.tag.clone(),
            turn: self.turn,
            window: self.window,
            posted: self.posted,
            charged: self.charged,
            elsewhere: self.elsewhere,
            based: self.based,
            pushed: self.pushed,
            earlier: self
                .earlier
                .iter()
                .map(|(start, e)| (*start, e.posted, e.charged))
                .collect(),
        }
    }
}

//! Why a size was wanted: typed, with the words that a person reads.

use std::fmt;

use serde::{Deserialize, Serialize};

pub use super::idle::Expected;
use crate::decide::reason::quantity::plural;

/// One step on the way to a size, in the order in which it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reason {
    /// Nobody measures how fast work arrives; `target` decides.
    ArrivalsUnknown,
    /// How long work takes is neither stated nor measured yet; `target` decides.
    ServiceUnknown,
    /// How many pieces of work a replica does at a time is neither stated nor
    /// measured yet; `target` decides.
    SlotsUnknown,
    /// Nobody counts the work that waits; staffed by the rate alone.
    QueueUnknown,
    Forecast {
        rate_milli: u64,
    },
    Staffed {
        rate_milli: u64,
        window_s: u32,
        service_us: u64,
        load_milli: u64,
        peakedness_milli: u32,
        headroom_milli: u32,
        slots: u32,
        slots_each: u32,
        replicas: u32,
    },
    Queue {
        waiting: u64,
        replicas: u32,
    },
    Idle {
        idle_ms: u64,
        keep_ms: u64,
    },
    Expected(Expected),
    Bounded {
        min: u32,
        max: u32,
    },
    /// The current size is enough without headroom, so it stays.
    WithinHeadroom {
        enough: u32,
    },
    /// Too little has been seen to shrink on.
    SignalShort {
        left_ms: u64,
    },
    /// So many were needed within the last while.
    Held {
        held: u32,
        window_ms: u64,
        /// Until a step down is free, if nothing more is needed; `None` where
        /// the step wouldn't be worth it.
        left_ms: Option<u64>,
    },
    StepSmall {
        wanted: u32,
    },
}

impl Reason {
    /// Stable; for metrics, logs and machines.
    pub fn code(&self) -> &'static str {
        match self {
            Reason::ArrivalsUnknown => "ObjectiveArrivalsUnknown",
            Reason::ServiceUnknown => "ObjectiveServiceUnknown",
            Reason::SlotsUnknown => "ObjectiveSlotsUnknown",
            Reason::QueueUnknown => "ObjectiveQueueUnknown",
            Reason::Forecast { .. } => "ObjectiveForecast",
            Reason::Staffed { .. } => "ObjectiveStaffed",
            Reason::Queue { .. } => "ObjectiveQueue",
            Reason::Idle { .. } => "ObjectiveIdle",
            Reason::Expected(_) => "ObjectiveExpected",
            Reason::Bounded { .. } => "ObjectiveBounded",
            Reason::WithinHeadroom { .. } => "ObjectiveWithinHeadroom",
            Reason::SignalShort { .. } => "ObjectiveSignalShort",
            Reason::Held { .. } => "ObjectiveHeld",
            Reason::StepSmall { .. } => "ObjectiveStepSmall",
        }
    }

    /// The words as a sentence of a report.
    pub fn sentence(&self) -> String {
        let words = match self {
            Reason::Staffed { .. } => format!("the objective decides: arrivals of {self}."),
            _ => format!("{self}."),
        };
        let mut chars = words.chars();
        let first = chars.next().into_iter().flat_map(char::to_uppercase);
        first.chain(chars).collect()
    }

    /// Whether `target` decides instead.
    pub fn falls_back(&self) -> bool {
        matches!(
            self,
            Reason::ArrivalsUnknown | Reason::ServiceUnknown | Reason::SlotsUnknown
        )
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| ms as f64 / 1_000.0;
        match *self {
            Reason::ArrivalsUnknown => {
                write!(
                    f,
                    "the arrival rate is not known, so the triggers' goals decide"
                )
            }
            Reason::ServiceUnknown => write!(
                f,
                "how long work takes is neither stated nor measured yet, so the triggers' goals \
                 decide"
            ),
            Reason::SlotsUnknown => write!(
                f,
                "how much a replica does at a time is neither stated nor measured yet, so the \
                 triggers' goals decide"
            ),
            Reason::QueueUnknown => {
                write!(f, "the work that waits is not counted; staffed by rate")
            }
            Reason::Forecast { rate_milli } => write!(
                f,
                "the trend, which has been right here, leads to {:.1}/s",
                seconds(rate_milli)
            ),
            Reason::Staffed {
                rate_milli,
                window_s,
                service_us,
                load_milli,
                headroom_milli,
                slots,
                slots_each,
                replicas,
                ..
            } => write!(
                f,
                "{:.1}/s over {window_s} s at {:.3} s each keep {:.1} slots busy; with {:.1} \
                 deviations of headroom that takes {}, or {} of {slots_each}",
                seconds(rate_milli),
                service_us as f64 / 1e6,
                seconds(load_milli),
                seconds(u64::from(headroom_milli)),
                plural(slots, "slot"),
                plural(replicas, "replica")
            ),
            Reason::Queue { waiting, replicas } => {
                let needed = plural(replicas, "replica");
                write!(f, "{waiting} wait already, which takes {needed}")
            }
            Reason::Idle { idle_ms, keep_ms } => write!(
                f,
                "idle for {:.0} s; the last replica stays for {:.0} s",
                seconds(idle_ms),
                seconds(keep_ms)
            ),
            Reason::Expected(expected) => write!(
                f,
                "work has come every {:.0} s and is due: {}",
                seconds(expected.period_ms),
                plural(expected.replicas, "replica")
            ),
            Reason::Bounded { min, max } => {
                write!(f, "the bounds keep that between {min} and {max}")
            }
            Reason::WithinHeadroom { enough } => {
                write!(f, "{enough} would be roomier, but the size is enough")
            }
            Reason::SignalShort { .. } => write!(f, "too little has been seen to shrink on"),
            Reason::Held {
                held, window_ms, ..
            } => {
                write!(
                    f,
                    "{} needed in the last {:.0} s",
                    if held == 1 {
                        "1 replica was".to_owned()
                    } else {
                        format!("{held} replicas were")
                    },
                    seconds(window_ms)
                )
            }
            Reason::StepSmall { wanted } => {
                write!(f, "{wanted} would do, but so small a step isn't worth it")
            }
        }
    }
}

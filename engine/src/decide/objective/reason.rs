//! Why a size was wanted: typed, with the words that a person reads.

use std::fmt;

use super::idle::Expected;

/// One step on the way to a size, in the order in which it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Nobody measures how fast work arrives; `target` decides.
    ArrivalsUnknown,
    /// How long work takes is neither stated nor measured yet; `target` decides.
    ServiceUnknown,
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
        headroom_milli: u32,
        slots: u32,
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
    SignalShort,
    /// So many were needed within the last while.
    Held {
        held: u32,
        window_ms: u64,
    },
    StepSmall {
        wanted: u32,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = |ms: u64| ms as f64 / 1_000.0;
        match *self {
            Reason::ArrivalsUnknown => {
                write!(f, "the arrival rate is not measured, so `target` decides")
            }
            Reason::ServiceUnknown => write!(
                f,
                "how long work takes is neither stated nor measured yet, so `target` decides"
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
                replicas,
            } => write!(
                f,
                "{:.1}/s over {window_s} s at {:.3} s each keep {:.1} slots busy; with {:.1} \
                 deviations of headroom that takes {slots} slots, {replicas} replicas",
                seconds(rate_milli),
                service_us as f64 / 1e6,
                seconds(load_milli),
                seconds(u64::from(headroom_milli))
            ),
            Reason::Queue { waiting, replicas } => {
                write!(f, "{waiting} wait already: {replicas} replicas")
            }
            Reason::Idle { idle_ms, keep_ms } => write!(
                f,
                "idle for {:.0} s; the last replica stays for {:.0} s",
                seconds(idle_ms),
                seconds(keep_ms)
            ),
            Reason::Expected(expected) => write!(
                f,
                "work has come every {:.0} s and is due: {} replicas",
                seconds(expected.period_ms),
                expected.replicas
            ),
            Reason::Bounded { min, max } => write!(f, "kept between {min} and {max}"),
            Reason::WithinHeadroom { enough } => {
                write!(f, "{enough} would be roomier, but the size is enough")
            }
            Reason::SignalShort => write!(f, "too little has been seen to shrink on"),
            Reason::Held { held, window_ms } => {
                write!(
                    f,
                    "{held} were needed in the last {:.0} s",
                    seconds(window_ms)
                )
            }
            Reason::StepSmall { wanted } => {
                write!(f, "{wanted} would do, but so small a step isn't worth it")
            }
        }
    }
}

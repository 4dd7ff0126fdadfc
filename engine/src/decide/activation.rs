//! KEDA's step between nothing (or idle) and something (keda.md 2.2), as the
//! first part of the one loop that owns 0 to N.
//!
//! Comes in: whether any trigger is active or failing, and when one last was.
//! Goes out: a size to write, or that the size stays, or that HPA's arithmetic
//! goes on. Different from KEDA on purpose: a failing trigger never lets the
//! size fall to zero, a fallback of 0 replicas included, and an outage doesn't
//! use up the cooldown.

use crate::policy::Policy;
use crate::unit::Ms;

#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    pub policy: &'a Policy,
    pub current: u32,
    pub created_at: Ms,
    /// When a trigger was last active.
    pub last_active: Option<Ms>,
    pub now: Ms,
    /// Any trigger is above its activation threshold.
    pub active: bool,
    /// Any trigger fails, is too old to trust, or hasn't answered yet.
    pub failing: bool,
}

/// What becomes of the size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// This size, now.
    Size(u32),
    /// The size stays, HPA's arithmetic doesn't apply.
    Stay,
    /// HPA's arithmetic decides.
    Continue,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    pub write: Write,
    /// The last active time is now.
    pub active_until_now: bool,
    /// Of KEDA's condition `Active`; `None` leaves it as it was.
    pub condition: Option<Active>,
    /// How long the cooldown still runs, where it holds the size; at least 1 ms.
    pub cooling_ms: Option<u64>,
}

/// Reasons of KEDA's condition `Active`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Active {
    Active,
    NotActive,
    Cooldown,
}

impl Active {
    pub fn status(self) -> bool {
        self == Active::Active
    }

    pub fn code(self) -> &'static str {
        match self {
            Active::Active => "ScalerActive",
            Active::NotActive => "ScalerNotActive",
            Active::Cooldown => "ScalerCooldown",
        }
    }
}

/// One step by KEDA's table, first match wins.
pub fn step(at: &Situation<'_>) -> Step {
    let notes = &at.policy.annotations;
    if notes.paused || notes.paused_replicas.is_some() {
        return Step {
            write: Write::Stay,
            active_until_now: false,
            condition: None,
            cooling_ms: None,
        };
    }
    if at.active || notes.force_activation {
        active(at)
    } else {
        inactive(at)
    }
}

fn active(at: &Situation<'_>) -> Step {
    let min = at.policy.replicas_min;
    let asleep = at.current == 0 || (at.policy.replicas_idle.is_some() && at.current < min);
    let (write, awake) = match (asleep, at.policy.annotations.paused_scale_out) {
        (false, _) => (Write::Continue, true),
        (true, true) => (Write::Stay, false),
        (true, false) => (Write::Size(min.max(1)), true),
    };
    Step {
        write,
        active_until_now: awake,
        condition: Some(Active::Active),
        cooling_ms: None,
    }
}

fn inactive(at: &Situation<'_>) -> Step {
    let Policy {
        replicas_min: min,
        replicas_idle: idle,
        ..
    } = *at.policy;
    let rest = idle.unwrap_or(0);
    let (mut condition, mut cooling_ms) = (Active::NotActive, None);
    let may_rest = at.current > rest && at.policy.may_rest();
    let write = if at.failing {
        // Rows 5 and 6, extended to a fallback of 0 replicas.
        above(at.current, rest, idle)
    } else if may_rest && at.policy.annotations.paused_scale_in {
        Write::Continue
    } else if may_rest {
        cooling_ms = remaining(at);
        if cooling_ms.is_none() {
            Write::Size(rest)
        } else {
            condition = Active::Cooldown;
            Write::Continue
        }
    } else if idle.is_none() && at.current < min {
        Write::Size(min)
    } else {
        above(at.current, rest, idle)
    };
    Step {
        write,
        active_until_now: false,
        condition: Some(condition),
        cooling_ms,
    }
}

/// At rest the size stays; above it HPA's arithmetic goes on.
fn above(current: u32, rest: u32, idle: Option<u32>) -> Write {
    if current == 0 || (idle.is_some() && current <= rest) {
        Write::Stay
    } else {
        Write::Continue
    }
}

/// What is left of the cooldown; `None` once it has passed. A policy that has
/// never been active waits for the initial cooldown instead, counted from its
/// creation. A wait that ends now is not over (KEDA compares strictly).
fn remaining(at: &Situation<'_>) -> Option<u64> {
    let end = match at.last_active {
        Some(last) => last.plus(at.policy.cooldown_ms),
        None => at.created_at.plus(at.policy.initial_cooldown_ms),
    };
    (end >= at.now).then(|| end.since(at.now).max(1))
}

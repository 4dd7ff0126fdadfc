//! What a field means where the user left it out: KEDA's defaults for a policy,
//! HPA's for `behavior` and the controller, our own for the bands.

use super::{
    Annotations, Banded, Behavior, Controller, DOWN_WINDOW_MS, Name, Policy, Rate, RateKind, Rules,
    Select, Strategy, TOLERANCE_PPM, Target, Zero,
};

impl Default for Policy {
    fn default() -> Self {
        Policy {
            name: Name::default(),
            target: Target::default(),
            target_version: String::new(),
            replicas_min: 0,
            replicas_max: 100,
            replicas_idle: None,
            polling_interval_ms: 30_000,
            cooldown_ms: 300_000,
            initial_cooldown_ms: 0,
            triggers: Vec::new(),
            fallback: None,
            stale_after_ms: None,
            behavior: None,
            strategy: Strategy::default(),
            annotations: Annotations::default(),
            dry_run: false,
            zero: Zero::default(),
            controller: Controller::default(),
        }
    }
}

impl Default for Rules {
    fn default() -> Self {
        Rules {
            window_ms: None,
            select: Select::Max,
            rates: vec![Rate::percent(100)],
            tolerance_ppm: None,
        }
    }
}

impl Rules {
    /// HPA's default for the way up.
    pub fn up() -> Rules {
        let pods = Rate {
            kind: RateKind::Pods,
            value: 4,
            period_ms: 15_000,
        };
        Rules {
            window_ms: Some(0),
            rates: vec![pods, Rate::percent(100)],
            ..Rules::default()
        }
    }

    /// The longest period that a rate of this direction looks back.
    pub fn period_ms_max(&self) -> u64 {
        self.rates.iter().map(|r| r.period_ms).max().unwrap_or(0)
    }
}

impl Rate {
    fn percent(value: i32) -> Rate {
        Rate {
            kind: RateKind::Percent,
            value,
            period_ms: 15_000,
        }
    }
}

impl Default for Behavior {
    fn default() -> Self {
        Behavior {
            up: Rules::up(),
            down: Rules::default(),
        }
    }
}

impl Default for Banded {
    fn default() -> Self {
        Banded {
            high_percent: 80,
            high_aim_percent: 70,
            low_percent: 30,
            low_aim_percent: 50,
            step_up_percent: 50,
            step_down_percent: 30,
            cooldown_ms: 300_000,
        }
    }
}

impl Default for Controller {
    fn default() -> Self {
        Controller {
            down_window_ms: DOWN_WINDOW_MS,
            tolerance_up_ppm: TOLERANCE_PPM,
            tolerance_down_ppm: TOLERANCE_PPM,
            cpu_initialization_ms: 300_000,
            initial_readiness_ms: 30_000,
        }
    }
}

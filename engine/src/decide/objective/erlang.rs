//! How often work has to wait, and for how long, at a number of slots.
//!
//! Comes in: slots and the load offered to them in erlangs (arrival rate ×
//! service time). Goes out: probabilities, and the fewest slots that keep one
//! under a limit. Exact for small numbers, the square-root staffing limit for
//! large ones, a blend between, so that nothing jumps. Total: what isn't a
//! number counts as no load, and no answer is above [`SLOTS_MAX`].

/// Up to here C is exact.
pub const EXACT_SLOTS_MAX: u32 = 64;
/// From here on C is the limit alone, so that the cost stops growing.
pub const LIMIT_SLOTS_MIN: u32 = 128;
/// The largest answer: [`crate::policy::REPLICAS_MAX`] of 1,000 slots.
pub const SLOTS_MAX: u32 = 100_000_000;

/// What the work is held to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Aim {
    /// How long one piece of work keeps a slot, in seconds.
    pub service_s: f64,
    /// How long it may wait for one, in seconds.
    pub wait_s: f64,
    /// The part that may wait longer, between 0 and 1.
    pub miss: f64,
}

/// The fewest slots, as a real number of at least the load, at which no more
/// than `aim.miss` of the work waits longer than `aim.wait_s`: between two
/// whole numbers, where ln P crosses ln `miss` on a straight line. Real, so that
/// callers may add to it before they round up.
pub fn slots(load: f64, aim: &Aim) -> f64 {
    if !(load.is_finite() && load > 0.0) {
        return if load == f64::INFINITY {
            f64::from(SLOTS_MAX)
        } else {
            0.0
        };
    }
    if load >= f64::from(SLOTS_MAX) {
        return f64::from(SLOTS_MAX);
    }
    let miss = if aim.miss.is_nan() { 0.0 } else { aim.miss };
    let limit = miss.clamp(MISS_MIN, 1.0).ln();
    // Below the load the queue only grows, so the answer lies above it.
    let mut curve = Curve::at(load.floor() as u32, load);
    if curve.n >= LIMIT_SLOTS_MIN {
        return far(curve.n, load, aim, limit);
    }
    let mut below = curve.late(aim);
    while below > limit && curve.n < LIMIT_SLOTS_MIN {
        curve.next();
        let above = curve.late(aim);
        if above <= limit {
            return cross(curve.n - 1, below, above, limit).max(load);
        }
        below = above;
    }
    if below <= limit {
        return load;
    }
    far(curve.n, load, aim, limit)
}

/// [`slots`] for work that arrives in bursts. `peakedness` is the variance/mean
/// of the slots that the load would keep busy if there were no end of them: 1
/// where it comes by chance, and no less here. By Hayward's approximation `n`
/// slots at the load `a` make work wait as `n / z` slots do at `a / z`.
pub fn slots_peaked(load: f64, peakedness: f64, aim: &Aim) -> f64 {
    let z = peakedness.clamp(1.0, PEAKEDNESS_MAX);
    let z = if z.is_nan() { 1.0 } else { z };
    (slots(load / z, aim) * z).min(f64::from(SLOTS_MAX))
}

/// Burstier work than this is staffed as if it were this bursty.
const PEAKEDNESS_MAX: f64 = 100.0;

/// Rarer misses than this aren't told apart.
const MISS_MIN: f64 = 1e-9;

/// The answer among many slots, where C has a closed form: doubling, then
/// halving, on a falling curve.
fn far(from: u32, load: f64, aim: &Aim, limit: f64) -> f64 {
    let at = |n: u32| ln_late(n, load, corrected(f64::from(n), load), aim);
    let (mut low, mut step) = (from, 1_u32);
    if at(low) <= limit {
        return load;
    }
    while at(low.saturating_add(step)) > limit {
        low = low.saturating_add(step);
        step = step.saturating_mul(2);
        if low >= SLOTS_MAX {
            return f64::from(SLOTS_MAX);
        }
    }
    while step > 1 {
        step /= 2;
        if at(low.saturating_add(step)) > limit {
            low = low.saturating_add(step);
        }
    }
    cross(low, at(low), at(low.saturating_add(1)), limit).max(load)
}

/// Where the line from `below` at `n` to `above` at `n + 1` meets `limit`.
fn cross(n: u32, below: f64, above: f64, limit: f64) -> f64 {
    let part = (below - limit) / (below - above);
    f64::from(n) + part.clamp(0.0, 1.0)
}

/// Walks up the number of slots at one load, with Erlang's B at hand.
struct Curve {
    n: u32,
    load: f64,
    blocked: f64,
}

impl Curve {
    fn at(n: u32, load: f64) -> Curve {
        let mut curve = Curve {
            n: 0,
            load,
            blocked: 1.0,
        };
        if n >= LIMIT_SLOTS_MIN {
            curve.n = n;
            return curve;
        }
        while curve.n < n {
            curve.next();
        }
        curve
    }

    /// Erlang's recursion: `B(n) = a·B(n-1) / (n + a·B(n-1))`.
    fn next(&mut self) {
        self.n += 1;
        let carried = self.load * self.blocked;
        self.blocked = carried / (f64::from(self.n) + carried);
    }

    fn late(&self, aim: &Aim) -> f64 {
        ln_late(self.n, self.load, self.waits(), aim)
    }

    /// Erlang's C, and its limit the more the larger `n` is.
    fn waits(&self) -> f64 {
        let n = f64::from(self.n);
        if self.n >= LIMIT_SLOTS_MIN {
            return corrected(n, self.load);
        }
        let exact = delayed(n, self.load, self.blocked);
        if self.n <= EXACT_SLOTS_MAX {
            return exact;
        }
        let span = f64::from(LIMIT_SLOTS_MIN - EXACT_SLOTS_MAX);
        let part = f64::from(self.n - EXACT_SLOTS_MAX) / span;
        exact * (1.0 - part) + corrected(n, self.load) * part
    }
}

/// More service times than this may as well be for ever; kept finite, so that
/// nothing turns into "not a number".
const PATIENCE_MAX: f64 = 1e12;

/// ln(C·e^(-(n/S - λ)W)): logarithms, because the tail underflows.
fn ln_late(n: u32, load: f64, waits: f64, aim: &Aim) -> f64 {
    let spare = f64::from(n) - load;
    if spare <= 0.0 {
        return 0.0;
    }
    let patience = aim.wait_s / aim.service_s;
    let patience = if patience.is_nan() {
        0.0
    } else {
        patience.clamp(0.0, PATIENCE_MAX)
    };
    waits.max(f64::MIN_POSITIVE).ln() - spare * patience
}

/// From Erlang's B to his C.
fn delayed(n: f64, load: f64, blocked: f64) -> f64 {
    if load >= n {
        return 1.0;
    }
    n * blocked / (n - load * (1.0 - blocked))
}

/// Halfin and Whitt's limit of C, without the correction that [`slots`] uses:
/// `(1 + βΦ(β)/φ(β))^-1` with
/// `slots = load + β·√load`.
pub fn halfin_whitt(slots: f64, load: f64) -> f64 {
    if load <= 0.0 {
        return 0.0;
    }
    let beta = (slots - load) / load.sqrt();
    if beta <= 0.0 {
        return 1.0;
    }
    1.0 / (1.0 + beta * normal_ratio(beta))
}

/// The limit with the next term of its series (Janssen, van Leeuwaarden and
/// Zwart 2011): `(ρ + γ(Φ(α)/φ(α) + 2/(3√n)))^-1` with `γ = (1 - ρ)√n` and
/// `α = √(-2n(1 - ρ + ln ρ))`. At 64 slots within a thousandth of the exact C.
fn corrected(n: f64, load: f64) -> f64 {
    if load >= n {
        return 1.0;
    }
    if load <= 0.0 {
        return 0.0;
    }
    let used = load / n;
    let gamma = (1.0 - used) * n.sqrt();
    let alpha = (-2.0 * n * (1.0 - used + used.ln())).max(0.0).sqrt();
    1.0 / (used + gamma * (normal_ratio(alpha) + 2.0 / (3.0 * n.sqrt())))
}

/// Φ(x)/φ(x) for x ≥ 0.
fn normal_ratio(x: f64) -> f64 {
    // From here on Φ is 1 to the last digit, and the series below is long.
    const FAR: f64 = 8.5;
    // Beyond this φ is no longer a normal float.
    let density = (-0.5 * x * x).exp().max(f64::MIN_POSITIVE) / std::f64::consts::TAU.sqrt();
    if x > FAR {
        return 1.0 / density;
    }
    // Φ(x) = 1/2 + φ(x)·(x + x³/3 + x⁵/15 + …): all terms are positive, so
    // nothing cancels.
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term > sum * f64::EPSILON {
        odd += 2.0;
        term *= x * x / odd;
        sum += term;
    }
    0.5 / density + sum
}

#[cfg(test)]
mod tests;

//! A look ahead by one start time along the trend of the last minutes. It may
//! only raise the size, and only while it has been clearly better than "as
//! now" for this workload at this lead.

use super::signal::{SECONDS_MAX, Signal};
use super::staff::Situation;
use super::state::{Change, Forecast, Foretold, State};
use crate::unit::Ms;

/// The trend is the step between the means of two windows of this length.
const WINDOW_S: usize = SECONDS_MAX / 2;
/// Forecasts that were judged before one is used: half an hour of them.
const SCORED_MIN: u32 = 30;
/// The error may be at most 0.9 × the naive one's; errors are squared, so 0.81.
const BETTER_PERCENT: u64 = 81;
/// Of the errors so far, what is kept at each new one: a memory of 50.
const KEEP_PERCENT: u64 = 98;
/// One forecast a minute is judged, so that learning stays cheap.
const TELL_MS: u64 = 60_000;
/// An error above ten times the rate counts as ten.
const ERROR_MAX: f64 = 10.0;

/// The rate in `lead_s` if the trend goes on; `None` without two full windows.
fn ahead(signal: &Signal, lead_s: f64) -> Option<f64> {
    if signal.len() < 2 * WINDOW_S {
        return None;
    }
    let mean = |skipped: usize| {
        let mut sum = 0_u64;
        for second in signal.newest(SECONDS_MAX).skip(skipped).take(WINDOW_S) {
            sum = sum.saturating_add(second.arrivals_milli?);
        }
        Some(sum as f64 / 1_000.0 / WINDOW_S as f64)
    };
    let (older, newer) = (mean(0)?, mean(WINDOW_S)?);
    // The newer mean is as of half a window ago.
    let windows = 0.5 + lead_s / WINDOW_S as f64;
    Some((newer + (newer - older) * windows).max(0.0))
}

/// Judges what was foretold once its time has come, and foretells once a minute.
pub fn score(signal: &Signal, situation: &Situation, state: &State, now: Ms) -> Option<Change> {
    let (rate, lead_s) = (situation.per_s, situation.lead_s);
    let mut forecast = state.forecast;
    if let Some(told) = forecast.pending {
        if now < told.due {
            return None;
        }
        judge(&mut forecast, told, rate);
    }
    let judged = state.forecast.pending.is_some();
    if now.since(forecast.told_at) < TELL_MS {
        return judged.then_some(Change::Forecast(forecast));
    }
    // Where both say the same there is nothing to judge, as while idle.
    let news = |then: &f64| (then - rate).abs() * 1_000.0 >= 1.0;
    let Some(then) = ahead(signal, lead_s).filter(news) else {
        return judged.then_some(Change::Forecast(forecast));
    };
    forecast.told_at = now;
    let due = now.plus((lead_s * 1_000.0) as u64);
    // Where time ends nothing is due later, and would be judged by itself.
    forecast.pending = (due > now).then_some(Foretold {
        due,
        milli: (then * 1_000.0) as u64,
        naive_milli: (rate * 1_000.0) as u64,
    });
    Some(Change::Forecast(forecast))
}

fn judge(forecast: &mut Forecast, told: Foretold, came_per_s: f64) {
    let came = came_per_s * 1_000.0;
    let squared = |milli: u64| {
        let off = (milli as f64 - came) / came.max(1.0);
        let off = off.clamp(-ERROR_MAX, ERROR_MAX) * 1_000.0;
        (off * off) as u64
    };
    let kept = |error: u64| (error / 100).saturating_mul(KEEP_PERCENT);
    forecast.error = kept(forecast.error).saturating_add(squared(told.milli));
    forecast.naive_error = kept(forecast.naive_error).saturating_add(squared(told.naive_milli));
    forecast.scored = forecast.scored.saturating_add(1).min(SCORED_MIN);
    forecast.pending = None;
}

/// The rate to be ready for, where the forecast has earned a say.
pub fn floor(signal: &Signal, lead_s: f64, state: &State) -> Option<f64> {
    let Forecast {
        error,
        naive_error,
        scored,
        ..
    } = state.forecast;
    let better = error.saturating_mul(100) < naive_error.saturating_mul(BETTER_PERCENT);
    if scored < SCORED_MIN || !better {
        return None;
    }
    ahead(signal, lead_s)
}

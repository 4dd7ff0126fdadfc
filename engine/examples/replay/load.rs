//! Arrival traces and the kinds of work that they stand for. Comes in: a CSV
//! file `t_seconds,requests_per_second`, or the name of a made-up shape. Goes
//! out: arrivals for every second, drawn once for each seed and shared by all
//! policies.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::random::Random;

/// What one request costs and what its sender puts up with.
#[derive(Debug, Clone, Copy)]
pub struct Profile {
    pub name: &'static str,
    pub service_s: f64,
    /// Requests that one replica serves at a time.
    pub slots: u32,
    pub start_median_s: f64,
    pub start_sigma: f64,
    pub wait_s: f64,
    pub timeout_s: f64,
    pub min: u32,
}

pub const PROFILES: [Profile; 5] = [
    profile("web", [0.04, 4.0, 10.0, 0.35, 0.25, 5.0, 2.0]),
    profile("webS", [0.1, 2.0, 10.0, 0.35, 0.25, 5.0, 2.0]),
    profile("job", [20.0, 1.0, 15.0, 0.35, 10.0, 600.0, 1.0]),
    profile("func", [1.0, 1.0, 3.0, 0.35, 2.0, 60.0, 0.0]),
    profile("llm", [8.0, 8.0, 90.0, 0.25, 2.0, 60.0, 1.0]),
];

/// The columns of the profile table, in its order.
const fn profile(name: &'static str, row: [f64; 7]) -> Profile {
    let [
        service_s,
        slots,
        start_median_s,
        start_sigma,
        wait_s,
        timeout_s,
        min,
    ] = row;
    Profile {
        name,
        service_s,
        slots: slots as u32,
        start_median_s,
        start_sigma,
        wait_s,
        timeout_s,
        min: min as u32,
    }
}

/// How the study treats a trace: by the start of the file's name, the profile,
/// what rates are divided by, the hours that count, and variance/mean.
const KNOWN: [(&str, &str, f64, f64, f64); 7] = [
    ("wc98_jun08_jun13", "web", 1.0, f64::INFINITY, 1.0),
    ("nasa_jul10_jul14", "job", 1.0, f64::INFINITY, 1.0),
    ("azure_llm_conv_2023", "llm", 1.0, f64::INFINITY, 1.0),
    ("azfunc2019_queue_batch", "func", 1.0, f64::INFINITY, 1.0),
    ("servegen_msmall_c5_week", "llm", 30.0, 96.0, 1.25),
    ("nab_elb_8c0756", "job", 1.0, 96.0, 1.0),
    ("autothrottle_noisy", "webS", 1.0, f64::INFINITY, 1.0),
];

/// Bins this long are interpolated linearly between their middles.
const INTERPOLATED_STEP_S: u32 = 300;
/// Longer traces are cut here.
const SECONDS_MAX: usize = 30 * 24 * 3600;

/// One workload's demand.
#[derive(Debug, Clone)]
pub struct Load {
    pub name: String,
    pub profile: Profile,
    step_s: u32,
    rates: Vec<f64>,
    /// Variance/mean of the arrivals of a second.
    dispersion: f64,
    seconds: usize,
}

pub fn profile_named(name: &str) -> Result<Profile> {
    let known = PROFILES.iter().find(|profile| profile.name == name);
    known.copied().with_context(|| {
        let names: Vec<&str> = PROFILES.iter().map(|profile| profile.name).collect();
        format!("no profile {name}; there are {}", names.join(", "))
    })
}

impl Load {
    /// Reads a trace. One that the study doesn't know gets `fallback`.
    pub fn read(path: &Path, fallback: Profile) -> Result<Load> {
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the trace {}", path.display()))?;
        let mut rows = Vec::new();
        for (index, line) in text.lines().enumerate() {
            // The columns' names.
            if index == 0 && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
                continue;
            }
            let row = parse(line).with_context(|| {
                format!("{}:{}: want `seconds,rate`", path.display(), index + 1)
            })?;
            rows.push(row);
        }
        let step_s = step_s(&rows).with_context(|| {
            format!(
                "{}: needs two rows or more, whole seconds apart, all as far",
                path.display()
            )
        })?;
        let known = KNOWN.iter().find(|(start, ..)| name.starts_with(start));
        let (profile, divisor, hours, dispersion) = match known {
            Some((_, profile, divisor, hours, dispersion)) => {
                (profile_named(profile)?, *divisor, *hours, *dispersion)
            }
            None => (fallback, 1.0, f64::INFINITY, 1.0),
        };
        let rates: Vec<f64> = rows.iter().map(|(_, rate)| rate / divisor).collect();
        let seconds = (rates.len() * step_s as usize)
            .min((hours * 3600.0) as usize)
            .min(SECONDS_MAX);
        Ok(Load {
            name: name.into_owned(),
            profile,
            step_s,
            rates,
            dispersion,
            seconds,
        })
    }

    /// A load from a rate for each second.
    pub fn drawn(name: String, profile: Profile, step_s: u32, rates: Vec<f64>) -> Load {
        Load {
            name,
            profile,
            step_s,
            seconds: rates.len() * step_s as usize,
            rates,
            dispersion: 1.0,
        }
    }

    pub fn arrivals(&self, seed: u64) -> Vec<u32> {
        let mut random = Random::new(seed, 1);
        let exact = self.step_s == 1 && self.rates.iter().all(|rate| rate.fract() == 0.0);
        (0..self.seconds)
            .map(|second| {
                let rate = self.rate(second);
                if exact {
                    rate as u32
                } else {
                    random.count(rate, self.dispersion)
                }
            })
            .collect()
    }

    pub fn rate(&self, second: usize) -> f64 {
        let step = self.step_s as usize;
        if self.step_s < INTERPOLATED_STEP_S {
            return self.rates[(second / step).min(self.rates.len() - 1)];
        }
        let place = (second as f64 + 0.5) / step as f64 - 0.5;
        let left = (place.floor().max(0.0) as usize).min(self.rates.len() - 1);
        let right = (left + 1).min(self.rates.len() - 1);
        let part = (place - left as f64).clamp(0.0, 1.0);
        self.rates[left] * (1.0 - part) + self.rates[right] * part
    }
}

/// The time from each row to the next, in seconds; `None` where it isn't the
/// same whole number throughout.
fn step_s(rows: &[(f64, f64)]) -> Option<u32> {
    let step = rows.get(1)?.0 - rows[0].0;
    let even = |pair: &[(f64, f64)]| (pair[1].0 - pair[0].0 - step).abs() < 1e-6;
    let sound = (1.0..=86_400.0).contains(&step) && step.fract() == 0.0;
    (sound && rows.windows(2).all(even)).then_some(step as u32)
}

fn parse(line: &str) -> Result<(f64, f64)> {
    let (second, rate) = line.split_once(',').context("no comma")?;
    let (second, rate): (f64, f64) = (second.trim().parse()?, rate.trim().parse()?);
    if !(second.is_finite() && rate.is_finite() && rate >= 0.0) {
        bail!("not a finite rate from 0 up");
    }
    Ok((second, rate))
}

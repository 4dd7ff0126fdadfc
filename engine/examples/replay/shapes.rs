//! Made-up loads, so that nothing is judged on recorded traces alone. Each
//! shape comes in every profile, at about ten replicas' worth of work.

use std::f64::consts::TAU;

use crate::load::{Load, PROFILES, Profile};

type Shape = fn(f64) -> f64;

/// Name, hours, and the load at a time in hours, as a multiple of the mean.
const SHAPES: [(&str, f64, Shape); 7] = [
    ("steady", 6.0, |_| 1.0),
    ("diurnal", 48.0, |hour| {
        1.0 - 0.7 * (TAU * hour / 24.0).cos()
    }),
    ("flash", 6.0, flash),
    ("onoff", 8.0, |hour| {
        if (hour * 3.0).rem_euclid(1.0) < 0.5 {
            1.9
        } else {
            0.1
        }
    }),
    ("ramp", 4.0, |hour| 0.3 + hour * 0.5),
    ("steps", 8.0, |hour| [1.0, 2.0, 0.5, 1.5][hour as usize % 4]),
    ("sparse", 24.0, |_| 0.02),
];

/// Six times the load within two minutes, gone after an hour.
fn flash(hour: f64) -> f64 {
    let since = hour - 2.0;
    let peak = 5.0;
    let rise_h = 2.0 / 60.0;
    if since < 0.0 {
        1.0
    } else if since < rise_h {
        1.0 + peak * since / rise_h
    } else {
        1.0 + peak * (-(since - rise_h) * 3.0).exp()
    }
}

const STEP_S: u32 = 10;
const REPLICAS: f64 = 10.0;
const USED: f64 = 0.7;

pub fn all() -> Vec<Load> {
    let loads = PROFILES
        .iter()
        .flat_map(|&profile| SHAPES.map(|shape| load(profile, shape)));
    loads.collect()
}

fn load(profile: Profile, (name, hours, at): (&str, f64, Shape)) -> Load {
    let mean = REPLICAS * USED * f64::from(profile.slots) / profile.service_s;
    let steps = (hours * 3_600.0) as u32 / STEP_S;
    let rates = (0..steps).map(|step| mean * at(f64::from(step * STEP_S) / 3_600.0));
    Load::drawn(
        format!("{name}-{}", profile.name),
        profile,
        STEP_S,
        rates.collect(),
    )
}

//! A small seeded source of random numbers, so that a replay is a function of
//! its seed on every machine. Comes in: a seed. Goes out: the draws that the
//! queue model needs. Not for secrets.

/// `SplitMix64`: passes the usual test batteries, and any seed is a good one.
#[derive(Debug, Clone)]
pub struct Random(u64);

/// Above this mean a Poisson draw is a rounded normal one; the error of its
/// tail is then far below the noise of five seeds.
const POISSON_EXACT_MAX: f64 = 64.0;

impl Random {
    /// `stream` keeps concerns apart: one more draw in one shifts nothing in another.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (stream << 32));
        random.bits();
        random
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in (0, 1], so that its logarithm is finite.
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    pub fn lognormal(&mut self, median: f64, sigma: f64) -> f64 {
        median * (sigma * self.normal()).exp()
    }

    pub fn poisson(&mut self, mean: f64) -> u32 {
        if mean <= 0.0 {
            return 0;
        }
        if mean > POISSON_EXACT_MAX {
            return (mean + mean.sqrt() * self.normal()).round().max(0.0) as u32;
        }
        let floor = (-mean).exp();
        let mut product = self.unit();
        let mut count = 0;
        while product > floor {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// A count with the given mean and variance/mean: Poisson at 1, negative
    /// binomial (Poisson around a gamma-distributed mean) above.
    pub fn count(&mut self, mean: f64, dispersion: f64) -> u32 {
        if mean <= 0.0 || dispersion <= 1.0 {
            return self.poisson(mean);
        }
        let scale = dispersion - 1.0;
        let around = self.gamma(mean / scale) * scale;
        self.poisson(around)
    }

    /// How many of `trials` succeed; jumps from success to success.
    pub fn binomial(&mut self, trials: u32, chance: f64) -> u32 {
        if chance >= 1.0 {
            return trials;
        }
        let miss = (1.0 - chance).ln();
        let mut successes = 0;
        let mut at = 0_u64;
        loop {
            at += (self.unit().ln() / miss) as u64 + 1;
            if at > u64::from(trials) {
                return successes;
            }
            successes += 1;
        }
    }

    /// Marsaglia and Tsang's method, unit scale.
    fn gamma(&mut self, shape: f64) -> f64 {
        if shape < 1.0 {
            let boost = self.unit().powf(1.0 / shape);
            return self.gamma(shape + 1.0) * boost;
        }
        let d = shape - 1.0 / 3.0;
        let c = 1.0 / (9.0 * d).sqrt();
        loop {
            let x = self.normal();
            let v = (1.0 + c * x).powi(3);
            if v > 0.0 && self.unit().ln() < 0.5 * x * x + d - d * v + d * v.ln() {
                return d * v;
            }
        }
    }
}

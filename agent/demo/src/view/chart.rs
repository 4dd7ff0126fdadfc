//! A row of bars, one character a point.

/// From nothing to full.
const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The last `width` of `values`, each as a bar of up to `full`. A value above 0
/// shows at least the lowest bar, one at or above `full` the highest.
pub fn bars(values: &[u64], full: u64, width: usize) -> String {
    let steps = BARS.len() as u64 - 1;
    let full = full.max(1);
    let bar = |value: &u64| BARS[(value.min(&full) * steps).div_ceil(full) as usize];
    values[values.len().saturating_sub(width)..]
        .iter()
        .map(bar)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_high_as_its_value() {
        assert_eq!(bars(&[0, 1, 4, 8, 9], 8, 10), " ▁▄██");
        assert_eq!(bars(&[1, 2, 3], 3, 2), "▆█", "the newest stay");
        assert_eq!(
            bars(&[0, 7], 0, 4),
            " █",
            "a chart of nothing has a scale too"
        );
        assert_eq!(bars(&[u64::MAX], 1_000, 4), "█");
    }
}

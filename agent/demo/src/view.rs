//! What the demo shows while it runs, as text: a frame for a terminal, or one
//! line a second without one.
//!
//! Comes in: [`State`]. Goes out: text. Prints nothing itself, reads no clock
//! and no terminal.

pub mod chart;
pub mod frame;
pub mod screen;

use std::collections::VecDeque;
use std::fmt::Write as _;

/// One point a second; older ones leave the charts.
const POINTS_MAX: usize = 600;
/// Older events leave the view.
const EVENTS_MAX: usize = 100;

/// All that is shown.
#[derive(Debug, Clone, Default)]
pub struct State {
    pub elapsed_s: u64,
    pub duration_s: u64,
    /// The charts' points, one a second, oldest first.
    pub points: VecDeque<Point>,
    pub done: u64,
    pub leader: Option<String>,
    pub term: u64,
    pub agents: Vec<Agent>,
    /// What happened, oldest first.
    pub events: VecDeque<Event>,
    /// How many events there ever were.
    pub happened: usize,
}

/// One second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Point {
    /// Jobs offered in this second.
    pub arrivals: u64,
    /// Jobs that no worker holds.
    pub waiting: u64,
    /// The size that the log granted; `None` while no agent says.
    pub wanted: Option<u32>,
    /// Workers in the process table.
    pub running: u32,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Agent {
    pub name: String,
    /// `None` while it is dead.
    pub usage: Option<Usage>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// Percent of one core.
    pub cpu_percent: f64,
    pub rss_mib: f64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub at_s: u64,
    /// One sentence.
    pub text: String,
}

impl State {
    pub fn point(&mut self, point: Point) {
        self.points.push_back(point);
        if self.points.len() > POINTS_MAX {
            self.points.pop_front();
        }
    }

    pub fn happened(&mut self, text: impl Into<String>) {
        self.events.push_back(Event {
            at_s: self.elapsed_s,
            text: text.into(),
        });
        self.happened += 1;
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// How many of the kept events came after the first `told` ones.
    fn untold(&self, told: usize) -> usize {
        (self.happened - told).min(self.events.len())
    }

    fn latest(&self) -> Point {
        self.points.back().copied().unwrap_or_default()
    }
}

/// The state in one line.
pub fn line(state: &State) -> String {
    let Point {
        arrivals,
        waiting,
        wanted,
        running,
    } = state.latest();
    let wanted = wanted.map_or_else(|| "?".into(), |wanted| wanted.to_string());
    let leader = state.leader.as_deref().unwrap_or("nobody");
    let mut line = format!(
        "{:>3} s  arrivals {arrivals:>3}/s  queue {waiting:>4}  workers {running:>2} of {wanted:>2}  \
         leader {leader}, term {}  agents",
        state.elapsed_s, state.term
    );
    for agent in &state.agents {
        // Writing to a string can't fail.
        let _ = match agent.usage {
            Some(usage) => write!(line, " {:.1}%/{:.0}MiB", usage.cpu_percent, usage.rss_mib),
            None => write!(line, " dead"),
        };
    }
    line
}

/// An event in one line.
pub fn event(event: &Event) -> String {
    format!("{:>3} s  {}", event.at_s, event.text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_a_second_brought() {
        insta::assert_snapshot!(
            line(&frame::tests::middle()),
            @" 46 s  arrivals  85/s  queue   75  workers 10 of 12  leader agent-3, term 5  agents dead 1.2%/14MiB 10.5%/14MiB"
        );
        insta::assert_snapshot!(
            line(&State::default()),
            @"  0 s  arrivals   0/s  queue    0  workers  0 of  ?  leader nobody, term 0  agents"
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut state = State::default();
        for _ in 0..POINTS_MAX + 5 {
            state.point(Point::default());
            state.happened("x");
        }
        assert_eq!(
            (state.points.len(), state.events.len()),
            (POINTS_MAX, EVENTS_MAX)
        );
    }
}

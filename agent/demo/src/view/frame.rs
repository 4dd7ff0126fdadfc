//! The picture for a terminal: charts, agents, and what just happened.

use std::fmt::Write as _;

use super::chart::bars;
use super::{Agent, Point, State};

/// A terminal narrower or lower than this gets plain lines.
pub const COLUMNS_MIN: usize = 50;
pub const ROWS_MIN: usize = 16;
/// Wider charts would be harder to read, not easier.
const CHART_MAX: usize = 90;
/// Charts begin after the label and the number.
const CHART_FROM: usize = 17;
/// Lines above the events: title, charts and the blanks between them.
const HEAD_LINES: usize = 8;

/// How text may be set off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// As `NO_COLOR` asks for.
    None,
    Ansi,
}

impl Paint {
    fn with(self, code: &str, text: &str) -> String {
        match self {
            Paint::None => text.to_owned(),
            Paint::Ansi => format!("\x1b[{code}m{text}\x1b[0m"),
        }
    }
}

const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const BLUE: &str = "34";
const YELLOW: &str = "33";
const GREEN: &str = "32";
const CYAN: &str = "36";

/// At most `rows` lines of at most `columns` characters, colours not counted.
pub fn frame(state: &State, columns: usize, rows: usize, paint: Paint) -> String {
    let columns = columns.max(COLUMNS_MIN);
    let mut text = head(state, columns, paint);
    // Both are held against the larger, so that their bars compare.
    let workers = peak(state, wanted).max(peak(state, running));
    let rows_of = [
        Row {
            label: "arrivals/s",
            colour: BLUE,
            of: arrivals,
            full: peak(state, arrivals),
        },
        Row {
            label: "waiting",
            colour: YELLOW,
            of: waiting,
            full: peak(state, waiting),
        },
        Row {
            label: "wanted",
            colour: CYAN,
            of: wanted,
            full: workers,
        },
        Row {
            label: "running",
            colour: GREEN,
            of: running,
            full: workers,
        },
    ];
    for row in rows_of {
        let values: Vec<u64> = state.points.iter().map(row.of).collect();
        let width = (columns - CHART_FROM).min(CHART_MAX);
        let now = values.last().copied().unwrap_or(0);
        let chart = paint.with(row.colour, &bars(&values, row.full, width));
        // Writing to a string can't fail, here and below.
        let _ = writeln!(text, "{:<10} {now:>4}  {chart}", row.label);
    }
    text.push('\n');
    for agent in &state.agents {
        let _ = writeln!(
            text,
            "{}",
            agent_line(agent, state.leader.as_deref(), paint)
        );
    }
    text.push('\n');
    let left = rows.saturating_sub(HEAD_LINES + state.agents.len());
    for event in state
        .events
        .iter()
        .skip(state.events.len().saturating_sub(left))
    {
        let line: String = super::event(event).chars().take(columns).collect();
        let (at, what) = line.split_at(line.len().min(7));
        let _ = writeln!(text, "{}{what}", paint.with(DIM, at));
    }
    text
}

/// One chart.
struct Row {
    label: &'static str,
    colour: &'static str,
    of: fn(&Point) -> u64,
    /// The value of a full bar.
    full: u64,
}

fn arrivals(point: &Point) -> u64 {
    point.arrivals
}

fn waiting(point: &Point) -> u64 {
    point.waiting
}

fn wanted(point: &Point) -> u64 {
    point.wanted.unwrap_or(0).into()
}

fn running(point: &Point) -> u64 {
    point.running.into()
}

fn peak(state: &State, of: fn(&Point) -> u64) -> u64 {
    state.points.iter().map(of).max().unwrap_or(0)
}

fn head(state: &State, columns: usize, paint: Paint) -> String {
    let leader = state.leader.as_deref().map_or_else(
        || String::from("no leader"),
        |leader| format!("{leader} leads in term {}", state.term),
    );
    let jobs = format!("{} jobs done", state.done);
    let of = format!("{} of {} s", state.elapsed_s, state.duration_s);
    let rest: String = format!("   {of}   {leader}   {jobs}")
        .chars()
        .take(columns - 13)
        .collect();
    format!("{}{rest}\n\n", paint.with(BOLD, "starling demo"))
}

fn agent_line(agent: &Agent, leader: Option<&str>, paint: Paint) -> String {
    let name = &agent.name;
    match agent.usage {
        None => format!("{name:<10} {}", paint.with(RED, "dead")),
        Some(usage) => {
            let leads = if leader == Some(name) { "  leads" } else { "" };
            let (cpu, rss) = (usage.cpu_percent, usage.rss_mib);
            format!(
                "{name:<10} {cpu:>4.1} % of a core {rss:>6.1} MiB{}",
                paint.with(BOLD, leads)
            )
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn agent(name: &str, usage: Option<(f64, f64)>) -> Agent {
        let usage = usage.map(|(cpu_percent, rss_mib)| super::super::Usage {
            cpu_percent,
            rss_mib,
        });
        Agent {
            name: name.into(),
            usage,
        }
    }

    /// A demo's middle, just after the leader died.
    pub fn middle() -> State {
        let mut state = State {
            duration_s: 90,
            ..State::default()
        };
        state.elapsed_s = 44;
        state.happened("agent-1 decides: worker from 5 to 8, because 46 jobs wait");
        state.elapsed_s = 46;
        state.happened("agent-1, the leader, was killed with SIGKILL");
        state.happened("agent-3 leads in term 5");
        for second in 0..46_u32 {
            state.point(Point {
                arrivals: u64::from(second * second % 97),
                waiting: u64::from(second.saturating_sub(20) * 3),
                wanted: (second > 2).then_some(1 + second / 4),
                running: 1 + second / 5,
            });
        }
        state.done = 812;
        (state.leader, state.term) = (Some("agent-3".into()), 5);
        state.agents = vec![
            agent("agent-1", None),
            agent("agent-2", Some((1.24, 14.16))),
            agent("agent-3", Some((10.5, 14.0))),
        ];
        state
    }

    #[test]
    fn a_frame_shows_load_workers_agents_and_what_happened() {
        insta::assert_snapshot!(frame(&middle(), 80, 24, Paint::None));
    }

    #[test]
    fn a_frame_before_anything_is_known_has_no_holes() {
        insta::assert_snapshot!(frame(&State::default(), 80, 24, Paint::None));
    }

    #[test]
    fn a_small_terminal_keeps_the_latest_events_and_cuts_lines() {
        let text = frame(&middle(), COLUMNS_MIN, 12, Paint::None);
        assert!(text.lines().count() <= 12, "{text}");
        assert!(
            text.lines().all(|line| line.chars().count() <= COLUMNS_MIN),
            "{text}"
        );
        assert!(
            text.contains("agent-3 leads in term 5") && !text.contains("46 jobs wait"),
            "{text}"
        );
    }

    #[test]
    fn colours_change_nothing_but_the_colours() {
        let painted = frame(&middle(), 80, 24, Paint::Ansi);
        let mut plain = painted.clone();
        for code in [BOLD, DIM, RED, BLUE, YELLOW, GREEN, CYAN, "0"] {
            plain = plain.replace(&format!("\x1b[{code}m"), "");
        }
        assert_ne!(painted, plain);
        assert_eq!(plain, frame(&middle(), 80, 24, Paint::None));
    }
}

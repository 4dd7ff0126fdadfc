//! Measures how old readings get while agents ask many triggers, some of them at servers
//! that never answer, and what the agents use for it.
//!
//! Each trigger is a policy's only one and asks for a path of its own, so no two share an
//! answer. The answer is always 0, and no worker ever runs: what is measured is asking
//! alone. The servers are in this process and note when they were asked. A reading is
//! oldest just before the next one comes, so the times between two questions for the same
//! path are the largest ages that its readings reached.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::Documents;

use crate::questions::{self, Answering, Hanging};
use crate::times::Times;
use crate::usage::{self, Usage};

/// Triggers at servers that hang share so many of these.
const HANGING_SERVERS_MAX: usize = 50;
/// For all policies to be known and asked for. An agent takes up 100 policies a second at
/// most, so 10,000 need 100 s.
const ASKED_WITHIN: Duration = Duration::from_mins(5);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// Taking up policies, and finding out which servers hang, isn't what is measured.
const CALM: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Load {
    pub agents: usize,
    pub triggers: usize,
    /// Of the triggers, 0 to 1: those at servers that never answer.
    pub hanging: f64,
    /// The policies' `pollingInterval`.
    pub interval_s: u64,
}

#[derive(Debug, Clone, Serialize)]
pub struct Result {
    pub load: Load,
    pub seconds: u64,
    /// From the first agent's start until all had been asked.
    pub asked_after_ms: u64,
    /// At both sorts of servers together.
    pub questions_per_second: f64,
    pub answered: Answered,
    pub hanging: Asked,
    pub hanging_servers: usize,
    pub agents: Vec<Usage>,
}

/// Triggers whose server answers.
#[derive(Debug, Clone, Serialize)]
pub struct Answered {
    pub asked: Asked,
    /// That were opened for the questions.
    pub connections: usize,
    /// Of a trigger's newest reading, just before the next question came.
    pub age: Times,
    /// The largest age of a trigger's newest reading at the end.
    pub oldest_ms: u64,
}

/// How often triggers were asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Asked {
    pub triggers: usize,
    pub questions: usize,
    /// Questions of the trigger that was asked least, and of the one asked most.
    pub fewest: usize,
    pub most: usize,
}

/// From and to when was watched; a question at the end comes too late.
#[derive(Debug, Clone, Copy)]
struct Window {
    from: Instant,
    to: Instant,
}

/// Watches for `seconds`; `told` hears what is waited for.
pub async fn run(
    binary: &Path,
    load: Load,
    seconds: u64,
    mut told: impl FnMut(&str),
) -> anyhow::Result<Result> {
    let hanging = (load.triggers as f64 * load.hanging).round() as usize;
    let hanging = hanging.min(load.triggers);
    let answers = Answering::start(load.triggers - hanging).await?;
    let hangs = Hanging::start(hanging, hanging.min(HANGING_SERVERS_MAX)).await?;
    let mut cluster = Cluster::new(binary, load.agents)?;
    let start = Instant::now();
    let documents = documents(load, &urls(load.triggers, hanging, &answers, &hangs));
    let observer = cluster.start(&documents).await?;
    told(&format!(
        "{} agents run; waiting until {} triggers have been asked, {} s at most",
        load.agents,
        load.triggers,
        ASKED_WITHIN.as_secs()
    ));
    asked(&mut cluster, &answers, &hangs).await?;
    let asked_after = start.elapsed();
    tokio::time::sleep(CALM).await;
    told(&format!(
        "all had been asked after {} s; watching for {seconds} s",
        asked_after.as_secs()
    ));
    let (from, connections) = (Instant::now(), answers.connections());
    let agents = usage::watch(&mut cluster, &observer, seconds).await?;
    let to = Instant::now();
    let connections = answers.connections() - connections;
    cluster.stop_all().await;
    let window = Window { from, to };
    let answered = answered(&answers.times(), window, connections);
    let hanging = Asked::of(&hangs.times(), window);
    let questions = answered.asked.questions + hanging.questions;
    Ok(Result {
        load,
        seconds,
        asked_after_ms: asked_after.as_millis() as u64,
        questions_per_second: questions as f64 / (to - from).as_secs_f64(),
        answered,
        hanging,
        hanging_servers: hangs.servers(),
        agents,
    })
}

/// Waits until every trigger whose server answers has been asked, and one at each server
/// that hangs: the others there may wait for as long as it does.
async fn asked(cluster: &mut Cluster, answers: &Answering, hangs: &Hanging) -> anyhow::Result<()> {
    let until = Instant::now() + ASKED_WITHIN;
    loop {
        cluster.check()?;
        let (asked, servers) = (answers.asked(), hangs.servers_asked());
        if asked == answers.paths() && servers == hangs.servers() {
            return Ok(());
        }
        ensure!(
            Instant::now() < until,
            "after {} s {asked} of {} triggers have been asked whose server answers, and {servers} \
             of {} servers that hang",
            ASKED_WITHIN.as_secs(),
            answers.paths(),
            hangs.servers()
        );
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// Of each trigger. Those that hang are spread evenly among all.
fn urls(triggers: usize, hanging: usize, answers: &Answering, hangs: &Hanging) -> Vec<String> {
    let hanging_before = |trigger| trigger * hanging / triggers;
    let url = |trigger| {
        let before = hanging_before(trigger);
        if hanging_before(trigger + 1) > before {
            hangs.url(before)
        } else {
            answers.url(trigger - before)
        }
    };
    (0..triggers).map(url).collect()
}

/// No machine can run the policies' targets, and none is asked to: 0 wants no replica.
fn documents(load: Load, urls: &[String]) -> Documents {
    let policy = |(number, url)| {
        format!(
            "---
apiVersion: starling.sh/v1alpha1
kind: ScalingPolicy
metadata: {{name: p{number}}}
spec:
  scaleTargetRef: {{kind: Process, name: p{number}}}
  minReplicaCount: 0
  maxReplicaCount: 2
  pollingInterval: {}
  triggers:
    - type: metrics-api
      metadata: {{url: \"{url}\", valueLocation: waiting, targetValue: \"8\"}}
",
            load.interval_s
        )
    };
    Documents {
        each: String::new(),
        first: urls.iter().enumerate().map(policy).collect(),
    }
}

fn answered(times: &questions::Times, window: Window, connections: usize) -> Answered {
    let ages: Vec<Duration> = times.iter().flat_map(|it| ages(it, window)).collect();
    let oldest = times.iter().map(|it| age_at_end(it, window)).max();
    Answered {
        asked: Asked::of(times, window),
        connections,
        age: Times::of(&ages),
        oldest_ms: oldest.unwrap_or_default().as_millis() as u64,
    }
}

/// How long before each question of a window the one before it was, which may be from
/// before the window: its reading was the newest in it all the same.
fn ages(times: &[Instant], window: Window) -> impl Iterator<Item = Duration> {
    let pairs = times.windows(2);
    let pairs = pairs.filter(move |pair| window.holds(pair[1]));
    pairs.map(|pair| pair[1] - pair[0])
}

/// How old the newest reading is when the window ends. One that was never asked for has
/// none at all, and is as old as the window is long.
fn age_at_end(times: &[Instant], window: Window) -> Duration {
    let newest = times.iter().rev().find(|at| **at < window.to);
    window.to - *newest.unwrap_or(&window.from)
}

impl Window {
    fn holds(self, at: Instant) -> bool {
        (self.from..self.to).contains(&at)
    }
}

impl Asked {
    /// All zero if there are no triggers.
    fn of(times: &questions::Times, window: Window) -> Asked {
        let questions = |times: &Vec<Instant>| times.iter().filter(|at| window.holds(**at)).count();
        let counts: Vec<usize> = times.iter().map(questions).collect();
        Asked {
            triggers: counts.len(),
            questions: counts.iter().sum(),
            fewest: counts.iter().min().copied().unwrap_or(0),
            most: counts.iter().max().copied().unwrap_or(0),
        }
    }
}

impl fmt::Display for Result {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Answered { asked, age, .. } = &self.answered;
        write!(
            f,
            "{} triggers asked every {} s for {} s, {:.0} questions per second in all:\n  \
             {} whose server answers: {asked}, over {} new connections\n    \
             age of a reading just before the next question: {age}; at the end {} ms at most\n  \
             {} at {} servers that hang: {}",
            self.load.triggers,
            self.load.interval_s,
            self.seconds,
            self.questions_per_second,
            asked.triggers,
            self.answered.connections,
            self.answered.oldest_ms,
            self.hanging.triggers,
            self.hanging_servers,
            self.hanging
        )?;
        for agent in &self.agents {
            write!(f, "\n  {agent}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (questions, fewest, most) = (self.questions, self.fewest, self.most);
        write!(f, "{questions} questions, {fewest} to {most} each")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Watched from second 10 to second 20 after the returned moment.
    fn window() -> (Instant, Window) {
        let zero = Instant::now();
        let after = |seconds| zero + Duration::from_secs(seconds);
        let window = Window {
            from: after(10),
            to: after(20),
        };
        (zero, window)
    }

    fn times(zero: Instant, seconds: &[u64]) -> Vec<Instant> {
        let after = |seconds: &u64| zero + Duration::from_secs(*seconds);
        seconds.iter().map(after).collect()
    }

    #[test]
    fn a_reading_ages_from_its_question_to_the_next_one_in_the_window() {
        let (zero, window) = window();
        let ages = |seconds: &[u64]| {
            let times = times(zero, seconds);
            let ages = ages(&times, window);
            ages.map(|age| age.as_secs()).collect::<Vec<u64>>()
        };
        assert_eq!(ages(&[10, 13, 18, 19]), [3, 5, 1]);
        // The reading from before was still the newest when the window began.
        assert_eq!(ages(&[1, 8, 13, 19, 20, 25]), [5, 6]);
        assert_eq!(ages(&[12]), [0; 0]);
        assert_eq!(ages(&[]), [0; 0]);
    }

    #[test]
    fn a_trigger_that_is_not_asked_again_shows_at_the_end() {
        let (zero, window) = window();
        let age = |seconds: &[u64]| age_at_end(&times(zero, seconds), window).as_secs();
        assert_eq!(age(&[13, 18]), 2);
        assert_eq!(age(&[3, 21]), 17);
        assert_eq!(age(&[]), 10);
    }

    #[test]
    fn all_triggers_make_one_distribution() {
        let (zero, window) = window();
        let all = vec![
            times(zero, &[8, 11, 14, 17]),
            times(zero, &[9, 11, 19]),
            times(zero, &[6]),
        ];
        let answered = answered(&all, window, 4);
        assert_eq!(answered.age.all_ms, [3_000, 3_000, 3_000, 2_000, 8_000]);
        assert_eq!((answered.age.p50_ms, answered.age.max_ms), (3_000, 8_000));
        assert_eq!(answered.oldest_ms, 14_000);
        let shown = answered.asked.to_string();
        assert_eq!(shown, "5 questions, 0 to 3 each");
        assert_eq!(Asked::of(&Vec::new(), window).triggers, 0);
    }

    #[tokio::test]
    async fn triggers_that_hang_are_spread_among_the_others_and_each_has_a_path_of_its_own() {
        let answers = Answering::start(7).await.unwrap();
        let hangs = Hanging::start(3, 2).await.unwrap();
        let urls = urls(10, 3, &answers, &hangs);
        let hanging: Vec<usize> = (0..10)
            .filter(|trigger| !(0..7).any(|path| urls[*trigger] == answers.url(path)))
            .collect();
        assert_eq!(hanging, [3, 6, 9]);
        for path in 0..3 {
            assert_eq!(urls[hanging[path]], hangs.url(path));
        }
        let mut unlike = urls.clone();
        unlike.sort_unstable();
        unlike.dedup();
        assert_eq!(unlike.len(), 10);
    }
}

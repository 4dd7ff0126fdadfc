//! The agent: one loop that wakes for a closed set of events, feeds the engine's
//! node, and carries out what it answers.
//!
//! Comes in: a configuration. Goes out: nothing until the agent is told to end.
//! Contains no rule about numbers.

mod addresses;
mod aside;
mod ask;
mod context;
mod edits;
mod heirs;
pub(crate) mod identity;
mod life;
mod outdated;
mod shown;
mod start;
mod tell;
mod ticks;
pub mod watchdog;
mod wishes;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLockReadGuard};
use std::time::{Duration, Instant};

use starling_api::view::{Replica, Snapshot};
use starling_collect::Collector;
use starling_collect::node::Machine;
use starling_collect::proc::boot_ms;
use starling_consensus::beat;
use starling_consensus::tls::now_s;
use starling_consensus::{Clock, Credentials, Leadership, Log};
use starling_engine::demand::{About, Sample};
use starling_engine::ledger::version::HIGHEST;
use starling_engine::ledger::{Command, Ledger, Outcome};
use starling_engine::node::platform::Patch;
use starling_engine::node::{Answer, Input, Node, Output};
use starling_engine::policy;
use starling_gossip::{self as gossip, Gossip};
use starling_health::logs::Format;
use starling_health::{Health, Held, Proposal};
use starling_identity::Troubles;
use starling_kept::again;
use starling_kube::metrics::Metrics;
use starling_kube::policies::{Dated, Policies};
use starling_policy::{Directory, Looked, Saved};
use starling_process::Supervisor;
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tracing::{error, warn};

use crate::config::Adopt;
use crate::platform::{self, Meter as PodMeter, Platform};
use crate::{actuate, measure};
use aside::Aside;
use ask::Asker;
use start::Parts;
use tell::Told;
use ticks::{TICK_EVERY, Ticks};
use watchdog::Pulse;

/// How often the node and its workers are measured, and the policy directory is read.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);
/// A proposal is given up after this; the engine plans anew.
const PROPOSAL_TIMEOUT: Duration = Duration::from_secs(5);
/// Events that wait for the loop; whoever brings more waits too.
const EVENTS_MAX: usize = 1_024;

/// What the loop's own tasks bring back.
#[expect(
    clippy::large_enum_variant,
    reason = "an edit of a policy is as rare as it is large"
)]
enum Event {
    /// `Err`: measuring broke off, and took the meters with it.
    Sampled(Result<Box<(Meters, Sample)>, String>),
    /// The policy directory was looked at.
    Looked(Result<Looked, String>),
    /// What was applied from it was written down, or couldn't be.
    Saved(Result<Saved, String>),
    Polled {
        policy: policy::Name,
        /// As it was when it was asked.
        trigger: policy::Trigger,
        asks: Option<u64>,
        /// When it was asked for.
        asked: Instant,
        result: Result<Answer, String>,
    },
    /// A pass has been proposed.
    Proposed,
    /// A change from the policy directory has been proposed.
    Edited {
        command: Command,
        /// The policy as it was before.
        former: Option<policy::Policy>,
        result: Result<Outcome, starling_consensus::Error>,
    },
    /// This agent's ledger has everything that was committed when it started.
    CaughtUp,
}

/// What measures; it travels to a thread that may block, and back.
struct Meters {
    machine: Collector,
    /// `None` on bare machines.
    pods: Option<PodMeter>,
}

/// The parts that `start` put together.
struct Agent {
    log: Log,
    clock: Arc<Clock>,
    node: Node,
    gossip: Gossip,
    supervisor: Arc<Supervisor>,
    meters: Aside<Meters>,
    directory: Option<Directory>,
    /// When the look at it began that is under way.
    looking_since: Option<Instant>,
    /// When it was last looked whose policies are on a machine that is gone.
    heirs_looked: Option<Instant>,
    /// Where scaled workloads run; `None` on bare machines.
    platform: Option<Platform>,
    /// Since when that hasn't answered.
    platform_silent: Option<Instant>,
    /// Policies that are objects, and what else scales workloads; `None` on bare
    /// machines.
    policies: Option<Policies>,
    /// What Kubernetes' metrics APIs are asked through; `None` on bare machines.
    apis: Option<Metrics>,
    /// This agent leads and may act.
    leads: bool,
    asker: Arc<Asker>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    /// This node's devices, for those that watch over the agent.
    machine: watch::Sender<Arc<Machine>>,
    /// What holds this node's pods back, for the same.
    held: watch::Sender<Arc<Vec<Held>>>,
    /// What runs on this node, as last measured.
    replicas: Arc<Vec<Replica>>,
    told: Told,
    health: Health,
    pulse: Pulse,
    /// Of this agent's identity.
    troubles: Vec<watch::Receiver<Troubles>>,
    credentials: Credentials,
    /// Other agents certify this one, again and again.
    renews_itself: bool,
    /// Whether all that are alive can make the keys of gossip by themselves.
    all_make_keys: watch::Sender<bool>,
    /// Shares are carried out only from here on.
    caught_up: bool,
    /// The cluster was rebuilt, and nothing that runs here is ended for so long yet.
    rests_ms: Option<u64>,
    /// This node's ledger differs from the majority's (I7).
    halted: Option<String>,
    events: mpsc::Sender<Event>,
}

/// What the command line says.
#[derive(Debug)]
pub struct Args {
    /// The settings' file.
    pub config: PathBuf,
    /// Where the host's file systems are mounted, in a container.
    pub host_root: Option<PathBuf>,
    /// End, with all workers, when standard input does.
    pub until_stdin_closes: bool,
    /// In place of what the settings say.
    pub log_format: Option<Format>,
    pub log_level: Option<String>,
    /// Beside what the settings say.
    pub adopt: Vec<Adopt>,
}

/// Runs an agent until it is told to end (SIGTERM, SIGINT, or the end of
/// standard input if asked to watch it).
pub async fn main(args: &Args) -> anyhow::Result<()> {
    Box::pin(start::run(args)).await
}

impl Agent {
    async fn run(mut self, parts: Parts, shutdown: impl Future<Output = ()>) -> Agent {
        let Parts {
            mut events,
            mut gossip,
            mut platform,
            mut objects,
        } = parts;
        // With all that looks around each second; the first one doesn't wait for that.
        let first = beat::next(SAMPLE_EVERY).into();
        let mut sample = tokio::time::interval_at(first, SAMPLE_EVERY);
        sample.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut ticks = Ticks::new(tokio::time::Instant::now());
        let mut tick = std::pin::pin!(tokio::time::sleep_until(ticks.due()));
        let mut applied = self.log.applied();
        let mut leadership = self.log.leadership();
        let mut led = None;
        self.wait_until_caught_up();
        self.know_members();
        self.measure();
        let asker = self.asker.clone();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            self.health.turned();
            self.pulse.turned();
            if tick.deadline() != ticks.due() {
                tick.as_mut().reset(ticks.due());
            }
            let mut news = true;
            tokio::select! {
                () = &mut shutdown => return self,
                _ = sample.tick() => {
                    self.scan_directory();
                    self.hand_policies_over();
                    self.measure();
                    // What comes of it is.
                    news = false;
                }
                () = &mut tick => {
                    self.step(Input::Tick);
                    if self.rests_ms.is_some() {
                        self.actuate();
                    }
                    self.keep_objects();
                    self.publish();
                    ticks.ticked(tokio::time::Instant::now(), self.rest());
                    news = false;
                }
                Some(event) = events.recv() => self.take(event),
                pushed = asker.pushed() => self.step(Input::Pushed(pushed)),
                Some(event) = gossip.recv() => {
                    self.step(match event {
                        gossip::Event::Heard(summary) => Input::Heard(summary),
                        gossip::Event::Alive(nodes) => Input::Alive(nodes.into_iter().collect()),
                    });
                    self.step_if_due();
                }
                Some(event) = platform.recv() => self.heard_of_platform(event),
                Some(news) = objects.recv() => self.heard_of_objects(news),
                Ok(()) = applied.changed() => {
                    applied.mark_unchanged();
                    self.know_members();
                    self.actuate();
                    self.follow();
                    let metrics = self.health.metrics();
                    self.told.sizes(&read(&self.log.ledger()), self.log.id(), metrics);
                }
                Ok(()) = leadership.changed() => {
                    let seen = leadership.borrow_and_update().clone();
                    // It also says how far the log is, after each entry.
                    let who = (seen.term, seen.leader, seen.acting, seen.voters.clone());
                    if led.as_ref() != Some(&who) {
                        led = Some(who);
                        self.lead(&seen);
                    }
                }
            }
            if news {
                ticks.stir();
            }
        }
    }

    /// How long nothing is due, as long as nothing happens.
    fn rest(&self) -> Duration {
        let goes_on = self.rests_ms.is_some()
            || self.leads && self.policies.as_ref().is_some_and(Policies::goes_on);
        if goes_on {
            return TICK_EVERY;
        }
        let now = self.clock.now();
        Duration::from_millis(self.node.next_tick(now).since(now))
    }

    fn heard_of_platform(&mut self, event: starling_kube::targets::Event) {
        let carried_out = (self.platform.as_mut()).and_then(|it| it.carried_out(&event));
        if let Some(index) = carried_out {
            let ledger = self.log.ledger();
            let reaction = shown::since_sample(&read(&ledger), index, self.clock.now());
            if let Some(reaction) = reaction {
                self.health.metrics().patched(reaction);
            }
        }
        self.step(platform::input(event));
    }

    fn heard_of_objects(&mut self, news: Dated) {
        let rivals = self.policies.as_mut().and_then(|it| it.take(news));
        if let Some(rivals) = rivals {
            self.step(Input::Rivals(rivals));
        }
        if self.policies.as_ref().is_some_and(Policies::is_due) && self.leads {
            self.keep_objects();
        }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Sampled(sampled) => self.sampled(sampled),
            Event::Looked(looked) => self.looked(looked),
            Event::Saved(saved) => {
                if let Some(directory) = &mut self.directory {
                    directory.saved(saved);
                }
            }
            Event::Polled {
                policy,
                trigger,
                asks,
                asked,
                result,
            } => {
                // An answer to what the policy asked before says nothing of what it asks now.
                if asks.is_some() && ask::asks(&self.log, &policy, &trigger) == asks {
                    let age_ms = asked.elapsed().as_millis() as u64;
                    self.step(Input::Polled {
                        policy,
                        trigger: trigger.name,
                        age_ms,
                        result,
                    });
                    self.step_if_due();
                }
            }
            Event::Proposed => {
                self.step(Input::Proposed);
                self.step_if_due();
            }
            Event::Edited {
                command,
                former,
                result,
            } => self.edited(&command, former.as_ref(), result),
            Event::CaughtUp => {
                self.caught_up = true;
                self.health.caught_up();
                self.actuate();
            }
        }
    }

    fn sampled(&mut self, sampled: Result<Box<(Meters, Sample)>, String>) {
        let (meters, mut sample) = match sampled {
            Ok(sampled) => *sampled,
            Err(why) => return self.meters.broke_off(why, Instant::now()),
        };
        sample.about = Some(self.about());
        let machine = meters.machine.machine();
        self.told.unread(&machine.unread);
        if let Some(platform) = &self.platform {
            let troubles = platform::gpus::troubles(&machine.gpus, &platform.devices());
            self.told.warn("devices", troubles);
        }
        self.machine.send_replace(Arc::clone(machine));
        if let Some(pods) = &meters.pods {
            self.told.warn("usage", pods.problems(self.clock.now()));
            self.held.send_replace(Arc::new(pods.held().to_vec()));
        }
        self.meters.back(meters);
        self.told.warn("pods", measure::scaled_troubles(&sample));
        self.replicas = Arc::new(Replica::all(&sample));
        self.step(Input::Sampled(sample));
        self.step_if_due();
    }

    /// What the others are told of this agent.
    fn about(&self) -> About {
        let certificate = self.credentials.validities().certificate;
        About {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            ledger_version: HIGHEST,
            certificate_from_s: certificate.from_s,
            certificate_until_s: certificate.until_s,
        }
    }

    /// What came may be worth a pass at once.
    fn step_if_due(&mut self) {
        let now = self.clock.now();
        if self.node.wakeup(now) <= now {
            self.step(Input::Tick);
        }
    }

    fn step(&mut self, input: Input) {
        let ledger = self.log.ledger();
        let (planned_at, begun) = (self.node.planned_at(), Instant::now());
        let outputs = self.node.step(self.clock.now(), input, &read(&ledger));
        if self
            .node
            .planned_at()
            .is_some_and(|at| Some(at) != planned_at)
        {
            self.health.metrics().passed(begun.elapsed());
            self.pulse.passed();
        }
        for output in outputs {
            match output {
                Output::Publish(summary) => self.gossip.publish(summary),
                Output::Poll {
                    policy,
                    trigger,
                    pushed,
                } => self.poll(policy, trigger, pushed),
                Output::Propose(command) => self.propose(command),
                Output::Patch(patch) => self.patch(&patch),
                Output::Halt(why) => self.halt(&why),
            }
        }
    }

    fn lead(&mut self, seen: &Leadership) {
        self.told.leader(seen, &read(&self.log.ledger()));
        let term = (seen.acting && self.halted.is_none()).then_some(seen.term);
        self.leads = term.is_some();
        if let Some(platform) = &self.platform {
            platform.lead(term.is_some());
        }
        self.follow();
        self.step(Input::Leads(term));
        self.step(Input::Tick);
    }

    /// Tells the platform which workloads there are. Voters follow all targets, so
    /// that the next leader knows them; everybody else only measures its own pods.
    fn follow(&mut self) {
        let votes = self
            .log
            .leadership()
            .borrow()
            .voters
            .contains(&self.log.id());
        if let Some(policies) = &mut self.policies {
            policies.watch(votes);
        }
        let Some(platform) = &mut self.platform else {
            return;
        };
        platform.follow(&read(&self.log.ledger()), votes);
    }

    fn patch(&mut self, patch: &Patch) {
        let Some(platform) = &mut self.platform else {
            return;
        };
        if let Some(refused) = platform.patch(patch) {
            self.step(refused);
        }
    }

    /// Measures off the loop; a measurement that is still under way isn't
    /// started again. Nor is one begun before it is known what this machine can
    /// run.
    fn measure(&mut self) {
        let specs = match &self.directory {
            Some(directory) => directory.processes().cloned(),
            None => Some(BTreeMap::new()),
        };
        let Some(specs) = specs else { return };
        let now = Instant::now();
        let taken = self.meters.take(now);
        let trouble = self.meters.trouble(now);
        let trouble = trouble.map(|words| ("the measurement".to_owned(), words));
        self.told.warn("meters", trouble.into_iter().collect());
        let Some(mut meters) = taken else { return };
        let pods = self.platform.as_ref().and_then(Platform::pods);
        let metrics = self.health.metrics().clone();
        let (supervisor, clock) = (self.supervisor.clone(), self.clock.clone());
        let work = move || {
            let begun = Instant::now();
            let moment = measure::Moment {
                now: clock.now(),
                boot_ms: boot_ms(),
            };
            let replicas = measure::replicas(&specs, &supervisor.workers(), moment);
            let mut sample =
                (meters.machine).sample(clock.now(), measure::offered(&specs), &replicas);
            sample.troubles = measure::troubles(&specs, supervisor.troubles());
            if let (Some(meter), Some(pods)) = (&mut meters.pods, pods) {
                meter.measure(
                    clock.now(),
                    pods,
                    &meters.machine.machine().gpus,
                    &mut sample,
                );
            }
            metrics.sampled(begun.elapsed());
            Box::new((meters, sample))
        };
        self.aside(work, Event::Sampled);
    }

    fn propose(&self, command: Command) {
        let (events, log) = (self.events.clone(), self.log.clone());
        let metrics = self.health.metrics().clone();
        tokio::spawn(async move {
            let begun = Instant::now();
            let proposed = tokio::time::timeout(PROPOSAL_TIMEOUT, log.propose_here(command)).await;
            let became = match &proposed {
                Ok(Ok(outcome)) if outcome.refused.is_empty() => Proposal::Committed,
                Ok(Ok(_)) => Proposal::Refused,
                _ => Proposal::Unknown,
            };
            metrics.proposed(became, begun.elapsed());
            match proposed {
                Ok(Ok(outcome)) => {
                    for refusal in outcome.refused {
                        warn!(%refusal, "the ledger refused a decision");
                    }
                }
                Ok(Err(why)) => warn!(%why, "a decision was not committed"),
                Err(_) => warn!("a decision was not committed in time"),
            }
            let _ = events.send(Event::Proposed).await;
        });
    }

    /// Does this node's part as the ledger has it now: carries out its shares, and
    /// learns which pods belong to which workload.
    fn actuate(&mut self) {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let part = ledger.part(self.log.id());
        if self.caught_up && self.halted.is_none() {
            let now = self.clock.now().max(ledger.time);
            self.rests_ms = ledger.all_act_in_ms(now);
            actuate::apply(&part, &self.supervisor, &|it| ledger.keeps(it, now));
        }
        if let Some(platform) = &mut self.platform {
            platform.select(&part);
        }
    }

    fn know_members(&self) {
        let ledger = self.log.ledger();
        let members = read(&ledger)
            .members
            .iter()
            .map(|(id, m)| (*id, m.member.gossip_address.clone()))
            .collect();
        self.gossip.know(members);
    }

    /// Keeps asking until a read that the quorum confirms succeeds: an agent
    /// that starts alone leaves its workers as they are (I8).
    fn wait_until_caught_up(&self) {
        let (events, log) = (self.events.clone(), self.log.clone());
        tokio::spawn(again("the wait for what was committed", move || {
            let (events, log) = (events.clone(), log.clone());
            async move {
                while log.barrier().await.is_err() {
                    tokio::time::sleep(TICK_EVERY).await;
                }
                let _ = events.send(Event::CaughtUp).await;
            }
        }));
    }

    /// Workloads of which this node, and while it leads any other one, has no room to
    /// speak, by the node's name.
    fn left_out(&self) -> BTreeMap<String, u64> {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let others = self.node.summaries().values().filter(|_| self.leads);
        let others = others.map(|summary| (summary.node, u64::from(summary.left_out)));
        let own = (self.log.id(), self.gossip.stats().left_out);
        let some = others.filter(|(node, count)| *count > 0 && *node != self.log.id());
        let some = some.chain((own.1 > 0).then_some(own));
        some.filter_map(|(node, count)| {
            let admitted = ledger.members.get(&node)?;
            Some((admitted.member.name.clone(), count))
        })
        .collect()
    }

    /// Looks whether all agents that are alive make the keys of gossip by themselves. Those
    /// do that say what release they are; older ones say nothing, and can't.
    fn look_who_makes_keys(&self) {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let summaries = self.node.summaries();
        let mut alive = (self.node.alive().iter()).filter(|id| ledger.members.contains_key(*id));
        let tells = |id| summaries.get(id).is_some_and(|it| it.about.is_some());
        let all = self.caught_up && alive.all(tells);
        (self.all_make_keys).send_if_modified(|known| std::mem::replace(known, all) != all);
    }

    fn halt(&mut self, why: &str) {
        error!(
            why,
            "this agent stops acting; compare the ledgers, then restart it with an empty data directory"
        );
        self.halted = Some(why.to_owned());
        // What watches from outside gives the lead away; the loop waits for nothing.
        self.pulse.halted();
        self.leads = false;
        if let Some(platform) = &self.platform {
            platform.lead(false);
        }
    }

    fn publish(&mut self) {
        let troubles = self.supervisor.troubles();
        self.told.warn("workers", troubles);
        let mut troubles = identity::all(&self.troubles);
        troubles.extend(identity::ending(
            &self.credentials,
            self.renews_itself,
            now_s(),
        ));
        self.told.warn("identity", troubles);
        self.look_who_makes_keys();
        let left_out = self.left_out();
        self.told.left_out(&left_out);
        self.told.led(self.log.backing().led);
        let silent = self.platform.is_some() && !self.node.platform();
        let since = self.platform_silent.unwrap_or_else(Instant::now);
        self.platform_silent = silent.then_some(since);
        self.asker.alive(self.node.alive());
        self.snapshot.send_replace(Arc::new(Snapshot {
            at: self.clock.now(),
            platform_silent_ms: (self.platform_silent)
                .map(|since| u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)),
            write_failures: self.node.write_failures(),
            observations: Arc::clone(self.node.observations()),
            summaries: self.node.summaries().clone(),
            replicas: Arc::clone(&self.replicas),
            alive: self.node.alive().iter().copied().collect(),
            live: self.node.decisions().cloned().unwrap_or_default(),
            warnings: self.told.warnings().clone(),
            halted: self.halted.clone(),
        }));
    }
}

/// Applying an entry is total, so the lock can't be poisoned in a release; where
/// a broken invariant panics (tests), readers go on with what is there.
fn read(ledger: &std::sync::RwLock<Ledger>) -> RwLockReadGuard<'_, Ledger> {
    ledger.read().unwrap_or_else(PoisonError::into_inner)
}

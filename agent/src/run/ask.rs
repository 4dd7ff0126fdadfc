//! Asks external triggers, away from the loop.
//!
//! Comes in: which trigger of which policy. Goes out: its answer, as an event. A source is
//! asked by one member, mostly not the leader: where that one can't reach it, the next one is
//! asked. Whoever asked a source that can say by itself that something has changed listens to
//! it, and has the leader ask at once. What several policies want to know alike is asked once.
//! What waits is bounded here; whose turn it is at a source is that room's. Never asks twice
//! for one order.

mod here;
mod listen;
mod once;
mod post;
mod pushed;
mod spread;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use starling_consensus::Log;
use starling_engine::ledger::InForce;
use starling_engine::node::platform::Observation;
use starling_engine::node::{self, Answer};
use starling_engine::policy::{Form, Name, Source, Trigger};
use starling_engine::unit::NodeId;
use starling_kube::authentication::Authentications;
use starling_kube::client::Connection;
use starling_kube::endpoints::Endpoints;
use starling_kube::metrics::Metrics;
use starling_kube::target;
use starling_proto::ask::failure::Of;
use starling_proto::ask::{self as wire, answer};
use starling_sources::{Number, Poller, Reference};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{Agent, Event, read};
pub(super) use here::wall;
use here::{Failure, Here, LOOKUP_WAIT, LOOKUPS_MAX, turn};
use listen::Listeners;
use once::{Once, Serves};
use post::{Post, Read};
use pushed::{Key, Pushed};
use spread::{Mark, Spread};

/// Triggers that wait or are asked; further ones aren't asked this time, and count as
/// without an answer.
const WAITING_MAX: usize = 10_000;
/// For the way to another member and back, beyond the time that the question itself has.
const WAY: Duration = Duration::from_secs(1);
/// No further member is asked after so long: the policy waits for an answer.
const TRIES: Duration = Duration::from_secs(6);
/// Nor after so many that heard nothing or were refused: of most sources all would.
const DOUBTS_MAX: usize = 2;
/// For a turn to ask Kubernetes' API server itself.
const LISTING_WAIT: Duration = Duration::from_secs(9);
/// Whoever doesn't know a policy yet waits so long for its log to bring it.
const LEARNS: Duration = Duration::from_millis(500);

/// A push that didn't arrive waits so long for the next try.
const PUSHED_AGAIN: Duration = Duration::from_secs(1);

/// What is asked, as far as the answer goes by it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Question {
    kind: String,
    metadata: BTreeMap<String, String>,
    /// Whose parameters it is asked with, where it has a reference to some.
    on_behalf: Option<(String, Option<target::Reference>)>,
    /// The policy, where a source is told whom it is asked for.
    told: Option<Name>,
    composed: bool,
}

/// Asks, here and through others.
pub(super) struct Asker {
    log: Log,
    here: Here,
    /// The answers that policies share.
    shared: Once<Question, Result<Number, Failure>>,
    spread: Spread,
    post: Post,
    /// To sources, on behalf of whoever leads.
    listeners: Listeners,
    /// Where this agent leads.
    pushed: Pushed,
    /// As gossip has it.
    alive: watch::Sender<BTreeSet<NodeId>>,
    waiting: Arc<Semaphore>,
    /// For what Kubernetes' API server itself is asked.
    listings: Semaphore,
}

/// What the ledger says of a trigger's policy.
#[derive(Clone)]
struct Put {
    revision: u64,
    interval: Duration,
    target: Option<target::Reference>,
    /// Its size is a formula's.
    composed: bool,
}

/// What an answer to a policy's trigger goes by, in short; `None` where that is gone.
pub(super) fn asks(log: &Log, policy: &Name, trigger: &Trigger) -> Option<u64> {
    let ledger = log.ledger();
    let ledger = read(&ledger);
    let put = ledger.policies.get(policy)?;
    has(put, trigger).then(|| node::asks(&put.policy, trigger))
}

fn has(put: &InForce, trigger: &Trigger) -> bool {
    let same = |it: &Trigger| (&it.name, &it.source) == (&trigger.name, &trigger.source);
    put.policy.triggers.iter().any(same)
}

impl Put {
    fn of(put: &InForce) -> Put {
        let policy = &put.policy;
        let scaled = policy.target.form() == Form::Scaled;
        Put {
            revision: put.revision,
            interval: Duration::from_millis(policy.polling_interval_ms),
            target: scaled.then(|| target::Reference {
                target: policy.target.clone(),
                version: policy.target_version.clone(),
            }),
            composed: policy.formula().is_some(),
        }
    }
}

impl Agent {
    /// With `pushed` no answer counts that was asked for before the source said so.
    pub(super) fn poll(&self, policy: Name, trigger: Trigger, pushed: bool) {
        let events = self.events.clone();
        let through = self.asker.clone();
        let apis = self.apis.clone();
        // Without an answer it counts as failed after a while, and is asked again.
        let Some(room) = through.room() else {
            return;
        };
        let asks = asks(&self.log, &policy, &trigger);
        let since = pushed.then(|| through.pushed.taken()).flatten();
        let pods = match trigger.source {
            Source::Pods { .. } => self.selector(&policy),
            _ => String::new(),
        };
        tokio::spawn(async move {
            let _room = room;
            let apis = apis.filter(|_| Metrics::knows(&trigger.source));
            let (result, asked) = if let Some(apis) = apis {
                let turn = turn(&through.listings, LISTING_WAIT).await;
                let asked = Instant::now();
                let answer = match turn {
                    Ok(_) => apis.ask(&policy.namespace, &trigger.source, &pods).await,
                    Err(ref why) => Err(why.clone()),
                };
                through.here.counts.polled(answer.is_ok(), asked.elapsed());
                (answer, asked)
            } else {
                let (said, asked) = through.ask(&policy, &trigger, since).await;
                let answer = said.map(|said| Answer::Value {
                    milli: said.milli,
                    activity_milli: said.activity_milli,
                });
                (answer.map_err(|failure| failure.why), asked)
            };
            let _ = events
                .send(Event::Polled {
                    policy,
                    trigger,
                    asks,
                    asked,
                    result,
                })
                .await;
        });
    }

    /// Which pods are a policy's target's, as its scale says; empty where that isn't known.
    fn selector(&self, policy: &Name) -> String {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let target = ledger.policies.get(policy).map(|put| &put.policy.target);
        match target.and_then(|target| self.node.observations().get(target)) {
            Some(Observation::Scale(scale)) => scale.selector.clone(),
            Some(Observation::Gone(_)) | None => String::new(),
        }
    }
}

impl Asker {
    /// `kubernetes` is the connection to it, and KEDA's own namespace.
    pub(super) fn new(
        log: Log,
        poller: Poller,
        counts: starling_health::Metrics,
        kubernetes: Option<(&Connection, &str)>,
    ) -> Arc<Asker> {
        let authentications =
            kubernetes.map(|(connection, keda)| Authentications::new(connection, keda));
        Arc::new(Asker {
            post: Post::new(log.clone()),
            listeners: Listeners::default(),
            pushed: Pushed::default(),
            log,
            here: Here {
                poller,
                authentications,
                endpoints: kubernetes.map(|(connection, _)| Endpoints::new(connection)),
                lookups: Semaphore::new(LOOKUPS_MAX),
                counts,
            },
            shared: Once::default(),
            spread: Spread::default(),
            alive: watch::Sender::default(),
            waiting: Arc::new(Semaphore::new(WAITING_MAX)),
            listings: Semaphore::new(LOOKUPS_MAX),
        })
    }

    /// Who is alive now. Of those that are no longer nobody waits for an answer.
    pub(super) fn alive(&self, members: &BTreeSet<NodeId>) {
        self.alive.send_if_modified(|alive| {
            let changed = alive != members;
            if changed {
                alive.clone_from(members);
            }
            changed
        });
    }

    /// Which triggers are to be asked now: their sources say that something has changed.
    pub(super) async fn pushed(&self) -> BTreeSet<Key> {
        self.pushed.take().await
    }

    /// For whoever leads.
    fn push(&self, key: &Key) {
        let leader = self.log.leadership().borrow().leader;
        match leader {
            Some(leader) if leader == self.log.id() => self.pushed.keys.add([key.clone()]),
            Some(leader) => self.post.push(leader, key),
            // It asks for everything first.
            None => {}
        }
    }

    fn room(&self) -> Option<OwnedSemaphorePermit> {
        self.waiting.clone().try_acquire_owned().ok()
    }

    /// The answer, and when it was asked for: by this policy, or by another one before.
    async fn ask(
        self: &Arc<Self>,
        policy: &Name,
        trigger: &Trigger,
        since: Option<Instant>,
    ) -> (Result<Number, Failure>, Instant) {
        let (Source::External { kind, metadata }, Some(put)) =
            (&trigger.source, self.put(policy, trigger))
        else {
            let gone = Failure {
                why: "its policy is gone, or asks something else".to_owned(),
                of: Of::Source,
            };
            return (Err(gone), Instant::now());
        };
        let target = put
            .target
            .clone()
            .filter(|_| Reference::of(trigger).is_some());
        let on_behalf = Reference::of(trigger).map(|_| (policy.namespace.clone(), target));
        let question = Question {
            kind: kind.clone(),
            metadata: metadata.clone(),
            on_behalf,
            told: starling_sources::is_told_whom(trigger).then(|| policy.clone()),
            composed: put.composed,
        };
        let mark = Mark::of(&question);
        let members = if starling_sources::is_local(trigger) {
            vec![self.log.id()]
        } else {
            self.spread.order(mark, &self.alive.borrow(), self.log.id())
        };
        let asked = self.one_of(&members, mark, policy, &put, trigger);
        let serves = match since {
            Some(since) => Serves::Since(since),
            // Half an interval old it is newer than the policy's own last one.
            None => Serves::Within(put.interval / 2),
        };
        self.shared.ask(question, serves, asked).await
    }

    /// Whoever of these can reach the source, in this order.
    async fn one_of(
        self: &Arc<Self>,
        members: &[NodeId],
        mark: Mark,
        policy: &Name,
        put: &Put,
        trigger: &Trigger,
    ) -> Result<Number, Failure> {
        let begun = Instant::now();
        let (mut first, mut doubts) = (None, 0);
        for member in members {
            let said = if *member == self.log.id() {
                self.ask_here(policy, put, trigger).await
            } else {
                self.through(*member, policy, put, trigger).await
            };
            let failure = match said {
                Err(failure) if failure.of != Of::Source => failure,
                answer => {
                    self.spread.heard(mark, *member);
                    return answer;
                }
            };
            self.spread.shun(mark, *member);
            doubts += usize::from(failure.of != Of::Way);
            // What the first one says is mostly what is wrong.
            first.get_or_insert(failure);
            if doubts >= DOUBTS_MAX || begun.elapsed() > TRIES {
                break;
            }
        }
        Err(first.unwrap_or_else(|| Failure {
            why: "no member is there to ask".to_owned(),
            of: Of::Way,
        }))
    }

    async fn ask_here(
        self: &Arc<Self>,
        policy: &Name,
        put: &Put,
        trigger: &Trigger,
    ) -> Result<Number, Failure> {
        let answer = Box::pin(self.here.ask(policy, put, trigger)).await;
        if answer.is_ok() {
            self.listeners.heed(self, policy, put, trigger);
        }
        answer
    }

    async fn through(
        &self,
        member: NodeId,
        policy: &Name,
        put: &Put,
        trigger: &Trigger,
    ) -> Result<Number, Failure> {
        let question = wire::Question {
            id: 0,
            namespace: policy.namespace.clone(),
            name: policy.name.clone(),
            revision: put.revision,
            trigger: trigger.name.clone(),
        };
        let looks =
            Reference::of(trigger).is_some() || starling_sources::service(trigger).is_some();
        let first = if looks { LEARNS + LOOKUP_WAIT } else { LEARNS };
        let within = first + starling_sources::timeout(trigger) + WAY;
        // Words that a status knows to be of no news.
        let by = |why: &str| format!("{why}; asked by {}", self.name(member));
        let mut alive = self.alive.subscribe();
        let said = tokio::select! {
            said = self.post.ask(member, question, within) => said,
            _ = alive.wait_for(|alive| !alive.contains(&member)) => Err("it is gone".to_owned()),
        };
        let said = match said {
            Ok(answer) => answer.said,
            Err(why) => {
                return Err(Failure {
                    why: by(&format!("an agent doesn't answer: {why}")),
                    of: Of::Way,
                });
            }
        };
        match said {
            Some(answer::Said::Number(number)) if number.milli.min(number.activity_milli) >= 0 => {
                Ok(Number {
                    milli: number.milli,
                    activity_milli: number.activity_milli,
                })
            }
            Some(answer::Said::Failure(failure)) => Err(Failure {
                why: by(&failure.why),
                of: failure.of(),
            }),
            _ => Err(Failure {
                why: by("its answer can't be read"),
                of: Of::Way,
            }),
        }
    }

    fn name(&self, member: NodeId) -> String {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let known = ledger.members.get(&member);
        known.map_or_else(|| member.to_string(), |known| known.member.name.clone())
    }

    /// `None` where the policy is gone, or asks something else by now.
    fn put(&self, policy: &Name, trigger: &Trigger) -> Option<Put> {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let put = ledger.policies.get(policy)?;
        has(put, trigger).then(|| Put::of(put))
    }

    /// Sends once more what didn't reach who led, for as long as the agent runs: mostly
    /// somebody else leads by then.
    pub(super) async fn push_again(self: Arc<Asker>) {
        loop {
            let lost = self.post.undelivered().await;
            tokio::time::sleep(PUSHED_AGAIN).await;
            for key in lost {
                self.push(&key);
            }
        }
    }

    /// Reads what others write, for as long as the agent runs.
    pub(super) async fn answer(self: Arc<Asker>) {
        loop {
            let letter = self.log.letter().await;
            let from = letter.from;
            let Read { questions, pushes } = self.post.read(&letter);
            for push in pushes {
                let key = (Name::new(push.namespace, push.name), push.trigger);
                if self.may_push(&key) {
                    self.pushed.keys.add([key]);
                }
            }
            for question in questions {
                let Some(room) = self.room() else {
                    let full = Failure {
                        why: "too many questions wait there".to_owned(),
                        of: Of::Way,
                    };
                    self.post.answer(from, written(question.id, Err(full)));
                    continue;
                };
                let asker = self.clone();
                tokio::spawn(async move {
                    let _room = room;
                    let said = asker.answered(&question).await;
                    asker.post.answer(from, written(question.id, said));
                });
            }
        }
    }

    async fn answered(self: &Arc<Self>, question: &wire::Question) -> Result<Number, Failure> {
        let mut applied = self.log.applied();
        let mut known = None;
        let learned = applied.wait_for(|_| {
            known = self.understood(question);
            known.is_some()
        });
        // In vain where it takes too long.
        let _ = tokio::time::timeout(LEARNS, learned).await;
        match known {
            Some((policy, put, trigger)) => self.ask_here(&policy, &put, &trigger).await,
            None => Err(Failure {
                why: "that policy isn't known there in this form yet".to_owned(),
                of: Of::Way,
            }),
        }
    }

    /// Nobody can have sources asked more often that say nothing by themselves.
    fn may_push(&self, (policy, trigger): &Key) -> bool {
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let put = ledger.policies.get(policy);
        let mut triggers = put.into_iter().flat_map(|put| &put.policy.triggers);
        triggers.any(|it| it.name == *trigger && starling_sources::push::pushes(it))
    }

    /// What this agent's own ledger says of it: a letter holds no addresses, so nobody can have
    /// secrets sent to one of his own.
    fn understood(&self, question: &wire::Question) -> Option<(Name, Put, Trigger)> {
        let name = Name::new(&question.namespace, &question.name);
        let ledger = self.log.ledger();
        let ledger = read(&ledger);
        let put = ledger.policies.get(&name)?;
        let asked = |trigger: &&Trigger| {
            trigger.name == question.trigger
                && matches!(trigger.source, Source::External { .. })
                && !starling_sources::is_local(trigger)
        };
        let known = put.revision == question.revision;
        let trigger = put.policy.triggers.iter().find(asked).filter(|_| known)?;
        Some((name, Put::of(put), trigger.clone()))
    }
}

fn written(id: u64, said: Result<Number, Failure>) -> wire::Answer {
    let said = match said {
        Ok(number) => answer::Said::Number(wire::Number {
            milli: number.milli,
            activity_milli: number.activity_milli,
        }),
        Err(failure) => answer::Said::Failure(wire::Failure {
            why: failure.why,
            of: failure.of.into(),
        }),
    };
    wire::Answer {
        id,
        said: Some(said),
    }
}

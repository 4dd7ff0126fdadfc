//! How far a group lags in each partition: who has to be asked, and what they say together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::settings::shown;
use crate::stream::Address;
use crate::{Error, Reason};

use super::brokers::Asker;
use super::lag::Rules;
use super::messages::{self, Broker, Metadata, NO_LEADER, Offsets, PARTITIONS_MAX, UNKNOWN_TOPIC};
use super::wire::{garbled, too_many};

/// Leaders that are asked at once; more wait.
const ASKED_AT_ONCE: usize = 8;
/// How long a leader or a coordinator that has moved is given, as Kafka's own clients do it.
const MOVING: Duration = Duration::from_millis(100);
/// Parts of a `partitionLimitation`.
const PARTS_MAX: usize = 256;

/// A partition: its topic and its number.
type Partition = (String, i32);

/// Which partitions count.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Limitation(Vec<(i32, i32)>);

impl Limitation {
    /// As KEDA writes it, `1-4,8`; all count where nothing is written.
    pub(super) fn of(written: &str) -> Result<Limitation, String> {
        let wrong = |part: &str| {
            format!(
                "must be partitions such as `1-4,8`, and holds `{}`",
                shown(part)
            )
        };
        if written.trim().is_empty() {
            return Ok(Limitation(Vec::new()));
        }
        if written.split(',').count() > PARTS_MAX {
            return Err(format!("has more than {PARTS_MAX} parts"));
        }
        let number = |text: &str| text.trim().parse().ok().filter(|number: &i32| *number >= 0);
        let part = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let range = number(from).zip(number(to));
            range
                .filter(|(from, to)| from <= to)
                .ok_or_else(|| wrong(part))
        };
        let parts: Result<_, _> = written.split(',').map(part).collect();
        parts.map(Limitation)
    }

    pub(super) fn counts(&self, partition: i32) -> bool {
        let within = |(from, to): &(i32, i32)| (*from..=*to).contains(&partition);
        self.0.is_empty() || self.0.iter().any(within)
    }
}

/// What is asked about.
pub(super) struct Group<'a> {
    pub asker: Asker,
    pub servers: Vec<Address>,
    pub name: &'a str,
    /// All topics that the group has committed something of, where there is none.
    pub topic: Option<&'a str>,
    pub limitation: Limitation,
}

/// What failed, and whether it may pass once the cluster is looked at anew.
struct Trouble {
    error: Error,
    passes: bool,
}

fn trouble(address: String, reason: Reason) -> Trouble {
    Trouble {
        error: Error { address, reason },
        passes: false,
    }
}

/// A broker that another one has referred to.
struct Referred {
    address: Address,
    /// Address and task, for messages.
    shown: String,
}

impl Referred {
    fn of(broker: &Broker, task: &str) -> Result<Referred, Reason> {
        let address = Address::of(&broker.host, &broker.port.to_string());
        let address = address
            .map_err(|why| garbled(format!("of broker {}, the {task}: {why}", broker.id)))?;
        let shown = format!("{address}, the {task}");
        Ok(Referred { address, shown })
    }

    /// It may have moved.
    fn failed(&self, reason: Reason) -> Trouble {
        Trouble {
            passes: matches!(reason, Reason::Connection(_)),
            ..trouble(self.shown.clone(), reason)
        }
    }

    fn refused(&self, code: messages::Code, what: &str) -> Trouble {
        let reason = Reason::Refused(format!("{what}: {}", code.told()));
        Trouble {
            passes: code.passes(),
            ..trouble(self.shown.clone(), reason)
        }
    }
}

impl Group<'_> {
    /// Of each partition that counts. Who leads what is looked up once more where it was just
    /// moving.
    pub(super) async fn lags(&self, rules: Rules) -> Result<Vec<u64>, Error> {
        let lags = match self.once(rules).await {
            Err(trouble) if trouble.passes => {
                tokio::time::sleep(MOVING).await;
                self.once(rules).await
            }
            lags => lags,
        };
        lags.map_err(|trouble| trouble.error)
    }

    async fn once(&self, rules: Rules) -> Result<Vec<u64>, Trouble> {
        // Where the group stands is asked first: so it never stands behind an end that is
        // older.
        let (committed, cluster) = if let Some(topic) = self.topic {
            let cluster = self.cluster(&[topic]).await?;
            let partitions = self.partitions(&cluster)?.into_keys();
            let partitions = partitions.map(|(_, index)| index).collect();
            (self.committed(Some((topic, partitions))).await?, cluster)
        } else {
            let committed = self.committed(None).await?;
            let topics: BTreeSet<_> = committed.keys().map(|(topic, _)| topic.as_str()).collect();
            let topics: Vec<_> = topics.into_iter().collect();
            let cluster = self.cluster(&topics).await?;
            (committed, cluster)
        };
        let led = self.partitions(&cluster)?;
        let unlisted = committed.keys().find(|it| !led.contains_key(*it));
        if let (None, Some(partition)) = (self.topic, unlisted) {
            return Err(trouble(self.shown(), left_out(partition)));
        }
        let ends = self.ends(&cluster, &led).await?;
        let lag = |(partition, end): (&Partition, &i64)| {
            let committed = committed.get(partition).copied().unwrap_or(-1);
            rules.lag(committed, *end)
        };
        Ok(ends.iter().map(lag).collect())
    }

    /// What one of the servers says of these topics.
    async fn cluster(&self, topics: &[&str]) -> Result<Metadata, Trouble> {
        let question = messages::metadata(topics);
        let cluster = self
            .asker
            .ask_any(&self.servers, &question, messages::read_metadata);
        let mut cluster = cluster
            .await
            .map_err(|(address, why)| trouble(address, why))?;
        let mut missing: BTreeSet<_> = topics.iter().copied().collect();
        // Each once, and none that nobody asked about.
        cluster
            .topics
            .retain(|topic| missing.remove(topic.name.as_str()));
        if let Some(topic) = missing.first() {
            let location = format!("topic {}", shown(topic));
            return Err(trouble(self.shown(), Reason::Missing { location }));
        }
        Ok(cluster)
    }

    /// Of errors of the cluster, whoever said it.
    fn shown(&self) -> String {
        let servers = self.servers.iter().map(Address::to_string);
        servers.collect::<Vec<_>>().join(", ")
    }

    /// Those that count, each with its leader.
    fn partitions(&self, cluster: &Metadata) -> Result<BTreeMap<Partition, i32>, Trouble> {
        let refused = |code: messages::Code, what: String| Trouble {
            passes: code.passes() && code != UNKNOWN_TOPIC,
            ..trouble(
                self.shown(),
                Reason::Refused(format!("{what}: {}", code.told())),
            )
        };
        let mut led = BTreeMap::new();
        for topic in &cluster.topics {
            if topic.code.fails() {
                return Err(refused(
                    topic.code,
                    format!("topic `{}`", shown(&topic.name)),
                ));
            }
            for partition in &topic.partitions {
                if !self.limitation.counts(partition.index) {
                    continue;
                }
                // That a copy is away is no failure; that nobody leads is one.
                if partition.leader < 0 {
                    let what = told(&topic.name, partition.index);
                    return Err(refused(NO_LEADER, what));
                }
                led.insert((topic.name.clone(), partition.index), partition.leader);
                if led.len() > PARTITIONS_MAX {
                    let why = too_many(PARTITIONS_MAX, "partitions");
                    return Err(trouble(self.shown(), why));
                }
            }
        }
        if led.is_empty() {
            let why = match self.topic {
                Some(_) => "the topic has none of the partitions that `partitionLimitation` names",
                None => {
                    "the group has committed nothing yet, so nobody knows what it reads; name a \
                     `topic`"
                }
            };
            return Err(trouble(self.shown(), Reason::Unread(why.to_owned())));
        }
        Ok(led)
    }

    /// Where the group stands, in the partitions that it has committed something of.
    async fn committed(
        &self,
        of: Option<messages::Named<'_>>,
    ) -> Result<BTreeMap<Partition, i64>, Trouble> {
        let task = format!("coordinator of group `{}`", shown(self.name));
        let question = messages::find_coordinator(self.name);
        let found = self
            .asker
            .ask_any(&self.servers, &question, messages::read_find_coordinator);
        let (code, broker) = found
            .await
            .map_err(|(address, why)| trouble(address, why))?;
        if code.fails() {
            let reason = Reason::Refused(format!("{task}: {}", code.told()));
            return Err(Trouble {
                passes: code.passes(),
                ..trouble(self.shown(), reason)
            });
        }
        let broker = Referred::of(&broker, &task).map_err(|why| trouble(self.shown(), why))?;
        let question = messages::offset_fetch(self.name, of.as_ref());
        let told = self
            .asker
            .ask(&broker.address, &question, messages::read_offset_fetch);
        let (code, offsets) = told.await.map_err(|why| broker.failed(why))?;
        if code.fails() {
            let what = format!("group `{}`", shown(self.name));
            return Err(broker.refused(code, &what));
        }
        let committed = known(offsets, &broker)?;
        for index in of.iter().flat_map(|(_, partitions)| partitions) {
            let partition = (self.topic.unwrap_or_default().to_owned(), *index);
            is_there(&committed, &partition, &broker)?;
        }
        // One that it stands nowhere in is there where it was asked for.
        let stands = committed.into_iter().filter(|(_, offset)| *offset >= 0);
        Ok(stands.collect())
    }

    /// Where they end, each as its leader says.
    async fn ends(
        &self,
        cluster: &Metadata,
        led: &BTreeMap<Partition, i32>,
    ) -> Result<BTreeMap<Partition, i64>, Trouble> {
        let mut of_leader = BTreeMap::<i32, Vec<Partition>>::new();
        for (partition, leader) in led {
            of_leader
                .entry(*leader)
                .or_default()
                .push(partition.clone());
        }
        let turns = Arc::new(Semaphore::new(ASKED_AT_ONCE));
        // They end with this question, also where nobody waits for it any more.
        let mut asking = JoinSet::new();
        for (leader, partitions) in of_leader {
            let (topic, index) = &partitions[0];
            let task = format!("leader of {}", told(topic, *index));
            let broker = cluster.brokers.iter().find(|it| it.id == leader);
            let unknown = || garbled(format!("broker {leader}, the {task}, is not in it"));
            let broker = broker.ok_or_else(unknown);
            let broker = broker.and_then(|broker| Referred::of(broker, &task));
            let broker = broker.map_err(|why| trouble(self.shown(), why))?;
            let (asker, turns) = (self.asker.clone(), turns.clone());
            asking.spawn(async move {
                let _turn = turns.acquire().await;
                ends_at(&asker, &broker, &partitions).await
            });
        }
        let mut ends = BTreeMap::new();
        while let Some(done) = asking.join_next().await {
            let done = done.map_err(|why| trouble(self.shown(), Reason::Unread(why.to_string())));
            ends.extend(done??);
        }
        Ok(ends)
    }
}

async fn ends_at(
    asker: &Asker,
    broker: &Referred,
    partitions: &[Partition],
) -> Result<Vec<(Partition, i64)>, Trouble> {
    let mut topics = BTreeMap::<&str, Vec<i32>>::new();
    for (topic, index) in partitions {
        topics.entry(topic).or_default().push(*index);
    }
    let topics: Vec<_> = topics.into_iter().collect();
    let question = messages::list_offsets(&topics);
    let answer = asker.ask(&broker.address, &question, messages::read_list_offsets);
    let ends = known(answer.await.map_err(|why| broker.failed(why))?, broker)?;
    let end = |partition: &Partition| {
        let end = is_there(&ends, partition, broker)?;
        if end < 0 {
            let what = told(&partition.0, partition.1);
            return Err(broker.failed(garbled(format!("{what} ends at {end}"))));
        }
        Ok((partition.clone(), end))
    };
    partitions.iter().map(end).collect()
}

/// A number for each partition, or what failed of the first one that has none.
fn known(offsets: Offsets, broker: &Referred) -> Result<BTreeMap<Partition, i64>, Trouble> {
    let mut known = BTreeMap::new();
    for (topic, partitions) in offsets {
        for (index, code, offset) in partitions {
            if code.fails() {
                return Err(broker.refused(code, &told(&topic, index)));
            }
            known.insert((topic.clone(), index), offset);
            if known.len() > PARTITIONS_MAX {
                return Err(broker.failed(too_many(PARTITIONS_MAX, "partitions")));
            }
        }
    }
    Ok(known)
}

fn is_there(
    known: &BTreeMap<Partition, i64>,
    partition: &Partition,
    broker: &Referred,
) -> Result<i64, Trouble> {
    let missing = || broker.failed(left_out(partition));
    known.get(partition).copied().ok_or_else(missing)
}

fn left_out(partition: &Partition) -> Reason {
    let location = format!("{}-{}", shown(&partition.0), partition.1);
    Reason::Missing { location }
}

fn told(topic: &str, index: i32) -> String {
    format!("partition {index} of `{}`", shown(topic))
}

//! The questions that a broker is asked, each in the one version that Kafka 1.0 and all later
//! ones speak, and what is read of their answers.

use super::wire::{Answer, Written, garbled};
use crate::Reason;
use crate::settings::shown;

/// Of a cluster.
const BROKERS_MAX: usize = 1_000;
/// That one group reads.
const TOPICS_MAX: usize = 1_000;
/// Of all topics that count together.
pub(super) const PARTITIONS_MAX: usize = 10_000;
/// Copies of one partition.
const REPLICAS_MAX: usize = 100;
/// Kinds of questions that a broker knows, and ways to prove who asks.
const WORDS_MAX: usize = 1_000;

/// A kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Api {
    pub name: &'static str,
    pub key: i16,
    pub version: i16,
}

const fn api(name: &'static str, key: i16, version: i16) -> Api {
    Api { name, key, version }
}

pub(super) const API_VERSIONS: Api = api("ApiVersions", 18, 0);
pub(super) const SASL_HANDSHAKE: Api = api("SaslHandshake", 17, 1);
pub(super) const SASL_AUTHENTICATE: Api = api("SaslAuthenticate", 36, 0);
/// The first version that makes no topic by asking for it.
const METADATA: Api = api("Metadata", 3, 4);
const FIND_COORDINATOR: Api = api("FindCoordinator", 10, 1);
/// The first version that tells all of a group.
const OFFSET_FETCH: Api = api("OffsetFetch", 9, 2);
const LIST_OFFSETS: Api = api("ListOffsets", 2, 1);
/// Those that every broker has to know.
const NEEDED: [Api; 4] = [METADATA, FIND_COORDINATOR, OFFSET_FETCH, LIST_OFFSETS];

/// What goes to a broker.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub api: Api,
    pub body: Vec<u8>,
}

fn question(api: Api, body: Written) -> Question {
    Question { api, body: body.0 }
}

/// What failed at a broker, by Kafka's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Code(pub i16);

pub(super) const UNKNOWN_TOPIC: Code = Code(3);
pub(super) const NO_LEADER: Code = Code(5);
pub(super) const UNSUPPORTED_MECHANISM: Code = Code(33);
pub(super) const NOT_AUTHENTICATED: Code = Code(58);

impl Code {
    fn of(answer: &mut Answer<'_>) -> Result<Code, Reason> {
        answer.i16().map(Code)
    }

    pub(super) fn fails(self) -> bool {
        self != Code(0)
    }

    /// That it may be gone once the cluster is looked at anew: a leader or a coordinator has
    /// moved, or is just being chosen.
    pub(super) fn passes(self) -> bool {
        matches!(
            self.0,
            3 | 5 | 6 | 7 | 9 | 13 | 14 | 15 | 16 | 56 | 74 | 75 | 78
        )
    }

    /// As Kafka's documentation calls it, and what it means where that helps.
    pub(super) fn told(self) -> String {
        let (name, why) = match self.0 {
            -1 => ("UNKNOWN_SERVER_ERROR", "the broker's log says more"),
            3 => ("UNKNOWN_TOPIC_OR_PARTITION", "there is none"),
            5 => ("LEADER_NOT_AVAILABLE", "it has no leader now"),
            6 => ("NOT_LEADER_OR_FOLLOWER", "its leader has moved"),
            7 => ("REQUEST_TIMED_OUT", "the broker waited in vain"),
            9 => ("REPLICA_NOT_AVAILABLE", "it is being moved"),
            13 => ("NETWORK_EXCEPTION", "the brokers don't reach each other"),
            14 => ("COORDINATOR_LOAD_IN_PROGRESS", "it is just starting"),
            15 => ("COORDINATOR_NOT_AVAILABLE", "there is none now"),
            16 => ("NOT_COORDINATOR", "it has moved"),
            17 => ("INVALID_TOPIC_EXCEPTION", "no topic is called so"),
            24 => ("INVALID_GROUP_ID", "no group is called so"),
            29 => ("TOPIC_AUTHORIZATION_FAILED", "needs Describe of the topic"),
            30 => ("GROUP_AUTHORIZATION_FAILED", "needs Describe of the group"),
            31 => (
                "CLUSTER_AUTHORIZATION_FAILED",
                "who asks may not look at the cluster",
            ),
            33 => ("UNSUPPORTED_SASL_MECHANISM", "another `sasl` is wanted"),
            34 => ("ILLEGAL_SASL_STATE", "no `sasl` is wanted here"),
            35 => ("UNSUPPORTED_VERSION", "of the protocol"),
            56 => ("KAFKA_STORAGE_ERROR", "its disk fails"),
            58 => ("SASL_AUTHENTICATION_FAILED", "who asks isn't let in"),
            74 => ("FENCED_LEADER_EPOCH", "its leader has moved"),
            75 => ("UNKNOWN_LEADER_EPOCH", "its leader has moved"),
            78 => ("OFFSET_NOT_AVAILABLE", "its leader is just starting"),
            other => return format!("error {other} of Kafka's"),
        };
        format!("{name}, {why}")
    }
}

pub(super) fn api_versions() -> Question {
    question(API_VERSIONS, Written::default())
}

/// Whether it speaks all that is asked.
pub(super) fn read_api_versions(answer: &[u8], more: &[Api]) -> Result<(), Reason> {
    let mut answer = Answer(answer);
    let code = Code::of(&mut answer)?;
    if code.fails() {
        return Err(Reason::Refused(code.told()));
    }
    let spoken = answer.list(WORDS_MAX, "kinds of questions", |one| {
        Ok((one.i16()?, one.i16()?, one.i16()?))
    })?;
    answer.end()?;
    for Api { name, key, version } in NEEDED.iter().chain(more) {
        let found = spoken.iter().find(|(spoken, ..)| spoken == key);
        let Some((_, least, most)) = found else {
            return Err(Reason::Refused(format!("it doesn't know {name}")));
        };
        if !(least..=most).contains(&version) {
            let why = format!("it speaks {name} in versions {least} to {most}, not in {version}");
            return Err(Reason::Refused(why));
        }
    }
    Ok(())
}

pub(super) fn sasl_handshake(mechanism: &str) -> Question {
    question(SASL_HANDSHAKE, Written::default().text(mechanism))
}

/// How it may be proved who asks, where not by the way that was named.
pub(super) fn read_sasl_handshake(answer: &[u8]) -> Result<(Code, Vec<String>), Reason> {
    let mut answer = Answer(answer);
    let code = Code::of(&mut answer)?;
    let words = answer.list(WORDS_MAX, "mechanisms", |one| Ok(shown(one.text()?)))?;
    answer.end()?;
    Ok((code, words))
}

pub(super) fn sasl_authenticate(message: &[u8]) -> Question {
    question(SASL_AUTHENTICATE, Written::default().bytes(message))
}

/// The words beside the code aren't taken, and what stands behind the end isn't shown: a
/// broker that was told a password might say it.
pub(super) fn read_sasl_authenticate(answer: &[u8]) -> Result<(Code, &[u8]), Reason> {
    let mut answer = Answer(answer);
    let code = Code::of(&mut answer)?;
    answer.text()?;
    let message = answer.bytes()?;
    let more = |_| garbled("something stands behind its end");
    answer.end().map_err(more)?;
    Ok((code, message))
}

/// Who is there, and who leads what of these topics.
pub(super) fn metadata(topics: &[&str]) -> Question {
    let names = Written::default().list(topics.iter(), |with, name| with.text(name));
    question(METADATA, names.i8(0))
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Metadata {
    pub brokers: Vec<Broker>,
    pub topics: Vec<Topic>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broker {
    pub id: i32,
    pub host: String,
    pub port: i32,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Topic {
    pub code: Code,
    pub name: String,
    pub partitions: Vec<Partition>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub index: i32,
    /// A broker's id; -1 where there is none.
    pub leader: i32,
}

pub(super) fn read_metadata(answer: &[u8]) -> Result<Metadata, Reason> {
    let mut answer = Answer(answer);
    let _throttled_ms = answer.i32()?;
    let brokers = answer.list(BROKERS_MAX, "brokers", |one| {
        let broker = broker(one)?;
        let _rack = one.text()?;
        Ok(broker)
    })?;
    let _cluster = answer.text()?;
    let _controller = answer.i32()?;
    let topics = answer.list(TOPICS_MAX, "topics", |one| {
        let (code, name) = (Code::of(one)?, one.text()?.to_owned());
        let _internal = one.flag()?;
        let partitions = one.list(PARTITIONS_MAX, "partitions", |one| {
            // Says that it has no leader, as the leader does, or that a copy is away.
            let _code = one.i16()?;
            let (index, leader) = (one.i32()?, one.i32()?);
            for what in ["replicas", "replicas in sync"] {
                one.list(REPLICAS_MAX, what, Answer::i32)?;
            }
            Ok(Partition { index, leader })
        })?;
        Ok(Topic {
            code,
            name,
            partitions,
        })
    })?;
    answer.end()?;
    Ok(Metadata { brokers, topics })
}

fn broker(answer: &mut Answer<'_>) -> Result<Broker, Reason> {
    Ok(Broker {
        id: answer.i32()?,
        host: answer.text()?.to_owned(),
        port: answer.i32()?,
    })
}

/// Who knows what a group has done.
pub(super) fn find_coordinator(group: &str) -> Question {
    const GROUP: i8 = 0;
    question(FIND_COORDINATOR, Written::default().text(group).i8(GROUP))
}

pub(super) fn read_find_coordinator(answer: &[u8]) -> Result<(Code, Broker), Reason> {
    let mut answer = Answer(answer);
    let _throttled_ms = answer.i32()?;
    let code = Code::of(&mut answer)?;
    let _words = answer.text()?;
    let broker = broker(&mut answer)?;
    answer.end()?;
    Ok((code, broker))
}

/// Partitions of one topic.
pub(super) type Named<'a> = (&'a str, Vec<i32>);

/// How far a group has got in these partitions, or in all that it has ever committed one of.
pub(super) fn offset_fetch(group: &str, of: Option<&Named<'_>>) -> Question {
    let body = Written::default().text(group);
    question(
        OFFSET_FETCH,
        match of {
            Some(topic) => body.list([topic].into_iter(), |with, (name, partitions)| {
                let named = with.text(name);
                named.list(partitions.iter(), |with, index| with.i32(*index))
            }),
            None => body.i32(-1),
        },
    )
}

/// A number for each partition of each topic.
pub(super) type Offsets = Vec<(String, Vec<(i32, Code, i64)>)>;

/// Where a group stands; -1 in a partition that it has committed nothing of.
pub(super) fn read_offset_fetch(answer: &[u8]) -> Result<(Code, Offsets), Reason> {
    let mut answer = Answer(answer);
    let offsets = offsets(&mut answer, |one| {
        let (index, offset) = (one.i32()?, one.i64()?);
        let _own = one.text()?;
        Ok((index, Code::of(one)?, offset))
    })?;
    let code = Code::of(&mut answer)?;
    answer.end()?;
    Ok((code, offsets))
}

/// Where partitions end, of their leader.
pub(super) fn list_offsets(topics: &[Named<'_>]) -> Question {
    const NO_REPLICA: i32 = -1;
    const THE_END: i64 = -1;
    let body = Written::default().i32(NO_REPLICA);
    let body = body.list(topics.iter(), |with, (name, partitions)| {
        let named = with.text(name);
        named.list(partitions.iter(), |with, index| {
            with.i32(*index).i64(THE_END)
        })
    });
    question(LIST_OFFSETS, body)
}

pub(super) fn read_list_offsets(answer: &[u8]) -> Result<Offsets, Reason> {
    let mut answer = Answer(answer);
    let offsets = offsets(&mut answer, |one| {
        let (index, code, _time) = (one.i32()?, Code::of(one)?, one.i64()?);
        Ok((index, code, one.i64()?))
    })?;
    answer.end()?;
    Ok(offsets)
}

fn offsets<'a>(
    answer: &mut Answer<'a>,
    mut one: impl FnMut(&mut Answer<'a>) -> Result<(i32, Code, i64), Reason>,
) -> Result<Offsets, Reason> {
    answer.list(TOPICS_MAX, "topics", |topic| {
        let name = topic.text()?.to_owned();
        Ok((name, topic.list(PARTITIONS_MAX, "partitions", &mut one)?))
    })
}

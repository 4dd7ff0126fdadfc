//! Has other members ask, answers those that have this one ask, and hands on what sources say
//! by themselves.
//!
//! Comes in: a question for another member, or letters. Goes out: its answer, or what others
//! ask and have heard. What is for one member and waits while a letter is under way to it goes
//! with the next one. An answer counts only from who was asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use prost::Message as _;
use starling_consensus::{Letter, Log};
use starling_engine::unit::NodeId;
use starling_proto::ask::{self as wire, answer};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, warn};

use super::pushed::{Key, Keys};

/// Items that wait for one member; further ones aren't sent.
const WAITING_MAX: usize = 4_096;
/// Items of one letter: some 200 bytes each, a failure's words at most [`WORDS_BYTES_MAX`].
const ITEMS_MAX: usize = 256;
/// Of what a failure says.
const WORDS_BYTES_MAX: usize = 1_024;
/// A member to whom nothing was written for so long has nobody who waits to write.
const IDLE: Duration = Duration::from_mins(1);

enum Item {
    Question(wire::Question),
    Answer(wire::Answer),
    /// What is in [`Inner::pushes`] for who gets the letter.
    Pushes,
}

/// What a letter brings, beside answers.
#[derive(Default)]
pub(super) struct Read {
    pub questions: Vec<wire::Question>,
    pub pushes: Vec<wire::Push>,
}

/// Clones write in one hand.
#[derive(Clone)]
pub(super) struct Post {
    inner: Arc<Inner>,
}

struct Inner {
    log: Log,
    writers: Mutex<BTreeMap<NodeId, mpsc::Sender<Item>>>,
    /// That wait for a letter: each once, however often it comes.
    pushes: Mutex<BTreeMap<NodeId, BTreeSet<Key>>>,
    /// Those that didn't arrive where they were sent.
    undelivered: Keys,
    open: Open,
}

/// Questions without an answer, and who was asked.
#[derive(Default)]
struct Open {
    all: Mutex<BTreeMap<u64, (NodeId, oneshot::Sender<Said>)>>,
    last: AtomicU64,
}

/// What became of a question.
pub(super) type Said = Result<wire::Answer, String>;

/// A question that is forgotten when nobody waits for it any more.
struct Waits<'a> {
    among: &'a Open,
    id: u64,
    said: oneshot::Receiver<Said>,
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.among.all().remove(&self.id);
    }
}

impl Open {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u64, (NodeId, oneshot::Sender<Said>)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, member: NodeId) -> Waits<'_> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (settle, said) = oneshot::channel();
        self.all().insert(id, (member, settle));
        Waits {
            among: self,
            id,
            said,
        }
    }

    /// By who was asked, and by nobody else.
    fn settle(&self, from: NodeId, id: u64, said: Said) {
        let mut all = self.all();
        if all.get(&id).is_some_and(|(asked, _)| *asked == from)
            && let Some((_, waits)) = all.remove(&id)
        {
            // Whoever asked may have given up.
            let _ = waits.send(said);
        }
    }
}

impl Inner {
    fn pushes(&self) -> MutexGuard<'_, BTreeMap<NodeId, BTreeSet<Key>>> {
        self.pushes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn written((policy, trigger): Key) -> wire::Push {
    wire::Push {
        namespace: policy.namespace,
        name: policy.name,
        trigger,
    }
}

impl Post {
    pub(super) fn new(log: Log) -> Post {
        Post {
            inner: Arc::new(Inner {
                log,
                writers: Mutex::default(),
                pushes: Mutex::default(),
                undelivered: Keys::default(),
                open: Open::default(),
            }),
        }
    }

    /// `Err` where the member didn't get it or said nothing, in words.
    pub(super) async fn ask(
        &self,
        member: NodeId,
        mut question: wire::Question,
        within: Duration,
    ) -> Said {
        let mut waits = self.inner.open.add(member);
        question.id = waits.id;
        self.write(member, Item::Question(question))?;
        match tokio::time::timeout(within, &mut waits.said).await {
            Ok(Ok(said)) => said,
            Ok(Err(_)) => Err("the agent ends".to_owned()),
            Err(_) => Err(format!("no answer within {} ms", within.as_millis())),
        }
    }

    pub(super) fn answer(&self, member: NodeId, mut answer: wire::Answer) {
        if let Some(answer::Said::Failure(failure)) = &mut answer.said {
            let end = failure.why.floor_char_boundary(WORDS_BYTES_MAX);
            failure.why.truncate(end);
        }
        // Whoever asked has a time for it, and asks another one.
        if let Err(why) = self.write(member, Item::Answer(answer)) {
            warn!(member = member.0, "an answer isn't sent: {why}");
        }
    }

    pub(super) fn push(&self, member: NodeId, key: &Key) {
        {
            let mut pushes = self.inner.pushes();
            let waiting = pushes.entry(member).or_default();
            let first = waiting.is_empty();
            waiting.insert(key.clone());
            if !first {
                return;
            }
        }
        // Its trigger is asked at its next interval in any case.
        if let Err(why) = self.write(member, Item::Pushes) {
            debug!(member = member.0, "a push isn't sent: {why}");
            self.inner.pushes().remove(&member);
        }
    }

    /// Pushes that didn't arrive, once there are any.
    pub(super) async fn undelivered(&self) -> BTreeSet<Key> {
        self.inner.undelivered.take().await
    }

    /// What a letter of another member brings; its answers are handed over to who waits.
    pub(super) fn read(&self, letter: &Letter) -> Read {
        let Ok(read) = wire::Letter::decode(letter.body.as_slice()) else {
            warn!(member = letter.from.0, "a letter can't be read");
            return Read::default();
        };
        for answer in read.answers {
            self.inner.open.settle(letter.from, answer.id, Ok(answer));
        }
        Read {
            questions: read.questions,
            pushes: read.pushes,
        }
    }

    fn write(&self, member: NodeId, item: Item) -> Result<(), String> {
        let writers = &self.inner.writers;
        let mut writers = writers.lock().unwrap_or_else(PoisonError::into_inner);
        let known = writers.get(&member).filter(|writer| !writer.is_closed());
        let writer = known.cloned().unwrap_or_else(|| {
            writers.retain(|_, writer| !writer.is_closed());
            let (writer, items) = mpsc::channel(WAITING_MAX);
            tokio::spawn(deliver(Arc::downgrade(&self.inner), member, items));
            writers.insert(member, writer.clone());
            writer
        });
        let full = |_| format!("{WAITING_MAX} others wait to be sent there");
        writer.try_send(item).map_err(full)
    }
}

/// Until nobody has written for a while.
async fn deliver(inner: Weak<Inner>, member: NodeId, mut items: mpsc::Receiver<Item>) {
    let mut some = Vec::new();
    loop {
        let waited = tokio::time::timeout(IDLE, items.recv_many(&mut some, ITEMS_MAX)).await;
        if waited.is_err() {
            // What came meanwhile is still sent.
            items.close();
            continue;
        }
        let Some(inner) = inner.upgrade().filter(|_| !some.is_empty()) else {
            return;
        };
        let mut letter = wire::Letter::default();
        let mut pushed = BTreeSet::new();
        for item in some.drain(..) {
            match item {
                Item::Question(question) => letter.questions.push(question),
                Item::Answer(answer) => letter.answers.push(answer),
                Item::Pushes => pushed = inner.pushes().remove(&member).unwrap_or_default(),
            }
        }
        letter.pushes = pushed.iter().cloned().map(written).collect();
        if let Err(why) = inner.log.tell(member, letter.encode_to_vec()).await {
            inner.undelivered.add(pushed);
            for question in letter.questions {
                inner.open.settle(member, question.id, Err(why.to_string()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(milli: i64) -> wire::Answer {
        wire::Answer {
            id: 0,
            said: Some(answer::Said::Number(wire::Number {
                milli,
                activity_milli: milli,
            })),
        }
    }

    #[tokio::test]
    async fn an_answer_counts_once_and_from_who_was_asked() {
        let open = Open::default();
        let mut waits = open.add(NodeId(2));
        open.settle(NodeId(3), waits.id, Ok(number(9)));
        open.settle(NodeId(2), waits.id + 1, Ok(number(8)));
        open.settle(NodeId(2), waits.id, Ok(number(7)));
        open.settle(NodeId(2), waits.id, Ok(number(6)));
        assert_eq!((&mut waits.said).await, Ok(Ok(number(7))));
        assert!(open.all().is_empty());
    }

    #[test]
    fn one_that_is_given_up_is_forgotten() {
        let open = Open::default();
        let (first, second) = (open.add(NodeId(2)), open.add(NodeId(2)));
        assert_ne!(first.id, second.id);
        drop(first);
        assert_eq!(open.all().len(), 1);
        drop(second);
        assert!(open.all().is_empty());
    }
}

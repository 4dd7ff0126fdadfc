//! The brokers of all clusters that are asked, and the connections to them that wait for the
//! next question.
//!
//! Comes in: a broker's address, in whose name it is asked, a question, and until when. Goes
//! out: what was read of the answer. A connection has one question at a time: it is taken out
//! for that, and comes back when it has answered; so one that was given up is closed, and with
//! it the others that wait to the same broker in the same name.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use crate::Reason;
use crate::kept::IDLE_MAX;
use crate::stream::Address;

use super::connection::Connection;
use super::login::Login;
use super::messages::Question;

/// That wait, of all brokers; with one more the one that has waited longest is closed.
const CONNECTIONS_MAX: usize = 128;
/// That wait, to one broker in one name.
const IDLE_CONNECTIONS_MAX: usize = 2;
/// What each of several servers is given at least, while there is so much left: a sixteenth of
/// the time would be 190 ms, too short for a connection over TLS and a proof of a password.
const SHARE_MIN: Duration = Duration::from_secs(1);

/// Connections that wait, the latest one last.
#[derive(Default, Clone)]
pub(crate) struct Brokers(Arc<Mutex<VecDeque<Waiting>>>);

struct Waiting {
    broker: Address,
    login: Arc<Login>,
    since: Instant,
    connection: Connection,
}

impl Waiting {
    fn is(&self, broker: &Address, login: &Login) -> bool {
        self.broker == *broker && *self.login == *login
    }

    fn is_fresh(&self) -> bool {
        self.since.elapsed() < IDLE_MAX
    }
}

impl fmt::Debug for Brokers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.all();
        let brokers = waiting.iter().map(|it| &it.broker);
        f.debug_list().entries(brokers).finish()
    }
}

impl Brokers {
    fn all(&self) -> MutexGuard<'_, VecDeque<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, broker: &Address, login: &Login) -> bool {
        let all = self.all();
        all.iter().any(|it| it.is(broker, login) && it.is_fresh())
    }

    fn take(&self, broker: &Address, login: &Login) -> Option<Connection> {
        let mut all = self.all();
        all.retain(Waiting::is_fresh);
        let at = all.iter().rposition(|it| it.is(broker, login))?;
        all.remove(at).map(|it| it.connection)
    }

    fn keep(&self, broker: &Address, login: &Arc<Login>, connection: Connection) {
        let mut all = self.all();
        let same = all.iter().filter(|it| it.is(broker, login));
        if same.count() >= IDLE_CONNECTIONS_MAX {
            return;
        }
        if all.len() >= CONNECTIONS_MAX {
            all.pop_front();
        }
        all.push_back(Waiting {
            broker: broker.clone(),
            login: login.clone(),
            since: Instant::now(),
            connection,
        });
    }

    /// As if all had waited for so much longer.
    #[cfg(test)]
    pub(super) fn age(&self, by: Duration) {
        for waiting in &mut *self.all() {
            waiting.since -= by;
        }
    }
}

/// That something is asked over a connection that has waited. Where that one hangs or is gone
/// the others that wait to the same broker are closed, also where nobody waited for the answer
/// to the end: a broker that restarts or is cut off loses all of them at once, and each would
/// cost another question its time.
struct Used<'a> {
    brokers: &'a Brokers,
    broker: &'a Address,
    login: &'a Login,
    answered: bool,
}

impl Used<'_> {
    async fn ask(mut self, over: &mut Connection, question: &Question) -> Result<Vec<u8>, Reason> {
        let answer = over.ask(question).await;
        // Any other failure is an answer.
        self.answered = !matches!(answer, Err(Reason::Connection(_)));
        answer
    }
}

impl Drop for Used<'_> {
    fn drop(&mut self) {
        if !self.answered {
            let mut all = self.brokers.all();
            all.retain(|it| !it.is(self.broker, self.login));
        }
    }
}

/// Who asks, and how long.
#[derive(Clone)]
pub(super) struct Asker {
    pub brokers: Brokers,
    pub login: Arc<Login>,
    /// Nothing waits for longer.
    pub until: Instant,
    /// How much time there is until then, as errors say it.
    pub after_ms: u64,
}

impl Asker {
    /// What `read` makes of the answer. Of a broker that has closed a waiting connection
    /// meanwhile, by a new one: all questions may be asked twice.
    pub(super) async fn ask<T>(
        &self,
        broker: &Address,
        question: &Question,
        read: impl Fn(&[u8]) -> Result<T, Reason>,
    ) -> Result<T, Reason> {
        let (brokers, login) = (&self.brokers, &self.login);
        let answer = async {
            if let Some(mut waiting) = brokers.take(broker, login) {
                let used = Used {
                    brokers,
                    broker,
                    login,
                    answered: false,
                };
                match used.ask(&mut waiting, question).await {
                    Err(Reason::Connection(_)) => {}
                    answer => return Ok((waiting, answer?)),
                }
            }
            let mut open = Connection::open(broker, login).await?;
            let answer = open.ask(question).await?;
            open.trust();
            Ok((open, answer))
        };
        let late = Reason::TimedOut {
            after_ms: self.after_ms,
        };
        let answer = timeout_at(self.until, answer).await;
        let (connection, answer) = answer.unwrap_or(Err(late))?;
        let said = read(&answer)?;
        brokers.keep(broker, login, connection);
        Ok(said)
    }

    /// In turn, until one answers. One that hangs leaves the others their share of the time:
    /// of 3 s each of two has 1.5 s, and each of many a second, so that the fourth isn't asked
    /// where three hang. The error names those that were asked.
    pub(super) async fn ask_any<T>(
        &self,
        servers: &[Address],
        question: &Question,
        read: impl Fn(&[u8]) -> Result<T, Reason>,
    ) -> Result<T, (String, Reason)> {
        let mut servers: Vec<_> = servers.iter().collect();
        // One that has answered before is asked first.
        servers.sort_by_key(|server| !self.brokers.has(server, &self.login));
        let mut asked = Vec::new();
        let mut none = Reason::Misconfigured("there is no server to ask".to_owned());
        for (at, server) in servers.iter().enumerate() {
            let left = self.until.saturating_duration_since(Instant::now());
            if at > 0 && left.is_zero() {
                break;
            }
            let share = (left / (servers.len() - at) as u32).max(left.min(SHARE_MIN));
            let after_ms = match servers.len() {
                // It has all the time that the question has.
                1 => self.after_ms,
                // A share of 1,499.98 ms is one of 1,500.
                _ => share.as_micros().div_ceil(1_000) as u64,
            };
            let one = Asker {
                until: Instant::now() + share,
                after_ms,
                ..self.clone()
            };
            asked.push(server.to_string());
            match one.ask(server, question, &read).await {
                // That one hangs isn't forgotten where the next one can't be reached.
                Err(Reason::Connection(_) | Reason::TimedOut { .. })
                    if matches!(none, Reason::TimedOut { .. }) => {}
                Err(why @ (Reason::Connection(_) | Reason::TimedOut { .. })) => none = why,
                Err(why) => return Err((server.to_string(), why)),
                Ok(said) => return Ok(said),
            }
        }
        Err((asked.join(", "), none))
    }
}

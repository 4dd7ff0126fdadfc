//! The brokers of all clusters that are asked, and the connections to them that wait for the
//! next question.
//!
//! Comes in: a broker's address, in whose name it is asked, a question, and until when. Goes
//! out: what was read of the answer. A connection has one question at a time: it is taken out
//! for that, and comes back when it has answered; so one that was given up is closed.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::{Instant, timeout_at};

use crate::Reason;
use crate::kept::IDLE_MAX;
use crate::settings::TIMEOUT_DEFAULT_MS;
use crate::stream::Address;

use super::connection::Connection;
use super::login::Login;
use super::messages::Question;

/// That wait, of all brokers; with one more the one that has waited longest is closed.
const CONNECTIONS_MAX: usize = 128;
/// That wait, to one broker in one name.
const IDLE_CONNECTIONS_MAX: usize = 2;

/// Connections that wait, the latest one last.
#[derive(Default, Clone)]
pub(crate) struct Brokers(Arc<Mutex<VecDeque<Waiting>>>);

struct Waiting {
    broker: Address,
    login: Arc<Login>,
    since: Instant,
    connection: Connection,
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
        all.iter()
            .any(|it| it.broker == *broker && *it.login == *login)
    }

    fn take(&self, broker: &Address, login: &Login) -> Option<Connection> {
        let mut all = self.all();
        all.retain(|it| it.since.elapsed() < IDLE_MAX);
        let wanted = |it: &Waiting| it.broker == *broker && *it.login == *login;
        let at = all.iter().rposition(wanted)?;
        all.remove(at).map(|it| it.connection)
    }

    fn keep(&self, broker: &Address, login: &Arc<Login>, connection: Connection) {
        let mut all = self.all();
        let same = |it: &&Waiting| it.broker == *broker && *it.login == **login;
        if all.iter().filter(same).count() >= IDLE_CONNECTIONS_MAX {
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
}

/// Who asks, and how long.
#[derive(Clone)]
pub(super) struct Asker {
    pub brokers: Brokers,
    pub login: Arc<Login>,
    /// Nothing waits for longer.
    pub until: Instant,
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
                match waiting.ask(question).await {
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
            after_ms: TIMEOUT_DEFAULT_MS,
        };
        let answer = timeout_at(self.until, answer).await;
        let (connection, answer) = answer.unwrap_or(Err(late))?;
        let said = read(&answer)?;
        brokers.keep(broker, login, connection);
        Ok(said)
    }

    /// In turn, until one answers. One that hangs leaves the others their share of the time.
    /// The error names those that were asked.
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
            let share = left / (servers.len() - at) as u32;
            let one = Asker {
                until: Instant::now() + share,
                ..self.clone()
            };
            asked.push(server.to_string());
            match one.ask(server, question, &read).await {
                Err(why @ (Reason::Connection(_) | Reason::TimedOut { .. })) => none = why,
                Err(why) => return Err((server.to_string(), why)),
                Ok(said) => return Ok(said),
            }
        }
        Err((asked.join(", "), none))
    }
}

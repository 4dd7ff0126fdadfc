//! One Redis, or one sentinel: in whose name it is asked, a connection to it, and why it
//! gives no answer.

use std::fmt;

use redis::aio::{ConnectionLike, MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Cmd, RedisConnectionInfo, RedisError, Value};
use redis::{ErrorKind, ProtocolVersion, PushInfo, PushKind, ServerErrorKind};
use tokio::sync::mpsc;

use crate::Reason;
use crate::kept::Lost;
use crate::settings::shown;
use crate::stream::{self, Address, Meter};
use crate::tls::Trust;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Server {
    pub address: Address,
    pub account: Account,
}

/// In whose name servers are asked, and for what.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Account {
    pub database: i64,
    pub user: Option<String>,
    pub password: Option<String>,
    /// The authentication's parameter that holds it.
    pub parameter: &'static str,
    /// Where they are asked over TLS.
    pub trust: Option<Trust>,
    /// Whether they have to be nodes of a cluster, which may send a question on.
    pub in_cluster: bool,
}

/// Nothing that is secret.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl Server {
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let account = &self.account;
        // The library isn't told the password: whatever a server answered to it, one that
        // still loads its data too, the library would call it wrong.
        let info = RedisConnectionInfo::default();
        let config = AsyncConnectionConfig::new();
        let mut connection = self.open(info, config, None).await?;
        if let Some(password) = &account.password {
            let mut auth = redis::cmd("AUTH");
            auth.arg(account.user.as_deref()).arg(password);
            connection.prove(&auth).await?;
        }
        if account.database != 0 {
            let mut select = redis::cmd("SELECT");
            let select = select.arg(account.database);
            connection.tell(false, select).await?;
        }
        if account.in_cluster {
            connection.be_in_cluster().await?;
        }
        Ok(connection)
    }

    /// A connection by which the server says, from Redis 6 on, that a key has changed: once
    /// after each command over it that has read the key.
    pub(super) async fn listen(&self) -> Result<(Connection, mpsc::Receiver<()>), Failure> {
        let account = &self.account;
        // What comes by itself is in another protocol, in which the first command says who asks.
        let mut info = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_db(account.database);
        if let Some(user) = &account.user {
            info = info.set_username(user);
        }
        if let Some(password) = &account.password {
            info = info.set_password(password);
        }
        // It ends with the connection.
        let (note, changes) = mpsc::channel(1);
        let config = AsyncConnectionConfig::new().set_push_sender(move |said: PushInfo| {
            if said.kind == PushKind::Invalidate {
                // One that waits says the same.
                let _ = note.try_send(());
            }
            Ok::<(), SendError>(())
        });
        let mut connection = self.open(info, config, Some(UNHEARD)).await?;
        let mut tracking = redis::cmd("CLIENT");
        connection
            .tell(false, tracking.arg("TRACKING").arg("ON"))
            .await?;
        Ok((connection, changes))
    }

    /// With `refused` in place of a server's own words, which may repeat the password.
    async fn open(
        &self,
        info: RedisConnectionInfo,
        config: AsyncConnectionConfig,
        refused: Option<&str>,
    ) -> Result<Connection, Failure> {
        let account = &self.account;
        let (stream, meter) = stream::connect(&self.address, account.trust.as_ref()).await?;
        let info = info.set_skip_set_lib_name();
        // Who asks has a deadline already.
        let config = config
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let connected = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (line, driver) = connected.map_err(|error| match refused {
            Some(why) if !ends(&error) && known(&error, account.parameter).is_none() => {
                Failure::Why(Reason::Refused(why.to_owned()))
            }
            _ => failure(&error, account.parameter),
        })?;
        // It ends with the last one who has the connection, or when the server does, and waits
        // for no answer that nobody waits for.
        tokio::spawn(driver);
        Ok(Connection {
            line,
            meter,
            parameter: account.parameter,
        })
    }
}

#[derive(Clone)]
pub(crate) struct Connection {
    line: MultiplexedConnection,
    meter: Meter,
    parameter: &'static str,
}

/// Why nobody listens to a server.
const UNHEARD: &str = "it doesn't say by itself what changes, or not to this user (HELLO 3)";

impl Connection {
    /// Why it has ended.
    pub(super) fn judge(&self, why: Reason) -> Reason {
        self.meter.why(why)
    }

    /// With `asking` for a key that is just moving to this server.
    pub(super) async fn tell(&mut self, asking: bool, command: &Cmd) -> Result<Value, Failure> {
        let answer = self.answer(asking, command).await;
        answer.map_err(|error| self.failure(&error))
    }

    /// Says who asks. The server's own words aren't shown: they might repeat the password.
    async fn prove(&mut self, auth: &Cmd) -> Result<(), Failure> {
        let Err(error) = self.answer(false, auth).await else {
            return Ok(());
        };
        if ends(&error) || known(&error, self.parameter).is_some() {
            return Err(self.failure(&error));
        }
        let detail = error.detail().unwrap_or_default();
        let why = if detail.contains("without any password") || detail.contains("no password is") {
            "it asks for no password, and the trigger's authentication has one".to_owned()
        } else if detail.contains("max number of clients") {
            "it has as many clients as it takes".to_owned()
        } else {
            not_accepted(self.parameter)
        };
        Err(Failure::Why(Reason::Refused(why)))
    }

    /// Fails where the server stands alone: a replica would answer too, with what it has.
    /// READWRITE changes nothing there or in a cluster, and whoever may not use it is let pass.
    async fn be_in_cluster(&mut self) -> Result<(), Failure> {
        match self.tell(false, &redis::cmd("READWRITE")).await {
            Err(Failure::Why(Reason::Refused(why))) if why.contains("cluster support disabled") => {
                let why = "it is no node of a cluster";
                Err(Failure::Why(Reason::Refused(why.to_owned())))
            }
            Err(Failure::Why(why @ (Reason::Connection(_) | Reason::TooLong))) => {
                Err(Failure::Why(why))
            }
            _ => Ok(()),
        }
    }

    async fn answer(&mut self, asking: bool, command: &Cmd) -> Result<Value, RedisError> {
        self.meter.refill();
        if !asking {
            return command.query_async(&mut self.line).await;
        }
        // Nobody else's question comes between the two.
        let mut both = redis::pipe();
        both.cmd("ASKING").add_command(command.clone());
        let answers = self.line.req_packed_commands(&both, 1, 1).await?;
        answers
            .into_iter()
            .next()
            .unwrap_or(Value::Nil)
            .extract_error()
    }

    fn failure(&self, error: &RedisError) -> Failure {
        match failure(error, self.parameter) {
            Failure::Why(why) => Failure::Why(self.meter.why(why)),
            elsewhere @ Failure::Elsewhere { .. } => elsewhere,
        }
    }
}

/// Why a server gives no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// In its cluster another one does, at HOST:PORT. With `asking` it is to be asked for
    /// what is just moving there, and only now.
    Elsewhere {
        at: String,
        asking: bool,
    },
    Why(Reason),
}

impl Lost for Failure {
    fn reason(&self) -> Option<&Reason> {
        match self {
            Failure::Why(why) => Some(why),
            Failure::Elsewhere { .. } => None,
        }
    }
}

impl From<Reason> for Failure {
    fn from(why: Reason) -> Failure {
        Failure::Why(why)
    }
}

fn ends(error: &RedisError) -> bool {
    error.is_io_error() || error.is_connection_dropped()
}

/// What hasn't words of our own is in the server's, which may hold a key's name, and never a
/// password.
fn failure(error: &RedisError, parameter: &str) -> Failure {
    if ends(error) {
        return Failure::Why(Reason::Connection(shown(&error.to_string())));
    }
    if let Some((at, _)) = error.redirect_node() {
        return Failure::Elsewhere {
            at: at.to_owned(),
            asking: error.kind() == ErrorKind::Server(ServerErrorKind::Ask),
        };
    }
    let why = known(error, parameter).unwrap_or_else(|| {
        let (code, detail) = (error.code(), error.detail());
        match code.zip(detail) {
            Some((code, detail)) => shown(&format!("{code} {detail}")),
            None => shown(&error.to_string()),
        }
    });
    Failure::Why(Reason::Refused(why))
}

/// What means the same whatever was asked.
fn known(error: &RedisError, parameter: &str) -> Option<String> {
    Some(match error.code()? {
        "NOAUTH" => format!(
            "it asks for a password, and the trigger's authentication has no `{parameter}` (NOAUTH)"
        ),
        "WRONGPASS" => not_accepted(parameter),
        "LOADING" => "it has just started and still loads its data (LOADING)".to_owned(),
        "MASTERDOWN" => "it is a replica that has lost its master (MASTERDOWN)".to_owned(),
        "CLUSTERDOWN" => {
            "too few of its cluster's nodes are there, or none of them has the key (CLUSTERDOWN)"
                .to_owned()
        }
        _ => return None,
    })
}

fn not_accepted(parameter: &str) -> String {
    format!("the user and the password (`{parameter}`) are not accepted")
}

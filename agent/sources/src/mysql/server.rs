//! Which MySQL or MariaDB is asked, in whose name, and a connection to it.

use std::fmt::Write as _;

use tokio::runtime::Handle;

use super::login::{self, Account, Tls};
use super::wire::Wire;
use super::{dsn, query};
use crate::Reason;
use crate::http::within;
use crate::secrets::Secrets;
use crate::settings::{self, Metadata, TIMEOUT_DEFAULT_MS, Wrong};
use crate::stream::{self, Address, Meter};
use crate::tls::Trust;

pub(super) const KEYS: [&str; 4] = ["host", "port", "username", "dbName"];
pub(super) const PORT_DEFAULT: &str = "3306";
/// The server ends a query by itself a second after nobody waits for it any more, where the
/// one who asked has ended, too.
const QUERY_SECONDS_MAX: u64 = TIMEOUT_DEFAULT_MS / 1_000 + 1;

/// How the connection is made safe: `tls` of Go's library, and KEDA's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Disable,
    /// Over TLS where the server can, whoever answers.
    Prefer,
    /// Whoever answers.
    Require,
    Verify,
}

impl Mode {
    pub(super) fn of(word: &str) -> Option<Mode> {
        Some(match word {
            "disable" | "false" => Mode::Disable,
            "preferred" => Mode::Prefer,
            "skip-verify" => Mode::Require,
            "enable" | "true" => Mode::Verify,
            _ => return None,
        })
    }
}

#[derive(Clone)]
pub(super) struct Server {
    pub address: Address,
    account: Account,
    mode: Mode,
    trust: Trust,
    /// What is set before a query.
    variables: String,
}

pub(super) fn check(metadata: &Metadata) -> Wrong {
    settings::check_server(
        metadata,
        PORT_DEFAULT,
        &["host", "username"],
        "connectionString",
    )
}

impl Server {
    /// As with KEDA a `connectionString` says all there is to say, and for the rest what the
    /// trigger says counts before what the authentication does.
    pub(super) fn of(metadata: &Metadata, secrets: &Secrets) -> Result<Server, Reason> {
        let said = match secrets.get("connectionString") {
            Some(text) => dsn::read(text).map_err(Reason::Secret)?,
            None => apart(metadata, secrets)?,
        };
        if said.account.user.is_empty() {
            return Err(Reason::Secret("nothing says the `username`".to_owned()));
        }
        // It would end there, and what follows be read as something else.
        if [&said.account.user, &said.account.database]
            .iter()
            .any(|it| it.contains('\0'))
        {
            return Err(Reason::Secret("a name holds a zero byte".to_owned()));
        }
        let told = match secrets.get("tls") {
            Some(word) => Some(Mode::of(word).ok_or_else(|| {
                let words = "enable, disable, skip-verify or preferred";
                Reason::Secret(format!("the parameter `tls` must be {words}"))
            })?),
            None => None,
        };
        // Who names an authority means that it is asked, and who proves himself by a
        // certificate means TLS, with a server that proves itself too.
        let named = secrets.get("ca").is_some();
        let default = if named || secrets.get("cert").is_some() {
            Mode::Verify
        } else {
            Mode::Disable
        };
        if let (Some(one), Some(other)) = (said.mode, told)
            && one != other
        {
            let why = "the parameters `connectionString` and `tls` ask for different things";
            return Err(Reason::Secret(why.to_owned()));
        }
        let mode = said.mode.or(told).unwrap_or(default);
        let variables = said.variables.iter();
        let variables = variables.map(|(name, value)| format!("{name}={value}"));
        Ok(Server {
            address: said.address,
            account: said.account,
            mode,
            trust: Trust::of(secrets, mode != Mode::Verify && !named),
            variables: variables.collect::<Vec<_>>().join(", "),
        })
    }

    /// All that was understood.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        let Account {
            user,
            password,
            database,
            in_the_clear,
        } = &self.account;
        format!(
            "{user} {password} {} {database} {:?} {:?} {in_the_clear} {}",
            self.address, self.mode, self.trust, self.variables
        )
    }

    async fn connect(&self) -> Result<(Wire, login::Greeting, Meter), Reason> {
        let (stream, meter) = stream::plain(&self.address).await?;
        let tls = match self.mode {
            Mode::Disable => Tls::Never,
            Mode::Prefer if self.trust.anyone => Tls::WhereOffered,
            Mode::Prefer | Mode::Require | Mode::Verify => Tls::Always,
        };
        let secure = |plain| stream::secure(plain, &self.address, &self.trust, None);
        let (wire, greeting) = login::log_in(Box::new(stream), &self.account, tls, secure).await?;
        Ok((wire, greeting, meter))
    }

    /// A connection that can be asked, and that can change nothing where the server knows how.
    pub(super) async fn open(&self) -> Result<Open, Reason> {
        let (wire, greeting, meter) = self.connect().await?;
        let mut open = Open {
            wire,
            meter,
            server: self.clone(),
            id: greeting.id,
            running: None,
        };
        if !self.variables.is_empty() {
            let set = query::run(&mut open.wire, &format!("SET {}", self.variables)).await;
            set.map_err(|why| match why {
                // What it says of them might hold their values.
                Reason::Refused(_) => {
                    let why = "the server takes no variable as the parameter `connectionString` \
                               sets it";
                    Reason::Secret(why.to_owned())
                }
                why => why,
            })?;
        }
        let ends = if greeting.is_mariadb() {
            format!("SET SESSION max_statement_time={QUERY_SECONDS_MAX}")
        } else {
            format!(
                "SET SESSION max_execution_time={}",
                QUERY_SECONDS_MAX * 1_000
            )
        };
        for statement in ["SET SESSION TRANSACTION READ ONLY", &ends] {
            match query::run(&mut open.wire, statement).await {
                // An old one, or one that only speaks like those.
                Ok(()) | Err(Reason::Refused(_)) => {}
                Err(why) => return Err(why),
            }
        }
        Ok(open)
    }
}

/// What a trigger and its authentication say one by one.
fn apart(metadata: &Metadata, secrets: &Secrets) -> Result<dsn::Said, Reason> {
    let missing = |what: &str| Reason::Secret(format!("nothing says the `{what}`"));
    let told = |key: &str| metadata.get(key).map(String::as_str);
    let said = |key: &str| told(key).filter(|it| !it.is_empty()).or(secrets.get(key));
    let host = said("host").ok_or_else(|| missing("host"))?;
    let address = Address::of(host, said("port").unwrap_or(PORT_DEFAULT));
    // What it says instead might hold what is secret.
    let address = address.map_err(|_| {
        let why = "`host` and `port` of the trigger and its authentication make no address";
        Reason::Secret(why.to_owned())
    })?;
    let owned = |key: &str| said(key).unwrap_or_default().to_owned();
    Ok(dsn::Said {
        account: Account {
            user: owned("username"),
            password: secrets
                .get("password")
                .ok_or_else(|| missing("password"))?
                .to_owned(),
            database: owned("dbName"),
            in_the_clear: false,
        },
        address,
        mode: None,
        variables: Vec::new(),
    })
}

/// A connection of one question. It is closed with this, and what still runs there is ended.
pub(super) struct Open {
    wire: Wire,
    meter: Meter,
    server: Server,
    id: u64,
    /// The query that the server may still work at.
    running: Option<String>,
}

impl Open {
    /// What the first row's only column holds; `None` is NULL.
    pub(super) async fn ask(&mut self, query: &str) -> Result<Option<String>, Reason> {
        self.running = Some(query.to_owned());
        let answer = query::one(&mut self.wire, query).await;
        let answer = self.meter.judge(answer);
        // Whatever else went wrong, the server has answered.
        if !matches!(answer, Err(Reason::Connection(_))) {
            self.running = None;
            // Whether it hears that or not, the connection ends.
            let _ = query::quit(&mut self.wire).await;
        }
        answer
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let Some(query) = self.running.take() else {
            return;
        };
        // One that can't be ended ends when its time is over.
        if let Ok(runtime) = Handle::try_current() {
            let end = end(self.server.clone(), self.id, query);
            runtime.spawn(within(TIMEOUT_DEFAULT_MS, end));
        }
    }
}

/// Asks the server, over a connection of its own, to end a query. Behind one name there may be
/// several servers, whose connections have the same numbers: none is ended that isn't at it.
async fn end(server: Server, id: u64, query: String) -> Result<(), Reason> {
    let (mut wire, ..) = server.connect().await?;
    let mut same = String::new();
    for byte in query.bytes() {
        // Writing to a string can't fail.
        let _ = write!(same, "{byte:02x}");
    }
    let found = format!(
        "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE ID = {id} AND INFO = X'{same}'"
    );
    if query::one(&mut wire, &found).await?.as_deref() == Some("1") {
        query::run(&mut wire, &format!("KILL QUERY {id}")).await?;
    }
    query::quit(&mut wire).await
}

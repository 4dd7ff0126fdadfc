//! Which PostgreSQL is asked, in whose name, and the connections to it.

use std::fmt;
use std::str::FromStr as _;
use std::sync::Arc;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{CancelToken, Client, Config};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::Reason;
use crate::http::within;
use crate::kept::Kept;
use crate::secrets::{AUTHENTICATION, Secrets};
use crate::settings::{Metadata, TIMEOUT_DEFAULT_MS, Wrong, not_known, shown, text};
use crate::stream::{self, Address, Meter, Metered};
use crate::tls::{self, Trust};

pub(super) const KEYS: [&str; 5] = ["host", "port", "userName", "dbName", "sslmode"];
const PORT_DEFAULT: u16 = 5_432;
const SSL_MODES: [&str; 4] = ["disable", "require", "verify-ca", "verify-full"];

/// Those that are open.
pub(crate) type Connections = Kept<Server, Arc<Open>>;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Server {
    pub address: Address,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    /// Where it is asked over TLS.
    trust: Option<Trust>,
}

/// Nothing that is secret.
impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.address)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

/// One connection.
pub(crate) struct Open {
    pub client: Client,
    meter: Meter,
}

impl Open {
    pub(super) fn refill(&self) {
        self.meter.refill();
    }

    pub(super) fn judge<T>(&self, answer: Result<T, Reason>) -> Result<T, Reason> {
        self.meter.judge(answer)
    }
}

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut wrong = Wrong::new();
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    let refers = metadata.contains_key(AUTHENTICATION);
    if metadata.contains_key("host") {
        let port = metadata.get("port").map_or("5432", String::as_str);
        if let Err(why) = Address::of(text(metadata, "host"), port) {
            fails("host", why);
        }
    } else if !refers {
        let why = "is missing, here or, as `connection` or `host`, in what an `authenticationRef` \
                   names";
        fails("", format!("`host` {why}"));
    }
    for key in ["userName", "dbName"] {
        if !metadata.contains_key(key) && !refers {
            fails("", format!("`{key}` is missing"));
        }
    }
    if let Some(mode) = metadata.get("sslmode")
        && !SSL_MODES.contains(&mode.as_str())
    {
        fails("sslmode", not_known(mode, &SSL_MODES));
    }
    wrong
}

impl Server {
    /// What the trigger says, and for the rest its authentication. What is said apart counts
    /// before what a `connection` says.
    pub(super) fn of(metadata: &Metadata, secrets: &Secrets) -> Result<Server, Reason> {
        let said = |key: &str| {
            metadata
                .get(key)
                .map(String::as_str)
                .or_else(|| secrets.get(key))
        };
        let whole = secrets.get("connection").map(Connection::parse).transpose();
        let whole = whole.map_err(Reason::Secret)?.unwrap_or_default();
        let address = match said("host") {
            Some(host) => {
                let port = said("port").unwrap_or("5432");
                Address::of(host, port).map_err(|_| {
                    let why = "`host` and `port`, here or in the authentication, make no HOST:PORT";
                    Reason::Secret(why.to_owned())
                })?
            }
            None => whole.address.ok_or_else(|| {
                let why = "the trigger has no `host`, and its authentication neither that nor a \
                           `connection`";
                Reason::Secret(why.to_owned())
            })?,
        };
        let mode = said("sslmode").map(str::to_owned).or(whole.ssl_mode);
        let own = |parameter: &str| secrets.get(parameter).map(str::to_owned);
        let trust = match mode.as_deref() {
            Some("disable") => None,
            // Libpq's `require` believes whoever answers, unless an authority is named.
            mode @ (None | Some("require" | "verify-ca" | "verify-full")) => Some(Trust {
                ca: own("ca"),
                cert: own("cert"),
                key: own("key"),
                anyone: matches!(mode, None | Some("require")) && own("ca").is_none(),
                name: None,
            }),
            Some(_) => {
                let allowed = SSL_MODES.join(", ");
                let why =
                    format!("`sslmode` of the trigger's authentication must be one of {allowed}");
                return Err(Reason::Secret(why));
            }
        };
        Ok(Server {
            address,
            user: said("userName").map(str::to_owned).or(whole.user),
            password: own("password").or(whole.password),
            database: said("dbName").map(str::to_owned).or(whole.database),
            trust,
        })
    }

    pub(super) async fn connect(&self) -> Result<Arc<Open>, Reason> {
        let (stream, meter) = stream::plain(&self.address).await?;
        let mut config = Config::new();
        config.application_name("starling");
        if let Some(user) = &self.user {
            config.user(user);
        }
        if let Some(password) = &self.password {
            config.password(password);
        }
        if let Some(database) = &self.database {
            config.dbname(database);
        }
        config.ssl_mode(match self.trust {
            Some(_) => SslMode::Require,
            None => SslMode::Disable,
        });
        let tls = self.tls()?;
        let connected = config
            .connect_raw(stream, secured(tls, &self.address.host))
            .await;
        let (client, connection) = connected.map_err(|error| reason(&error))?;
        // It ends with the last one who has the client, or when the server does.
        tokio::spawn(connection);
        Ok(Arc::new(Open { client, meter }))
    }

    /// Nobody is trusted where nobody is asked over TLS.
    fn tls(&self) -> Result<ClientConfig, Reason> {
        let trust = self.trust.clone().unwrap_or_default();
        tls::config(&trust).map_err(Reason::Secret)
    }

    /// Ends the query that is asked next where it is given up.
    pub(super) fn cancels(&self, open: &Open) -> Cancel {
        Cancel(Some((self.clone(), open.client.cancel_token())))
    }
}

/// Asks the server, over a connection of its own, to end a query.
async fn cancel(server: Server, token: CancelToken) -> Result<(), Reason> {
    let (stream, _) = stream::plain(&server.address).await?;
    let tls = secured(server.tls()?, &server.address.host);
    let cancelled = token.cancel_query_raw(stream, tls).await;
    cancelled.map_err(|error| reason(&error))
}

type Plain = Metered<TcpStream>;
type Tls = <MakeRustlsConnect as MakeTlsConnect<Plain>>::TlsConnect;

fn secured(config: ClientConfig, host: &str) -> Tls {
    let mut by_name = MakeRustlsConnect::new(config);
    let tls = MakeTlsConnect::<Plain>::make_tls_connect(&mut by_name, host);
    tls.unwrap_or_else(|never| match never {})
}

/// A query that is under way.
pub(super) struct Cancel(Option<(Server, CancelToken)>);

impl Cancel {
    pub(super) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for Cancel {
    fn drop(&mut self) {
        let Some((server, token)) = self.0.take() else {
            return;
        };
        // One that can't be cancelled ends by itself, or with its connection.
        tokio::spawn(within(TIMEOUT_DEFAULT_MS, cancel(server, token)));
    }
}

/// What a `connection` says, in libpq's words or as an address.
#[derive(Default)]
struct Connection {
    address: Option<Address>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    ssl_mode: Option<String>,
}

impl Connection {
    fn parse(text: &str) -> Result<Connection, String> {
        // The library knows no mode that says whom to believe.
        let mode = SSL_MODES
            .iter()
            .find(|mode| text.contains(&format!("sslmode={mode}")));
        let known = text
            .replace("sslmode=verify-full", "sslmode=require")
            .replace("sslmode=verify-ca", "sslmode=require");
        // What is wrong with it could hold what is secret in it.
        let config = Config::from_str(&known).map_err(|_| {
            "the parameter `connection` can't be read; write \
             postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE, or `host=HOST port=PORT \
             user=USER password=PASSWORD dbname=DATABASE sslmode=MODE`"
                .to_owned()
        })?;
        let port = config.get_ports().first().copied().unwrap_or(PORT_DEFAULT);
        let address = match config.get_hosts() {
            [] => None,
            [Host::Tcp(host)] => Some(Address::of(host, &port.to_string())?),
            _ => {
                return Err(
                    "the parameter `connection` must name one host, by name or address".to_owned(),
                );
            }
        };
        let password = config
            .get_password()
            .map(|it| String::from_utf8(it.to_vec()));
        let password = password
            .transpose()
            .map_err(|_| "the password in the parameter `connection` is no text".to_owned())?;
        Ok(Connection {
            address,
            user: config.get_user().map(str::to_owned),
            password,
            database: config.get_dbname().map(str::to_owned),
            ssl_mode: mode.map(|mode| (*mode).to_owned()),
        })
    }
}

/// Never holds a password; who asks is named by the server where it doesn't let him in.
pub(super) fn reason(error: &tokio_postgres::Error) -> Reason {
    if let Some(said) = error.as_db_error() {
        return match *said.code() {
            SqlState::QUERY_CANCELED | SqlState::ADMIN_SHUTDOWN => {
                Reason::Connection(shown(said.message()))
            }
            _ => Reason::Refused(shown(said.message())),
        };
    }
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    Reason::Connection(shown(&cause.to_string()))
}

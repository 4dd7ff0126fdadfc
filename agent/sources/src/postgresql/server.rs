//! Which PostgreSQL is asked, in whose name, and a connection to it.

use std::error::Error as _;
use std::future::poll_fn;
use std::str::FromStr as _;

use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{AsyncMessage, CancelToken, Client, Config, Connection};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::Reason;
use crate::http::within;
use crate::push::Pace;
use crate::secrets::Secrets;
use crate::settings::{self, Metadata, TIMEOUT_DEFAULT_MS, Wrong, not_known, shown};
use crate::stream::{self, Address, Meter, Metered};
use crate::tls::{self, Trust};

pub(super) const KEYS: [&str; 5] = ["host", "port", "userName", "dbName", "sslmode"];
const PORT_DEFAULT: &str = "5432";

/// How the connection is made safe: libpq's `sslmode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Disable,
    /// Over TLS where the server can, whoever answers; always where an authority is named.
    Prefer,
    Require,
    Verify,
}

impl Mode {
    const WORDS: [&str; 5] = ["disable", "prefer", "require", "verify-ca", "verify-full"];

    fn of(word: &str) -> Result<Mode, String> {
        Ok(match word {
            "disable" => Mode::Disable,
            "prefer" => Mode::Prefer,
            "require" => Mode::Require,
            "verify-ca" | "verify-full" => Mode::Verify,
            _ => return Err(not_known(word, &Mode::WORDS)),
        })
    }
}

#[derive(Clone)]
pub(super) struct Server {
    pub address: Address,
    config: Config,
    mode: Mode,
    trust: Trust,
}

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let needed = ["host", "userName", "dbName"];
    let mut wrong = settings::check_server(metadata, PORT_DEFAULT, &needed, "connection");
    if let Some(mode) = metadata.get("sslmode")
        && let Err(why) = Mode::of(mode)
    {
        wrong.push(("sslmode".to_owned(), why));
    }
    wrong
}

impl Server {
    /// As with KEDA a `connection` says all there is to say, and for the rest what the
    /// authentication says counts before what the trigger does.
    pub(super) fn of(metadata: &Metadata, secrets: &Secrets) -> Result<Server, Reason> {
        let (config, mode) = match secrets.get("connection") {
            Some(connection) => whole(connection).map_err(Reason::Secret)?,
            None => apart(metadata, secrets)?,
        };
        let port = config.get_ports().first().map(u16::to_string);
        let port = port.unwrap_or_else(|| PORT_DEFAULT.to_owned());
        let address = match (config.get_hosts(), config.get_hostaddrs()) {
            ([Host::Tcp(host)], []) => Address::of(host, &port).ok(),
            _ => None,
        };
        // What it says instead might hold what is secret.
        let address = address.ok_or_else(|| {
            let why = "the trigger's authentication must name one host, by its name or address";
            Reason::Secret(why.to_owned())
        })?;
        let missing = |what: &str| Reason::Secret(format!("nothing says the {what}"));
        config.get_user().ok_or_else(|| missing("`userName`"))?;
        config.get_password().ok_or_else(|| missing("`password`"))?;
        // Libpq's `require` believes whoever answers, unless an authority is named.
        let anyone = mode != Mode::Verify && secrets.get("ca").is_none();
        Ok(Server {
            address,
            config,
            mode,
            trust: Trust::of(secrets, anyone),
        })
    }

    /// All that was understood.
    #[cfg(test)]
    pub(super) fn shown(&self) -> String {
        let (config, mode) = (&self.config, self.mode);
        let (user, password) = (config.get_user(), config.get_password());
        let (address, database) = (&self.address, config.get_dbname());
        format!(
            "{address} {user:?} {password:?} {database:?} {mode:?} {:?}",
            self.trust
        )
    }

    pub(super) async fn connect(&self) -> Result<Open, Reason> {
        let (client, connection, meter) = self.open().await?;
        let driver = tokio::spawn(connection).abort_handle();
        let cancel = Some((self.clone(), client.cancel_token()));
        Ok(Open {
            client,
            meter,
            driver,
            cancel,
        })
    }

    /// A connection to hear by what is told to a channel.
    pub(super) async fn listen(&self) -> Result<Heard, Reason> {
        let (client, connection, meter) = self.open().await?;
        Ok(Heard {
            client,
            connection,
            pace: Pace::of(meter),
        })
    }

    async fn open(&self) -> Result<(Client, Driven, Meter), Reason> {
        let (stream, meter) = stream::plain(&self.address).await?;
        let mut config = self.config.clone();
        config.application_name("starling");
        config.ssl_mode(match self.mode {
            Mode::Disable => SslMode::Disable,
            // Where an authority is named nobody between may say that there is no TLS.
            Mode::Prefer if self.trust.anyone => SslMode::Prefer,
            Mode::Prefer | Mode::Require | Mode::Verify => SslMode::Require,
        });
        let connected = config.connect_raw(stream, self.tls()?).await;
        let (client, connection) = connected.map_err(|error| reason(&error))?;
        Ok((client, connection, meter))
    }

    fn tls(&self) -> Result<Tls, Reason> {
        let config = tls::config(&self.trust).map_err(Reason::Secret)?;
        Ok(secured(config, &self.address.host))
    }
}

/// What a trigger and its authentication say one by one.
fn apart(metadata: &Metadata, secrets: &Secrets) -> Result<(Config, Mode), Reason> {
    let said = |key: &str| {
        let told = metadata.get(key).map(String::as_str);
        secrets.get(key).or(told.filter(|it| !it.is_empty()))
    };
    let mut config = Config::new();
    if let Some(host) = said("host") {
        config.host(host);
    }
    let port = said("port").unwrap_or(PORT_DEFAULT);
    let no_port = || Reason::Secret("`port` of the authentication is no port".to_owned());
    config.port(port.parse().map_err(|_| no_port())?);
    if let Some(user) = said("userName") {
        config.user(user);
    }
    if let Some(database) = said("dbName") {
        config.dbname(database);
    }
    if let Some(password) = secrets.get("password") {
        config.password(password);
    }
    let mode = said("sslmode").map_or(Ok(Mode::Prefer), Mode::of);
    let mode = mode.map_err(|_| {
        let words = Mode::WORDS.join(", ");
        Reason::Secret(format!(
            "`sslmode` of the authentication must be one of {words}"
        ))
    })?;
    Ok((config, mode))
}

/// What a `connection` says, in libpq's words or as an address. Why it can't be read isn't
/// said: it could hold what is secret.
fn whole(connection: &str) -> Result<(Config, Mode), String> {
    let is_address = connection.trim_start().starts_with("postgres");
    if is_address && connection.matches('@').count() > 1 {
        return Err(
            "the parameter `connection` holds more than one `@`: write that of a user or a \
             password as %40"
                .to_owned(),
        );
    }
    if let Ok(config) = Config::from_str(connection) {
        let mode = match config.get_ssl_mode() {
            SslMode::Disable => Mode::Disable,
            SslMode::Require => Mode::Require,
            _ => Mode::Prefer,
        };
        return Ok((config, mode));
    }
    // The library knows no mode that says whom to believe.
    for word in ["verify-full", "verify-ca"] {
        let Some(at) = connection.rfind(word) else {
            continue;
        };
        let (before, behind) = (&connection[..at], &connection[at + word.len()..]);
        if let Ok(config) = Config::from_str(&format!("{before}require{behind}")) {
            return Ok((config, Mode::Verify));
        }
    }
    Err("the parameter `connection` can't be read; write \
         postgresql://USER:PASSWORD@HOST:PORT/DATABASE?sslmode=MODE, or `host=HOST port=PORT \
         user=USER password=PASSWORD dbname=DATABASE sslmode=MODE`"
        .to_owned())
}

type Plain = Metered<TcpStream>;
type Tls = <MakeRustlsConnect as MakeTlsConnect<Plain>>::TlsConnect;

fn secured(config: ClientConfig, host: &str) -> Tls {
    let mut by_name = MakeRustlsConnect::new(config);
    let tls = MakeTlsConnect::<Plain>::make_tls_connect(&mut by_name, host);
    tls.unwrap_or_else(|never| match never {})
}

type Driven = Connection<Plain, <Tls as TlsConnect<Plain>>::Stream>;

/// A connection that nobody asks anything over.
pub(super) struct Heard {
    client: Client,
    connection: Driven,
    pace: Pace,
}

impl Heard {
    pub(super) async fn tell(&mut self, command: &str) -> Result<(), Reason> {
        let told = tokio::select! {
            told = self.client.batch_execute(command) => told.map_err(|error| reason(&error)),
            why = ended(&mut self.connection) => Err(why),
        };
        self.pace.judge(told)
    }

    /// Until somebody has told the channel something.
    pub(super) async fn next(&mut self) -> Result<(), Reason> {
        let heard = loop {
            self.pace.step().await;
            match message(&mut self.connection).await {
                Ok(AsyncMessage::Notification(_)) => break Ok(()),
                Ok(_) => {}
                Err(why) => break Err(why),
            }
        };
        self.pace.judge(heard)
    }
}

async fn message(connection: &mut Driven) -> Result<AsyncMessage, Reason> {
    match poll_fn(|context| connection.poll_message(context)).await {
        Some(message) => message.map_err(|error| reason(&error)),
        None => Err(Reason::Connection("it closed the connection".to_owned())),
    }
}

/// Why a connection has ended, on which nothing is told yet.
async fn ended(connection: &mut Driven) -> Reason {
    loop {
        if let Err(why) = message(connection).await {
            return why;
        }
    }
}

/// A connection of one question. It is closed with this, and what still runs there is
/// cancelled.
pub(super) struct Open {
    pub client: Client,
    meter: Meter,
    driver: AbortHandle,
    /// `None` once the question has its answer.
    cancel: Option<(Server, CancelToken)>,
}

impl Open {
    /// The answer is here, or why there is none.
    pub(super) fn judge<T>(&mut self, answer: Result<T, Reason>) -> Result<T, Reason> {
        self.cancel = None;
        self.meter.judge(answer)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.driver.abort();
        let Some((server, token)) = self.cancel.take() else {
            return;
        };
        // One that can't be cancelled ends when the server finds that nobody waits for it.
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(within(TIMEOUT_DEFAULT_MS, cancel(server, token)));
        }
    }
}

/// Asks the server, over a connection of its own, to end a query.
async fn cancel(server: Server, token: CancelToken) -> Result<(), Reason> {
    let (stream, _) = stream::plain(&server.address).await?;
    let cancelled = token.cancel_query_raw(stream, server.tls()?).await;
    cancelled.map_err(|error| reason(&error))
}

/// Never holds a password; who asks is named by the server where it doesn't let him in.
pub(super) fn reason(error: &tokio_postgres::Error) -> Reason {
    if let Some(said) = error.as_db_error() {
        return Reason::Refused(shown(said.message()));
    }
    let mut cause = error.source();
    let mut words = error.to_string();
    while let Some(inner) = cause {
        words = inner.to_string();
        cause = inner.source();
    }
    Reason::Connection(shown(&words))
}

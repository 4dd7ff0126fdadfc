//! Which Redis is asked, in whose name, and the connections to it.

use std::fmt;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo};

use crate::Reason;
use crate::kept::Kept;
use crate::secrets::{AUTHENTICATION, Secrets};
use crate::settings::{Metadata, Wrong, flag, shown, text};
use crate::stream::{self, Address, Meter};
use crate::tls::{self, Trust};

pub(super) const KEYS: [&str; 6] = [
    "address",
    "host",
    "port",
    "databaseIndex",
    "enableTLS",
    "unsafeSsl",
];
/// A Redis has 16 by default, and more where it is told so.
const DATABASE_MAX: i64 = 1_000_000;
/// Those that are open.
pub(crate) type Connections = Kept<Server, (MultiplexedConnection, Meter)>;

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Server {
    pub address: Address,
    database: i64,
    user: Option<String>,
    password: Option<String>,
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

pub(super) fn check(metadata: &Metadata) -> Wrong {
    let mut wrong = Wrong::new();
    let mut fails = |key: &str, why: String| wrong.push((key.to_owned(), why));
    let has = |key: &str| metadata.contains_key(key);
    if has("address") && (has("host") || has("port")) {
        fails("address", "says what `host` and `port` say too".to_owned());
    } else if has("host") != has("port") {
        fails("", "`host` and `port` go together".to_owned());
    } else if has("address") || has("host") {
        if let Err(why) = written(metadata) {
            fails(if has("address") { "address" } else { "host" }, why);
        }
    } else if !has(AUTHENTICATION) {
        fails(
            "",
            "`address` is missing: HOST:PORT here, or as a parameter of an `authenticationRef`"
                .to_owned(),
        );
    }
    if let Err(why) = database(metadata) {
        fails("databaseIndex", why);
    }
    for key in ["enableTLS", "unsafeSsl"] {
        if let Err(why) = flag(metadata, key) {
            fails(key, why);
        }
    }
    wrong
}

fn written(metadata: &Metadata) -> Result<Address, String> {
    match metadata.get("address") {
        Some(address) => Address::parse(address),
        None => Address::of(text(metadata, "host"), text(metadata, "port")),
    }
}

fn database(metadata: &Metadata) -> Result<i64, String> {
    let Some(written) = metadata.get("databaseIndex") else {
        return Ok(0);
    };
    let number = written.parse().ok();
    let number = number.filter(|number| (0..=DATABASE_MAX).contains(number));
    number.ok_or_else(|| format!("must be 0 to {DATABASE_MAX}, is `{}`", shown(written)))
}

/// It may hold more than an address, and is not shown.
fn unusable(parameter: &str) -> Reason {
    Reason::Secret(format!(
        "the parameter `{parameter}` of the trigger's authentication makes no HOST:PORT"
    ))
}

impl Server {
    /// What the trigger says, and for the rest its authentication.
    pub(super) fn of(metadata: &Metadata, secrets: &Secrets) -> Result<Server, Reason> {
        let said = ["address", "host"]
            .iter()
            .any(|key| metadata.contains_key(*key));
        let address = if said {
            written(metadata).map_err(Reason::Misconfigured)?
        } else if let Some(address) = secrets.get("address") {
            Address::parse(address).map_err(|_| unusable("address"))?
        } else if let (Some(host), Some(port)) = (secrets.get("host"), secrets.get("port")) {
            Address::of(host, port).map_err(|_| unusable("host"))?
        } else {
            let why = "the trigger has no `address`, and neither has its authentication";
            return Err(Reason::Secret(why.to_owned()));
        };
        let own = |parameter: &str| secrets.get(parameter).map(str::to_owned);
        let asked = flag(metadata, "enableTLS").map_err(Reason::Misconfigured)?;
        let secure = tls::is_wanted(secrets, asked, "`enableTLS`")?;
        let anyone = flag(metadata, "unsafeSsl").map_err(Reason::Misconfigured)?;
        Ok(Server {
            address,
            database: database(metadata).map_err(Reason::Misconfigured)?,
            user: own("username"),
            password: own("password"),
            trust: secure.then(|| Trust::of(secrets, anyone)),
        })
    }

    pub(super) async fn connect(&self) -> Result<(MultiplexedConnection, Meter), Reason> {
        let (stream, meter) = stream::connect(&self.address, self.trust.as_ref()).await?;
        let mut info = RedisConnectionInfo::default()
            .set_db(self.database)
            .set_skip_set_lib_name();
        if let Some(user) = &self.user {
            info = info.set_username(user);
        }
        if let Some(password) = &self.password {
            info = info.set_password(password);
        }
        // Who asks has a deadline already.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let connected = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = connected.map_err(|error| super::reason(&error))?;
        // It ends with the last one who has the connection, or when the server does.
        tokio::spawn(driver);
        Ok((connection, meter))
    }
}

//! The first words with a MySQL or a MariaDB: who it is, TLS, and that one may ask it.
//!
//! Comes in: a stream on which nothing was said, who asks, and how the connection is to be
//! made safe. Goes out: a conversation in which questions are answered. A password leaves this
//! machine as it is only over TLS, and sealed for the server's key where there is none.

use ring::rand::{SecureRandom as _, SystemRandom};

use super::proof::{self, SCRAMBLE_BYTES, Scramble};
use super::wire::{Fields, Wire, refusal, unreadable};
use crate::Reason;
use crate::settings::shown;
use crate::stream::Stream;

/// What both sides can do, as bits.
mod can {
    pub(super) const LONG_PASSWORD: u32 = 1;
    pub(super) const DATABASE: u32 = 1 << 3;
    pub(super) const PROTOCOL_41: u32 = 1 << 9;
    pub(super) const TLS: u32 = 1 << 11;
    pub(super) const TRANSACTIONS: u32 = 1 << 13;
    pub(super) const SECURE: u32 = 1 << 15;
    /// Of procedures that give rows.
    pub(super) const RESULTS: u32 = 1 << 17;
    pub(super) const PLUGINS: u32 = 1 << 19;
    pub(super) const LONG_PROOFS: u32 = 1 << 21;
}

/// `utf8mb4_general_ci`, which both have.
const CHARACTERS: u8 = 45;
const PACKET_BYTES_MAX: u32 = 1 << 24;
const VERSION: u8 = 10;
/// Of the longest login there is another way, more, a key, and the end.
const STEPS_MAX: u32 = 6;
const OK: u8 = 0;
const MORE: u8 = 1;
const SWITCH: u8 = 0xfe;
const ERROR: u8 = 0xff;

/// Who asks.
#[derive(Clone)]
pub(super) struct Account {
    pub user: String,
    pub password: String,
    /// Empty where none is to be the one that queries mean.
    pub database: String,
    /// Whether the server may ask for the password itself, over TLS.
    pub in_the_clear: bool,
}

/// When a connection goes on over TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    Never,
    WhereOffered,
    Always,
}

/// Who answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub version: String,
    /// What it calls this connection.
    pub id: u64,
    capabilities: u32,
    scramble: Scramble,
    plugin: Vec<u8>,
}

impl Greeting {
    pub(super) fn is_mariadb(&self) -> bool {
        self.version.contains("MariaDB")
    }

    pub(super) fn read(packet: &[u8]) -> Result<Greeting, Reason> {
        let mut fields = Fields(packet);
        match fields.number(1)? as u8 {
            VERSION => {}
            ERROR => return Err(refusal(fields.0)),
            _ => return Err(unreadable("no greeting that is known")),
        }
        let version = shown(&String::from_utf8_lossy(fields.text()));
        let id = fields.number(4)?;
        let first = fields.bytes(8)?;
        fields.bytes(1)?;
        let low = fields.number(2)?;
        fields.bytes(3)?;
        let capabilities = (fields.number(2)? << 16 | low) as u32;
        fields.bytes(11)?;
        // As long as it says itself, and a zero behind it.
        let second = fields.bytes(SCRAMBLE_BYTES - first.len())?;
        fields.text();
        Ok(Greeting {
            version,
            id,
            capabilities,
            scramble: scramble(&[first, second].concat())?,
            plugin: fields.text().to_vec(),
        })
    }
}

fn scramble(bytes: &[u8]) -> Result<Scramble, Reason> {
    let bytes = bytes
        .strip_suffix(&[0])
        .filter(|it| it.len() == SCRAMBLE_BYTES)
        .unwrap_or(bytes);
    bytes
        .try_into()
        .map_err(|_| unreadable("what a login begins with is of another length"))
}

/// How the server wants it proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plugin {
    Native,
    CachingSha2,
    Sha256,
    Clear,
}

impl Plugin {
    const ALL: [Plugin; 4] = [
        Plugin::Native,
        Plugin::CachingSha2,
        Plugin::Sha256,
        Plugin::Clear,
    ];

    fn name(self) -> &'static str {
        match self {
            Plugin::Native => "mysql_native_password",
            Plugin::CachingSha2 => "caching_sha2_password",
            Plugin::Sha256 => "sha256_password",
            Plugin::Clear => "mysql_clear_password",
        }
    }

    fn of(name: &[u8]) -> Option<Plugin> {
        Plugin::ALL
            .into_iter()
            .find(|it| it.name().as_bytes() == name)
    }
}

/// `secure` makes a stream one over TLS.
pub(super) async fn log_in<F>(
    stream: Box<dyn Stream>,
    account: &Account,
    tls: Tls,
    secure: impl FnOnce(Box<dyn Stream>) -> F,
) -> Result<(Wire, Greeting), Reason>
where
    F: Future<Output = Result<Box<dyn Stream>, Reason>>,
{
    let mut wire = Wire::new(stream);
    let greeting = Greeting::read(&wire.read().await?)?;
    if greeting.capabilities & can::PROTOCOL_41 == 0 {
        return Err(unreadable("the server is too old"));
    }
    let offered = greeting.capabilities & can::TLS != 0;
    if tls == Tls::Always && !offered {
        return Err(Reason::Connection("the server has no TLS".to_owned()));
    }
    let is_secure = tls != Tls::Never && offered;
    if is_secure {
        wire.write(&begin(account, is_secure)).await?;
        wire = wire.over(secure).await?;
    }
    let mut login = Login {
        wire,
        account,
        is_secure,
        // One that isn't known may not be the one that this user has.
        plugin: Plugin::of(&greeting.plugin).unwrap_or(Plugin::Native),
        scramble: greeting.scramble,
    };
    login.introduce().await?;
    login.prove().await?;
    Ok((login.wire, greeting))
}

/// What comes first with TLS and without it.
fn begin(account: &Account, is_secure: bool) -> Vec<u8> {
    let mut capabilities = can::LONG_PASSWORD
        | can::PROTOCOL_41
        | can::TRANSACTIONS
        | can::SECURE
        | can::RESULTS
        | can::PLUGINS
        | can::LONG_PROOFS;
    if is_secure {
        capabilities |= can::TLS;
    }
    if !account.database.is_empty() {
        capabilities |= can::DATABASE;
    }
    let mut packet = capabilities.to_le_bytes().to_vec();
    packet.extend(PACKET_BYTES_MAX.to_le_bytes());
    packet.push(CHARACTERS);
    packet.extend([0; 23]);
    packet
}

struct Login<'a> {
    wire: Wire,
    account: &'a Account,
    is_secure: bool,
    plugin: Plugin,
    scramble: Scramble,
}

impl Login<'_> {
    async fn introduce(&mut self) -> Result<(), Reason> {
        // Who doesn't know yet how this user proves himself is told nothing but a hash.
        if matches!(self.plugin, Plugin::Clear | Plugin::Sha256) {
            self.plugin = Plugin::Native;
        }
        let proof = self.proof()?;
        let length = u8::try_from(proof.len()).map_err(|_| unreadable("a proof is too long"))?;
        let mut packet = begin(self.account, self.is_secure);
        packet.extend(self.account.user.as_bytes());
        packet.extend([0, length]);
        packet.extend(proof);
        if !self.account.database.is_empty() {
            packet.extend(self.account.database.as_bytes());
            packet.push(0);
        }
        packet.extend(self.plugin.name().as_bytes());
        packet.push(0);
        self.wire.write(&packet).await
    }

    async fn prove(&mut self) -> Result<(), Reason> {
        let mut switched = false;
        for _ in 0..STEPS_MAX {
            let packet = self.wire.read().await?;
            match packet.split_first() {
                Some((&OK, _)) => return Ok(()),
                Some((&ERROR, why)) => return Err(refusal(why)),
                Some((&SWITCH, other)) if !switched => {
                    switched = true;
                    self.switch(other)?;
                    let proof = self.proof()?;
                    self.wire.write(&proof).await?;
                }
                Some((&MORE, more)) => self.go_on(more).await?,
                _ => break,
            }
        }
        Err(unreadable("a login goes on as none does"))
    }

    fn switch(&mut self, other: &[u8]) -> Result<(), Reason> {
        let mut fields = Fields(other);
        let name = fields.text();
        self.plugin = Plugin::of(name).ok_or_else(|| {
            let known = Plugin::ALL.map(Plugin::name).join(", ");
            let name = String::from_utf8_lossy(name);
            // What came before MySQL 4.1 has no name here.
            let name = if name.is_empty() {
                "mysql_old_password"
            } else {
                &*name
            };
            Reason::Refused(format!(
                "its user is to log in by `{}`, which isn't known here; known: {known}",
                shown(name)
            ))
        })?;
        if self.plugin != Plugin::Clear {
            self.scramble = scramble(fields.0)?;
        }
        Ok(())
    }

    fn proof(&self) -> Result<Vec<u8>, Reason> {
        const ASK_FOR_KEY: u8 = 1;
        let password = &self.account.password;
        match self.plugin {
            Plugin::Clear if self.is_secure && self.account.in_the_clear => Ok(self.in_the_clear()),
            Plugin::Clear => Err(Reason::Refused(
                "the server asks for the password itself, which it is told over TLS alone, with \
                 allowCleartextPasswords=true in the parameter `connectionString`"
                    .to_owned(),
            )),
            Plugin::Sha256 if password.is_empty() => Ok(vec![0]),
            _ if password.is_empty() => Ok(Vec::new()),
            Plugin::Native => Ok(proof::native(password, &self.scramble)),
            Plugin::CachingSha2 => Ok(proof::caching_sha2(password, &self.scramble)),
            Plugin::Sha256 if self.is_secure => Ok(self.in_the_clear()),
            Plugin::Sha256 => Ok(vec![ASK_FOR_KEY]),
        }
    }

    fn in_the_clear(&self) -> Vec<u8> {
        let mut told = self.account.password.as_bytes().to_vec();
        told.push(0);
        told
    }

    /// A server that has restarted knows no hash of the password yet, and needs it whole.
    async fn go_on(&mut self, more: &[u8]) -> Result<(), Reason> {
        const KNOWN: &[u8] = &[3];
        const WHOLE: &[u8] = &[4];
        const ASK_FOR_KEY: u8 = 2;
        let told = match (self.plugin, more) {
            (Plugin::CachingSha2, KNOWN) => return Ok(()),
            (Plugin::CachingSha2, WHOLE) if self.is_secure => self.in_the_clear(),
            (Plugin::CachingSha2, WHOLE) => vec![ASK_FOR_KEY],
            (Plugin::CachingSha2 | Plugin::Sha256, key) if !self.is_secure => self.sealed(key)?,
            _ => return Err(unreadable("a login goes on as none does")),
        };
        self.wire.write(&told).await
    }

    fn sealed(&self, key: &[u8]) -> Result<Vec<u8>, Reason> {
        let mut seed = [0; proof::SEED_BYTES];
        let filled = SystemRandom::new().fill(&mut seed);
        filled.map_err(|_| Reason::Secret("this machine has no random numbers".to_owned()))?;
        let sealed = proof::sealed(&self.account.password, &self.scramble, key, &seed);
        sealed.map_err(unreadable)
    }
}

//! A statement, and the little of its answer that counts.
//!
//! Comes in: a conversation in which one may ask, and a statement. Goes out: what the first
//! row's only column holds. The rest is left unread: nobody asks twice over one connection,
//! but before a query that gives rows.

use super::wire::{Fields, Wire, refusal, unreadable};
use crate::Reason;
use crate::number::not_one;

const ASK: u8 = 3;
const QUIT: u8 = 1;
const OK: u8 = 0;
const NULL: u8 = 0xfb;
const END: u8 = 0xfe;
const ERROR: u8 = 0xff;
/// Of an end of rows; a longer packet that begins like one is a row.
const END_BYTES_MAX: usize = 8;

/// What comes before rows.
enum Begun {
    /// There are none; behind it another statement's may be.
    Done {
        goes_on: bool,
    },
    Columns(u64),
}

async fn begin(wire: &mut Wire) -> Result<Begun, Reason> {
    const GOES_ON: u64 = 1 << 3;
    let packet = wire.read().await?;
    match packet.split_first() {
        Some((&OK, rest)) => {
            let mut fields = Fields(rest);
            fields.length()?;
            fields.length()?;
            let goes_on = fields.number(2)? & GOES_ON != 0;
            Ok(Begun::Done { goes_on })
        }
        Some((&ERROR, why)) => Err(refusal(why)),
        Some((&NULL, _)) => Err(unreadable("the server asks for a file")),
        _ => Ok(Begun::Columns(Fields(&packet).length()?)),
    }
}

async fn say(wire: &mut Wire, statement: &str) -> Result<(), Reason> {
    wire.command(&[&[ASK], statement.as_bytes()].concat()).await
}

/// One that gives no rows.
pub(super) async fn run(wire: &mut Wire, statement: &str) -> Result<(), Reason> {
    say(wire, statement).await?;
    match begin(wire).await? {
        Begun::Done { goes_on: false } => Ok(()),
        _ => Err(unreadable("more comes than was asked for")),
    }
}

/// What the first row has in its only column; `None` is NULL.
pub(super) async fn one(wire: &mut Wire, statement: &str) -> Result<Option<String>, Reason> {
    say(wire, statement).await?;
    let columns = loop {
        match begin(wire).await? {
            Begun::Columns(columns) => break columns,
            Begun::Done { goes_on: true } => {}
            Begun::Done { goes_on: false } => return Err(not_one("the query gives no row")),
        }
    };
    if columns != 1 {
        return Err(not_one(&format!("its row has {columns} columns")));
    }
    // What the column is, and the end of such.
    wire.read().await?;
    let end = wire.read().await?;
    if end.first() != Some(&END) {
        return Err(unreadable("no row begins where one should"));
    }
    let row = wire.read().await?;
    match row.split_first() {
        Some((&END, _)) if row.len() <= END_BYTES_MAX => Err(not_one("the query gives no row")),
        Some((&ERROR, why)) => Err(refusal(why)),
        Some((&NULL, _)) => Ok(None),
        _ => {
            let mut fields = Fields(&row);
            let length = fields.length()?;
            let bytes = fields.bytes(usize::try_from(length).unwrap_or(usize::MAX))?;
            let text = String::from_utf8(bytes.to_vec());
            text.map(Some).map_err(|_| not_one("it is no text"))
        }
    }
}

/// So that the server counts no connection that broke off.
pub(super) async fn quit(wire: &mut Wire) -> Result<(), Reason> {
    wire.command(&[QUIT]).await
}

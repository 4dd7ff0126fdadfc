//! A connection to one broker: begun in somebody's name, and asked one question after the
//! other.
//!
//! Comes in: where, in whose name, and a question. Goes out: the answer's bytes, of which
//! there are 1 MiB at most.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;

use crate::Reason;
use crate::http::BODY_BYTES_MAX;
use crate::stream::{self, Address, Meter, Stream};

use super::login::{Login, Mechanism, Proof};
use super::messages::{
    NOT_AUTHENTICATED, Question, SASL_AUTHENTICATE, SASL_HANDSHAKE, UNSUPPORTED_MECHANISM,
    api_versions, read_api_versions, read_sasl_authenticate, read_sasl_handshake,
    sasl_authenticate, sasl_handshake,
};
use super::scram::{self, Awaited, Begun};
use super::wire::{Answer, Written, garbled};

/// As brokers' logs and metrics call whoever asks.
const CLIENT: &str = "starling";
/// Of a broker's, in a message.
const MECHANISMS_SHOWN_MAX: usize = 8;
/// Proofs that are computed at once, of all connections; more wait. An agent's log and loop
/// need the other cores.
const PROOFS_MAX: usize = 2;
static PROOFS: Semaphore = Semaphore::const_new(PROOFS_MAX);

/// How a broker says so that has let nobody in yet.
const HINT: &str = ", as where another `tls` or `sasl` is wanted";

pub(super) struct Connection {
    stream: Box<dyn Stream>,
    meter: Meter,
    asked: i32,
    /// That it has answered a question which only those may ask who are let in.
    trusted: bool,
}

impl Connection {
    pub(super) async fn open(to: &Address, login: &Login) -> Result<Connection, Reason> {
        let (stream, meter) = stream::connect(to, login.trust.as_ref()).await?;
        let mut open = Connection {
            stream,
            meter,
            asked: 0,
            trusted: false,
        };
        let more: &[_] = match login.proof {
            Some(_) => &[SASL_HANDSHAKE, SASL_AUTHENTICATE],
            None => &[],
        };
        let spoken = open.ask(&api_versions()).await?;
        read_api_versions(&spoken, more)?;
        if let Some(proof) = &login.proof {
            open.prove(proof).await?;
        }
        Ok(open)
    }

    /// What comes for it. A connection whose question failed, or was given up, has to go.
    pub(super) async fn ask(&mut self, question: &Question) -> Result<Vec<u8>, Reason> {
        self.meter.refill();
        let answer = self.exchange(question).await;
        self.meter.judge(answer)
    }

    /// The one that was asked is let in.
    pub(super) fn trust(&mut self) {
        self.trusted = true;
    }

    async fn exchange(&mut self, question: &Question) -> Result<Vec<u8>, Reason> {
        self.asked = self.asked.wrapping_add(1);
        let api = question.api;
        let Written(head) = Written::default().i16(api.key).i16(api.version);
        let Written(head) = Written(head).i32(self.asked).text(CLIENT);
        let length = head.len() + question.body.len();
        let Written(mut frame) = Written::default().i32(length as i32);
        frame.extend(head);
        frame.extend(&question.body);
        let sent = self.stream.write_all(&frame).await;
        sent.map_err(|error| self.lost(&error))?;
        let sent = self.stream.flush().await;
        sent.map_err(|error| self.lost(&error))?;

        let length = self.stream.read_i32().await;
        let length = length.map_err(|error| self.lost(&error))?;
        let length = usize::try_from(length).map_err(|_| garbled("its length is negative"))?;
        if length > BODY_BYTES_MAX {
            // To the first question the answer is short; a server that wants TLS says so in
            // TLS' own words.
            return Err(if self.asked == 1 {
                garbled(format!("it begins otherwise{HINT}"))
            } else {
                Reason::TooLong
            });
        }
        let mut answer = Vec::new();
        let mut frame = (&mut self.stream).take(length as u64);
        let came = frame.read_to_end(&mut answer).await;
        let came = came.map_err(|error| self.lost(&error))?;
        if came < length {
            return Err(self.lost(&io::ErrorKind::UnexpectedEof.into()));
        }
        if Answer(&answer).i32()? != self.asked {
            return Err(garbled("it answers another question"));
        }
        answer.drain(..size_of::<i32>());
        Ok(answer)
    }

    fn lost(&self, error: &io::Error) -> Reason {
        let why = match error.kind() {
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::BrokenPipe => "the broker ended the connection".to_owned(),
            _ => error.to_string(),
        };
        let hint = if self.trusted { "" } else { HINT };
        Reason::Connection(format!("{why}{hint}"))
    }

    async fn prove(&mut self, proof: &Proof) -> Result<(), Reason> {
        let name = proof.mechanism.name();
        let answer = self.ask(&sasl_handshake(name)).await?;
        let (code, words) = read_sasl_handshake(&answer)?;
        if code == UNSUPPORTED_MECHANISM {
            let words: Vec<_> = words.into_iter().take(MECHANISMS_SHOWN_MAX).collect();
            let why = format!("it takes no {name}, but {}", words.join(", "));
            return Err(Reason::Refused(why));
        }
        if code.fails() {
            return Err(Reason::Refused(code.told()));
        }
        let (user, password) = (&proof.user, &proof.password);
        let by = match proof.mechanism {
            Mechanism::Plain => {
                let told = format!("\0{user}\0{password}");
                return self.say(&told).await.map(drop);
            }
            Mechanism::Scram(by) => by,
        };
        let random = || Reason::Unread("this machine has no randomness".to_owned());
        let begun = scram::begin(by, user).ok_or_else(random)?;
        let said = self.say(&begun.first()).await?;
        let (last, awaited) = proved(begun, said, password.clone()).await?;
        let said = self.say(&last).await?;
        if awaited.is(&said) {
            Ok(())
        } else {
            let why = "the broker doesn't prove that it knows the password";
            Err(Reason::Refused(why.to_owned()))
        }
    }

    async fn say(&mut self, words: &str) -> Result<Vec<u8>, Reason> {
        let answer = self.ask(&sasl_authenticate(words.as_bytes())).await?;
        let (code, said) = read_sasl_authenticate(&answer)?;
        if code == NOT_AUTHENTICATED {
            let why = "the user and the password are not accepted";
            return Err(Reason::Refused(why.to_owned()));
        }
        if code.fails() {
            return Err(Reason::Refused(code.told()));
        }
        Ok(said.to_vec())
    }
}

/// What proves the password, and what the broker has to prove then: computed away from the
/// thread that everything else of the agent waits for.
async fn proved(
    begun: Begun,
    said: Vec<u8>,
    password: String,
) -> Result<(String, Awaited), Reason> {
    // The semaphore is never closed. The place is given back when the work ends, not when
    // nobody waits for it any more.
    let place = PROOFS.acquire().await.ok();
    let work = move || {
        let _place = place;
        begun.prove(&said, &password)
    };
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|why| Reason::Unread(why.to_string()))?;
    done.map_err(Reason::Refused)
}

#[cfg(test)]
mod tests {
    use std::future::ready;
    use std::pin::pin;

    use super::super::scram::By;
    use super::*;

    #[tokio::test]
    async fn a_proof_beyond_the_bound_waits_until_another_one_is_done() {
        let all = PROOFS.acquire_many(PROOFS_MAX as u32).await;
        let begun = scram::begin(By::Sha256, "ann").unwrap();
        let mut proof = pin!(proved(begun, b"nothing".to_vec(), "larkspur".to_owned()));
        tokio::select! {
            biased;
            done = &mut proof => panic!("{done:?}"),
            () = ready(()) => {}
        }
        drop(all);
        let why = proof.await.unwrap_err().to_string();
        assert_eq!(why, "refused: what the broker says is not SCRAM");
    }
}

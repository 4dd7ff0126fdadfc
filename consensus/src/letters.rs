//! Letters between agents: what one has to say to another that is nothing of the log.
//!
//! Comes in: a body, from here or from another member, whose name its certificate proves.
//! Goes out: that body, to the member that it is for, or to whoever reads letters here. What
//! they say is for those to know. One that arrives while too many wait is refused, and one
//! that was delivered may still not be answered.

use std::time::Duration;

use starling_engine::unit::NodeId;
use starling_proto::raft::TellRequest;
use tokio::sync::{Mutex, mpsc};
use tonic::Status;

use crate::Error;
use crate::core::Core;
use crate::net::client::Lane;
use crate::net::identity::envelope;

/// A longer one isn't sent, and isn't taken.
pub const LETTER_BYTES_MAX: usize = 1 << 20;
/// Letters that wait to be read.
const WAITING_MAX: usize = 64;
/// To deliver one.
const DEADLINE: Duration = Duration::from_secs(2);

/// What a member has written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    pub from: NodeId,
    pub body: Vec<u8>,
}

/// Where letters wait.
#[derive(Debug)]
pub struct Letters {
    arrived: mpsc::Sender<Letter>,
    waiting: Mutex<mpsc::Receiver<Letter>>,
}

impl Default for Letters {
    fn default() -> Letters {
        let (arrived, waiting) = mpsc::channel(WAITING_MAX);
        Letters {
            arrived,
            waiting: Mutex::new(waiting),
        }
    }
}

impl Letters {
    /// The next one, once it is here.
    pub async fn next(&self) -> Letter {
        match self.waiting.lock().await.recv().await {
            Some(letter) => letter,
            // Its sender is kept beside it.
            None => std::future::pending().await,
        }
    }

    pub fn arrive(&self, letter: Letter) -> Result<(), Status> {
        if letter.body.len() > LETTER_BYTES_MAX {
            let why = format!("a letter has at most {LETTER_BYTES_MAX} bytes");
            return Err(Status::invalid_argument(why));
        }
        let arrived = self.arrived.try_send(letter);
        arrived.map_err(|_| Status::resource_exhausted("too many letters wait, or nobody reads"))
    }
}

/// Delivers a letter to another member.
pub async fn tell(core: &Core, to: NodeId, body: Vec<u8>) -> Result<(), Error> {
    let (Some(membership), Some(address)) = (core.member.get(), core.address(to)) else {
        return Err(Error::Undelivered("nobody knows where it lives".to_owned()));
    };
    let request = TellRequest {
        envelope: Some(envelope(&membership.own, to.0)),
        body,
    };
    let client = core.peers.client(&address, Lane::Letters);
    let mut client = client.map_err(|why| Error::Undelivered(why.to_string()))?;
    let told = tokio::time::timeout(DEADLINE, client.tell(request)).await;
    let told = told.map_err(|_| Error::Undelivered(format!("no answer within {DEADLINE:?}")))?;
    told.map_err(|status| Error::Undelivered(status.message().to_owned()))?;
    Ok(())
}

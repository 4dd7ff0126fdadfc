//! What the agent has yet to be told: of each node and of who is alive only the
//! newest, so a slow listener costs nothing but what was outdated anyway.

use std::collections::BTreeMap;

use starling_engine::demand::Summary;
use starling_engine::unit::NodeId;
use tokio::sync::mpsc;

use super::Event;

/// At most one entry for each node that is kept track of.
#[derive(Debug)]
pub struct Events {
    channel: mpsc::Sender<Event>,
    /// Nobody listens any more.
    closed: bool,
    alive: Option<Vec<NodeId>>,
    heard: BTreeMap<NodeId, Summary>,
}

impl Events {
    pub fn new(channel: mpsc::Sender<Event>) -> Events {
        Events {
            channel,
            closed: false,
            alive: None,
            heard: BTreeMap::new(),
        }
    }

    pub fn alive(&mut self, alive: Vec<NodeId>) {
        self.alive = Some(alive);
    }

    pub fn heard(&mut self, summary: Summary) {
        self.heard.insert(summary.node, summary);
    }

    /// Tells one thing as soon as there is room; waits forever while there is
    /// nothing to tell. Loses nothing when cancelled.
    pub async fn progress(&mut self) {
        if self.closed || (self.alive.is_none() && self.heard.is_empty()) {
            return std::future::pending().await;
        }
        match self.channel.reserve().await {
            Ok(permit) => {
                let alive = self.alive.take().map(Event::Alive);
                let heard = || {
                    self.heard
                        .pop_first()
                        .map(|(_, summary)| Event::Heard(summary))
                };
                if let Some(event) = alive.or_else(heard) {
                    permit.send(event);
                }
            }
            Err(_) => self.closed = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(node: u64, sequence: u64) -> Summary {
        Summary {
            node: NodeId(node),
            sequence,
            ..Summary::default()
        }
    }

    #[tokio::test]
    async fn a_slow_listener_gets_the_newest_of_each() {
        let (sender, mut receiver) = mpsc::channel(1);
        let mut events = Events::new(sender);
        for sequence in 1..=5 {
            events.heard(summary(1, sequence));
            events.heard(summary(2, sequence));
            events.alive(vec![NodeId(sequence)]);
        }
        for expected in [
            Event::Alive(vec![NodeId(5)]),
            Event::Heard(summary(1, 5)),
            Event::Heard(summary(2, 5)),
        ] {
            events.progress().await;
            assert_eq!(receiver.recv().await, Some(expected));
        }
        assert!(receiver.try_recv().is_err());
    }
}

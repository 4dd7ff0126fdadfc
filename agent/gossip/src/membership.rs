//! Who takes part, and how the failure detector's messages look on the wire.

use foca::{Header, Member, Message, State};
use prost::Message as _;
use prost::bytes::{Buf, BufMut};
use starling_engine::unit::NodeId;
use starling_proto::gossip as wire;

use super::address;
use wire::header::Kind;

/// One life of one node. The node is what it is known by; a later life replaces
/// an earlier one at once, wherever that one was believed to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    pub node: NodeId,
    /// `host:port`
    pub address: String,
    /// Higher at each start of the node, or one more than the life before. 0 stands for any life, where a node is called that isn't known yet.
    pub life: u64,
}

impl foca::Identity for Identity {
    type Addr = NodeId;

    fn renew(&self) -> Option<Identity> {
        Some(Identity {
            life: self.life.saturating_add(1),
            ..self.clone()
        })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Identity) -> bool {
        self.life > adversary.life
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no room")]
    Full(#[from] prost::EncodeError),
    #[error("not a membership message")]
    Malformed(#[from] prost::DecodeError),
    #[error("a membership message without a sound {0}")]
    Unsound(&'static str),
    #[error("a kind of message that isn't sent")]
    Kind,
}

/// What a membership packet says, before anyone acts on it.
#[derive(Debug)]
pub struct Packet {
    pub source: Identity,
    pub updates: Vec<Member<Identity>>,
}

/// Reads a packet to its end.
pub fn read(mut packet: &[u8]) -> Result<Packet, Error> {
    let header: Header<Identity> = header_in(&mut packet)?;
    let mut updates = Vec::new();
    if packet.has_remaining() {
        let count = packet.try_get_u16().map_err(|_| Error::Unsound("length"))?;
        for _ in 0..count {
            updates.push(member_in(&mut packet)?);
        }
    }
    if packet.has_remaining() {
        return Err(Error::Unsound("end"));
    }
    Ok(Packet {
        source: header.src,
        updates,
    })
}

/// The wire format of starling.gossip.v1.
#[derive(Debug, Clone, Copy)]
pub struct Codec;

impl foca::Codec<Identity> for Codec {
    type Error = Error;

    fn encode_header(
        &mut self,
        header: &Header<Identity>,
        mut buf: impl BufMut,
    ) -> Result<(), Error> {
        let (kind, probe_number, subject) = kind_out(&header.message)?;
        let message = wire::Header {
            source: Some(identity_out(&header.src)),
            source_incarnation: header.src_incarnation.into(),
            destination: Some(identity_out(&header.dst)),
            kind: kind.into(),
            probe_number: probe_number.into(),
            subject: subject.map(identity_out),
        };
        Ok(message.encode_length_delimited(&mut buf)?)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Identity>, Error> {
        header_in(buf)
    }

    fn encode_member(
        &mut self,
        member: &Member<Identity>,
        mut buf: impl BufMut,
    ) -> Result<(), Error> {
        let state = match member.state() {
            State::Alive => wire::member::State::Alive,
            State::Suspect => wire::member::State::Suspect,
            State::Down => wire::member::State::Down,
        };
        let message = wire::Member {
            identity: Some(identity_out(member.id())),
            incarnation: member.incarnation().into(),
            state: state.into(),
        };
        Ok(message.encode_length_delimited(&mut buf)?)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<Identity>, Error> {
        member_in(buf)
    }
}

fn header_in(buf: impl Buf) -> Result<Header<Identity>, Error> {
    let header = wire::Header::decode_length_delimited(buf)?;
    let message = kind_in(header.kind(), header.probe_number, header.subject)?;
    Ok(Header {
        src: identity_in(header.source)?,
        src_incarnation: incarnation_in(header.source_incarnation)?,
        dst: identity_in(header.destination)?,
        message,
    })
}

fn member_in(buf: impl Buf) -> Result<Member<Identity>, Error> {
    let member = wire::Member::decode_length_delimited(buf)?;
    let state = match wire::member::State::try_from(member.state) {
        Ok(wire::member::State::Alive) => State::Alive,
        Ok(wire::member::State::Suspect) => State::Suspect,
        Ok(wire::member::State::Down) => State::Down,
        Err(_) => return Err(Error::Unsound("state")),
    };
    let incarnation = incarnation_in(member.incarnation)?;
    Ok(Member::new(
        identity_in(member.identity)?,
        incarnation,
        state,
    ))
}

fn kind_out(message: &Message<Identity>) -> Result<(Kind, u8, Option<&Identity>), Error> {
    Ok(match message {
        Message::Ping(number) => (Kind::Ping, *number, None),
        Message::Ack(number) => (Kind::Ack, *number, None),
        Message::PingReq {
            target,
            probe_number,
        } => (Kind::PingRequest, *probe_number, Some(target)),
        Message::IndirectPing {
            origin,
            probe_number,
        } => (Kind::IndirectPing, *probe_number, Some(origin)),
        Message::IndirectAck {
            target,
            probe_number,
        } => (Kind::IndirectAck, *probe_number, Some(target)),
        Message::ForwardedAck {
            origin,
            probe_number,
        } => (Kind::ForwardedAck, *probe_number, Some(origin)),
        Message::Announce => (Kind::Announce, 0, None),
        Message::Feed => (Kind::Feed, 0, None),
        Message::Gossip => (Kind::Gossip, 0, None),
        Message::TurnUndead => (Kind::TurnUndead, 0, None),
        Message::Broadcast => return Err(Error::Kind),
    })
}

fn kind_in(
    kind: Kind,
    number: u32,
    subject: Option<wire::Identity>,
) -> Result<Message<Identity>, Error> {
    let probe_number = u8::try_from(number).map_err(|_| Error::Unsound("probe number"))?;
    let subject = || identity_in(subject);
    Ok(match kind {
        Kind::Ping => Message::Ping(probe_number),
        Kind::Ack => Message::Ack(probe_number),
        Kind::PingRequest => Message::PingReq {
            target: subject()?,
            probe_number,
        },
        Kind::IndirectPing => Message::IndirectPing {
            origin: subject()?,
            probe_number,
        },
        Kind::IndirectAck => Message::IndirectAck {
            target: subject()?,
            probe_number,
        },
        Kind::ForwardedAck => Message::ForwardedAck {
            origin: subject()?,
            probe_number,
        },
        Kind::Announce => Message::Announce,
        Kind::Feed => Message::Feed,
        Kind::Gossip => Message::Gossip,
        Kind::TurnUndead => Message::TurnUndead,
        Kind::Unspecified => return Err(Error::Kind),
    })
}

fn identity_out(identity: &Identity) -> wire::Identity {
    wire::Identity {
        node: identity.node.0,
        address: identity.address.clone(),
        life: identity.life,
    }
}

fn identity_in(identity: Option<wire::Identity>) -> Result<Identity, Error> {
    let identity = identity.ok_or(Error::Unsound("identity"))?;
    if identity.node == 0 {
        return Err(Error::Unsound("node"));
    }
    if !address::is_sound(&identity.address) {
        return Err(Error::Unsound("address"));
    }
    Ok(Identity {
        node: NodeId(identity.node),
        address: identity.address,
        life: identity.life,
    })
}

fn incarnation_in(incarnation: u32) -> Result<u16, Error> {
    u16::try_from(incarnation).map_err(|_| Error::Unsound("incarnation"))
}

#[cfg(test)]
mod tests {
    use foca::Codec as _;
    use foca::Identity as _;

    use super::*;

    fn identity(node: u64) -> Identity {
        Identity {
            node: NodeId(node),
            address: format!("192.0.2.{node}:7401"),
            life: node * 1_000,
        }
    }

    #[test]
    fn every_message_comes_back_as_it_was() {
        let (target, origin, probe_number) = (identity(3), identity(4), 255);
        let messages = [
            Message::Ping(0),
            Message::Ack(7),
            Message::PingReq {
                target: target.clone(),
                probe_number,
            },
            Message::IndirectPing {
                origin: origin.clone(),
                probe_number,
            },
            Message::IndirectAck {
                target,
                probe_number,
            },
            Message::ForwardedAck {
                origin,
                probe_number,
            },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::TurnUndead,
        ];
        for message in messages {
            let header = Header {
                src: identity(1),
                src_incarnation: u16::MAX,
                dst: identity(2),
                message,
            };
            let mut bytes = Vec::new();
            Codec.encode_header(&header, &mut bytes).unwrap();
            assert_eq!(Codec.decode_header(bytes.as_slice()).unwrap(), header);
        }
        for state in [State::Alive, State::Suspect, State::Down] {
            let member = Member::new(identity(1), 9, state);
            let mut bytes = Vec::new();
            Codec.encode_member(&member, &mut bytes).unwrap();
            bytes.push(0xff);
            let mut rest = bytes.as_slice();
            assert_eq!(Codec.decode_member(&mut rest).unwrap(), member);
            assert_eq!(rest, [0xff], "read more than the member");
        }
    }

    #[test]
    fn a_member_that_doesnt_fit_leaves_nothing_behind() {
        let mut room = [0_u8; 8];
        let mut buf = room.as_mut_slice();
        let member = Member::alive(identity(1));
        assert!(matches!(
            Codec.encode_member(&member, &mut buf),
            Err(Error::Full(_))
        ));
        assert_eq!(buf.len(), 8);
    }

    #[test]
    fn unsound_identities_are_refused() {
        let sound = identity_out(&identity(1));
        let unsound = [
            wire::Identity {
                node: 0,
                ..sound.clone()
            },
            wire::Identity {
                address: String::new(),
                ..sound.clone()
            },
            wire::Identity {
                address: format!("{}:1", "x".repeat(300)),
                ..sound
            },
        ];
        for unsound in unsound {
            let member = wire::Member {
                identity: Some(unsound),
                ..wire::Member::default()
            };
            let bytes = member.encode_length_delimited_to_vec();
            assert!(Codec.decode_member(bytes.as_slice()).is_err(), "{member:?}");
        }
    }

    #[test]
    fn a_later_life_wins() {
        let first = identity(1);
        let second = first.renew().unwrap();
        assert!(second.win_addr_conflict(&first));
        assert!(!first.win_addr_conflict(&second));
        let ahead = Identity {
            life: u64::MAX - 1,
            ..first
        };
        assert!(
            ahead.renew().unwrap().win_addr_conflict(&ahead),
            "a clock that was set back"
        );
    }
}

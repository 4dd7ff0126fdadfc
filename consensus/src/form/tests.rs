//! What is written can be read, and what can't says what it needs.

use std::fmt::Debug;

use prost::Message as _;
use starling_engine::ledger::{Entry, Ledger};
use starling_engine::unit::Ms;

use super::*;

fn id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(7, 3), index)
}

fn there_and_back<T: Form + PartialEq + Debug>(value: &T) {
    let bytes = codec::bytes(value).unwrap();
    assert_eq!(codec::value::<T>(&bytes).as_ref(), Ok(value));
}

fn membership() -> Membership<u64, Peer> {
    let peer = |name: &str| Peer {
        name: name.into(),
        address: format!("{name}:7101"),
    };
    let nodes = BTreeMap::from([(1, peer("a")), (2, peer("b")), (9, peer("c"))]);
    Membership::new(vec![[1, 2].into(), [1].into()], nodes)
}

fn batch(needs: Option<Raised>) -> RaftEntry {
    let entry = Entry {
        at: Ms(5),
        command: Command::RemovePolicy {
            name: "web".into(),
            source: None,
        },
    };
    RaftEntry {
        log_id: id(4),
        payload: EntryPayload::Normal(Batch {
            entries: vec![entry],
            needs,
        }),
    }
}

fn raised() -> Raised {
    Raised {
        version: 7,
        release: "1.2.3".into(),
    }
}

#[test]
fn whatever_is_kept_or_told_comes_back_as_it_was() {
    there_and_back(&id(0));
    there_and_back(&None::<LogId>);
    there_and_back(&Some(LogId::default()));
    there_and_back(&u64::MAX);
    there_and_back(&Vote::<u64>::default());
    there_and_back(&Vote::new(5, 6));
    there_and_back(&Vote::new_committed(5, 6));
    there_and_back(&membership());
    there_and_back(&StoredMembership::default());
    there_and_back(&StoredMembership::new(Some(id(2)), membership()));
    for payload in [EntryPayload::Blank, EntryPayload::Membership(membership())] {
        let log_id = id(1);
        there_and_back(&RaftEntry { log_id, payload });
    }
    there_and_back(&batch(None));
    there_and_back(&batch(Some(raised())));
    there_and_back(&SnapshotMeta::default());
    there_and_back(&Known::default());
    there_and_back(&Noted {
        number: 3,
        vote: Some(Vote::default()),
        last: None,
    });
    let image = Image {
        applied: Some(id(9)),
        membership: StoredMembership::new(Some(id(2)), membership()),
        ledger: Ledger::default(),
    };
    let read: Image = codec::value(&codec::bytes(&image).unwrap()).unwrap();
    assert_eq!(read.meta(), image.meta());
    assert_eq!(read.ledger, image.ledger);
}

#[test]
fn questions_and_answers_come_back_as_they_were() {
    let append = AppendEntriesRequest::<Types> {
        vote: Vote::new_committed(7, 3),
        prev_log_id: Some(id(3)),
        entries: vec![batch(None), batch(Some(raised()))],
        leader_commit: None,
    };
    let read: AppendEntriesRequest<Types> = codec::value(&codec::bytes(&append).unwrap()).unwrap();
    assert_eq!(read.vote, append.vote);
    assert_eq!(read.prev_log_id, append.prev_log_id);
    assert_eq!(read.entries, append.entries);
    assert_eq!(read.leader_commit, None);
    for answer in [
        AppendEntriesResponse::Success,
        AppendEntriesResponse::PartialSuccess(None),
        AppendEntriesResponse::PartialSuccess(Some(id(1))),
        AppendEntriesResponse::Conflict,
        AppendEntriesResponse::HigherVote(Vote::new(8, 1)),
    ] {
        let appended = Appended {
            answer,
            supports: 3,
        };
        let read: Appended = codec::value(&codec::bytes(&appended).unwrap()).unwrap();
        assert_eq!(read.answer, appended.answer);
        assert_eq!(read.supports, appended.supports);
    }
    there_and_back(&VoteRequest::new(Vote::new(8, 1), Some(id(5))));
    there_and_back(&VoteResponse::new(Vote::new(8, 1), None, true));
    there_and_back(&SnapshotResponse::new(Vote::<u64>::new(8, 1)));
}

/// Field 99, which no release knows.
const NEW_FIELD: [u8; 3] = [0x98, 0x06, 0x01];

#[test]
fn an_entry_with_something_new_is_refused_with_the_release_that_it_needs() {
    let mut bytes = codec::bytes(&batch(None)).unwrap();
    bytes.extend(NEW_FIELD);
    assert_eq!(codec::value::<RaftEntry>(&bytes), Err(Error::Unknown));
    let mut bytes = codec::bytes(&batch(Some(raised()))).unwrap();
    bytes.extend(NEW_FIELD);
    let newer = Error::Newer {
        version: 7,
        release: "1.2.3".into(),
    };
    assert_eq!(codec::value::<RaftEntry>(&bytes), Err(newer.clone()));
    let append = wire::AppendRequest {
        vote: Some(wire::Vote::default()),
        entries: vec![bytes],
        ..wire::AppendRequest::default()
    };
    let read = codec::value::<AppendEntriesRequest<Types>>(&append.encode_to_vec());
    assert_eq!(read.err(), Some(newer));
}

/// Otherwise agents of two releases couldn't vote together.
#[test]
fn something_new_in_a_question_or_an_answer_is_left_out() {
    let vote = VoteRequest::new(Vote::new(8, 1), None);
    let mut bytes = codec::bytes(&vote).unwrap();
    bytes.extend(NEW_FIELD);
    assert_eq!(codec::value(&bytes), Ok(vote));
}

#[test]
fn what_is_missing_is_named() {
    let nothing = codec::value::<RaftEntry>(&[]);
    assert_eq!(nothing, Err(Error::Missing("id")));
    let voters = wire::Membership {
        configs: vec![wire::membership::Voters { ids: vec![5] }],
        nodes: vec![],
    };
    let read = Membership::<u64, Peer>::back(voters);
    assert_eq!(read, Err(Error::Missing("a voter's address")));
}

//! The rules by which members come and go.
//!
//! Comes in: an admission, other addresses, word that a member is away or back, or a
//! removal. Goes out: the list of members as it is then. Whoever is no member has no
//! share of any workload: the next pass places anew what it had.

use super::{Admitted, FOUNDER, Ledger, MEMBERS_MAX, Member, Refusal, Why};
use crate::unit::{NodeId, Stamp};

impl Ledger {
    /// A name that is admitted again with another nonce has lost its disk: the
    /// former id is dropped and never given again.
    pub(super) fn admit(
        &mut self,
        index: u64,
        nonce: &str,
        member: &Member,
    ) -> Result<NodeId, Refusal> {
        let known = self.members.iter().find(|(_, m)| m.nonce == nonce);
        if let Some(id) = known.map(|(id, _)| *id) {
            if let Some(admitted) = self.members.get_mut(&id) {
                admitted.member = member.clone();
                admitted.away_since = None;
            }
            return Ok(id);
        }
        if self.members.len() >= MEMBERS_MAX {
            return Err(Refusal::new(&member.name, Why::Full(MEMBERS_MAX)));
        }
        let id = if nonce == FOUNDER {
            NodeId(1)
        } else {
            NodeId(index)
        };
        let namesakes = self.members.iter();
        let namesakes = namesakes.filter(|(_, m)| m.member.name == member.name);
        for former in namesakes.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.forget(index, former);
        }
        let admitted = Admitted {
            nonce: nonce.to_owned(),
            member: member.clone(),
            away_since: None,
        };
        self.members.insert(id, admitted);
        Ok(id)
    }

    pub(super) fn readdress(&mut self, node: NodeId, member: &Member) -> Result<(), Refusal> {
        let namesake =
            |(id, m): &(&NodeId, &Admitted)| **id != node && m.member.name == member.name;
        if let Some((by, _)) = self.members.iter().find(namesake) {
            return Err(Refusal::new(&member.name, Why::NameTaken { by: *by }));
        }
        let admitted = self
            .members
            .get_mut(&node)
            .ok_or_else(|| Refusal::new(&member.name, Why::UnknownMember))?;
        admitted.member = member.clone();
        Ok(())
    }

    /// The first word counts: a second leader's doesn't make it begin anew.
    pub(super) fn note_away(&mut self, node: NodeId, away: bool) -> Result<(), Refusal> {
        let now = self.time;
        let admitted = self.member_mut(node)?;
        admitted.away_since = away.then(|| admitted.away_since.unwrap_or(now));
        Ok(())
    }

    pub(super) fn remove(&mut self, index: u64, node: NodeId) -> Result<(), Refusal> {
        let last = self.members.len() == 1;
        let admitted = self.member_mut(node)?;
        if last {
            return Err(Refusal::new(&admitted.member.name, Why::LastMember));
        }
        self.forget(index, node);
        Ok(())
    }

    fn member_mut(&mut self, node: NodeId) -> Result<&mut Admitted, Refusal> {
        let unknown = || Refusal::new(&format!("member {}", node.0), Why::UnknownMember);
        self.members.get_mut(&node).ok_or_else(unknown)
    }

    /// Its shares go with it, each by a grant of its own: should it live on, it ends
    /// what it ran.
    fn forget(&mut self, index: u64, node: NodeId) {
        self.members.remove(&node);
        let stamp = Stamp {
            generation: self.generation,
            index,
        };
        let ran = self.workloads.iter();
        let ran = ran.filter(|(_, workload)| workload.shares.contains_key(&node));
        for target in ran.map(|(target, _)| target.clone()).collect::<Vec<_>>() {
            if let Some(workload) = self.workloads.get_mut(&target) {
                workload.shares.remove(&node);
                workload.stamp = stamp;
            }
        }
    }
}

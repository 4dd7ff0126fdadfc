//! Why a workload has its size.

use starling_engine::decide::Decision;
use starling_engine::ledger::Record;
use starling_engine::policy::Name;
use starling_proto::{v1, view};
use tonic::{Code, Status};

use super::Sight;
use crate::refuse;

impl<'a> Sight<'a> {
    /// What this agent's last pass decided; only one that leads and may act has any.
    pub(super) fn live(&self, policy: &Name) -> Option<&'a Decision> {
        let snapshot = self.snapshot;
        self.leadership
            .acting
            .then(|| snapshot.live.get(policy))
            .flatten()
    }

    /// The account of the policy's present size. `decision_index` 0 means its
    /// last change. `live` is absent unless this agent leads.
    pub fn explain(
        &self,
        name: &Name,
        decision_index: u64,
    ) -> Result<v1::ExplainPolicyResponse, Status> {
        let policy = self.policy(name)?;
        let put = self.put(name)?;
        let record = self.record(name, decision_index)?;
        let live = self.live(name);
        Ok(v1::ExplainPolicyResponse {
            header: None,
            policy: Some(policy),
            live_absent_reason: match live {
                Some(_) => String::new(),
                None if self.leadership.acting => {
                    "the leader has not evaluated this policy yet; ask again in a second".into()
                }
                None => "this agent doesn't lead".into(),
            },
            live: live.map(|decision| view::explain::explanation(&decision.account(&put.policy))),
            last_change: record.map(|record| self.decision(record)),
            recorded: record.map(view::account),
        })
    }

    fn record(&self, policy: &Name, index: u64) -> Result<Option<&'a Record>, Status> {
        let records = &self.ledger.decisions;
        let mut own = records.iter().rev().filter(|it| it.policy == *policy);
        if index == 0 {
            return Ok(own.next());
        }
        own.find(|record| record.index == index)
            .map(Some)
            .ok_or_else(|| {
                let words = format!(
                    "no decision of \"{policy}\" is remembered at index {index}; ListDecisions \
                     shows those that are"
                );
                refuse::with(Code::NotFound, refuse::NO_DECISION, words)
            })
    }
}

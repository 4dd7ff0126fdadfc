//! What users take away: a policy, whoever put it into force, a workload that no
//! policy sizes, or a member that is gone.
//!
//! Comes in: a name, and who asks. Goes out: a command to the log, a line in this
//! agent's own, and what was there before. Removes nothing that somebody else would
//! bring back at once.

use starling_consensus::Error;
use starling_engine::ledger::{Command, InForce, Outcome, Why};
use starling_engine::policy::Target;
use starling_engine::unit::NodeId;
use starling_proto::v1;
use tonic::{Code, Status};
use tracing::info;

use crate::answer::named;
use crate::refuse;
use crate::see::see;
use crate::view::View;

/// Nobody asks for the policy any more, whatever files say.
pub async fn delete_policy(
    view: &View,
    asked: &v1::DeletePolicyRequest,
    by: &str,
) -> Result<v1::DeletePolicyResponse, Status> {
    current(view).await?;
    let name = named(&asked.namespace, &asked.name);
    let (policy, sources) = see(view, |sight| {
        let policy = sight.policy(&name)?;
        let put = sight.ledger.policies.get(&name);
        let sources: Vec<String> = put
            .into_iter()
            .flat_map(InForce::sources)
            .map(str::to_owned)
            .collect();
        if put.is_some_and(InForce::is_an_object) {
            let words = format!(
                "policy {name} is an object of Kubernetes, which would put it back; delete that: \
                 kubectl delete scalingpolicy -n {} {}",
                name.namespace, name.name
            );
            return Err(refuse::with(Code::FailedPrecondition, refuse::OWNED, words));
        }
        Ok((policy, sources))
    })?;
    let (removed, source) = (name.clone(), None);
    let command = Command::RemovePolicy {
        name: removed,
        source,
    };
    propose(view, command).await?;
    info!(
        policy = %name,
        by,
        "a policy was removed by command; its workload keeps its size, and files that say it count \
         no more until they say something else: {}",
        sources.join(", ")
    );
    Ok(v1::DeletePolicyResponse {
        header: Some(see(view, |sight| {
            sight.header(v1::Consistency::Linearizable)
        })),
        policy: Some(policy),
        sources,
    })
}

/// What runs of it is stopped.
pub async fn delete_workload(
    view: &View,
    asked: &v1::DeleteWorkloadRequest,
    by: &str,
) -> Result<v1::DeleteWorkloadResponse, Status> {
    current(view).await?;
    let workload = see(view, |sight| {
        sight.workload(&v1::GetWorkloadRequest {
            group: asked.group.clone(),
            kind: asked.kind.clone(),
            namespace: asked.namespace.clone(),
            name: asked.name.clone(),
            ..v1::GetWorkloadRequest::default()
        })
    })?;
    let shown = workload.target.clone().unwrap_or_default();
    let target = Target {
        group: shown.group,
        kind: shown.kind,
        namespace: shown.namespace,
        name: shown.name,
    };
    let name = target.to_string();
    propose(view, Command::DeleteWorkload { target }).await?;
    info!(
        workload = name,
        by, "a workload without a policy was deleted; what runs of it is stopped"
    );
    Ok(v1::DeleteWorkloadResponse {
        header: Some(see(view, |sight| {
            sight.header(v1::Consistency::Linearizable)
        })),
        workload: Some(workload),
    })
}

/// What ran on it is placed anew. One that answers stays, unless it is forced out.
pub async fn remove_member(
    view: &View,
    asked: &v1::RemoveMemberRequest,
    by: &str,
) -> Result<v1::RemoveMemberResponse, Status> {
    current(view).await?;
    let member = see(view, |sight| {
        let find = |is: &dyn Fn(&v1::Member) -> bool| {
            let mut members = sight.members(None);
            members.find(|(_, member)| is(member))
        };
        let by_name = find(&|member| member.name == asked.node);
        by_name.or_else(|| find(&|member| member.id.to_string() == asked.node))
    });
    let Some((_, member)) = member else {
        let words = format!(
            "no member is called {:?}, nor is that a member's id; `starling members` lists them",
            asked.node
        );
        return Err(refuse::with(Code::NotFound, refuse::NO_MEMBER, words));
    };
    let (name, node) = (&member.name, NodeId(member.id));
    if member.role() == v1::Role::Leader {
        let words = format!(
            "{name} leads, and a leader can't be removed: have another one lead first \
             (`starling raft transfer`)"
        );
        return Err(refuse::with(Code::FailedPrecondition, refuse::LEADS, words));
    }
    if !asked.force && (member.alive || answers(view, node).await) {
        let words = format!(
            "{name} answers, so it may still run replicas: end that agent and ask again in some \
             seconds, or have it removed all the same (`--force`), and it ends what it runs"
        );
        return Err(refuse::with(
            Code::FailedPrecondition,
            refuse::ANSWERS,
            words,
        ));
    }
    propose(view, Command::Remove { node }).await?;
    info!(
        member = name,
        id = node.0,
        by,
        "a member was removed by command; what ran on it is placed anew"
    );
    Ok(v1::RemoveMemberResponse {
        header: Some(see(view, |sight| {
            sight.header(v1::Consistency::Linearizable)
        })),
        member: Some(member),
    })
}

/// What can't be asked counts as silent: then gossip has the word.
async fn answers(view: &View, node: NodeId) -> bool {
    view.log.answers(node).await.unwrap_or(false)
}

/// Waits until this agent knows all that was committed, so that it doesn't speak of
/// what was there before.
async fn current(view: &View) -> Result<(), Status> {
    view.log
        .barrier()
        .await
        .map(|_| ())
        .map_err(|why| failed(&why))
}

async fn propose(view: &View, command: Command) -> Result<(), Status> {
    let outcome = view
        .log
        .propose(command)
        .await
        .map_err(|why| failed(&why))?;
    refused(&outcome)
}

fn refused(outcome: &Outcome) -> Result<(), Status> {
    let Some(refusal) = outcome.refused.first() else {
        return Ok(());
    };
    let (code, reason) = match refusal.why {
        Why::UnknownPolicy => (Code::NotFound, refuse::NO_POLICY),
        Why::UnknownWorkload => (Code::NotFound, refuse::NO_WORKLOAD),
        Why::UnknownMember => (Code::NotFound, refuse::NO_MEMBER),
        _ => (Code::FailedPrecondition, refuse::OWNED),
    };
    Err(refuse::with(code, reason, refusal.to_string()))
}

fn failed(why: &Error) -> Status {
    match why {
        Error::NotLeader { .. } => refuse::with(
            Code::Unavailable,
            refuse::NO_LEADER,
            "no leader is known, and without one nothing changes; ask again in a second",
        ),
        why => refuse::with(
            Code::Unavailable,
            refuse::NO_MAJORITY,
            format!("{why}; look whether it is still there, then ask again"),
        ),
    }
}

//! One method for each question: who may ask how much, who answers, and the answer.

use std::sync::Arc;
use std::time::Duration;

use starling_consensus::Credentials;
use starling_engine::policy::Name;
use starling_proto::v1::starling_service_server::StarlingService;
use starling_proto::v1::{self, Consistency};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, async_trait};

use super::answer::{Filter, Sight, named};
use super::leader::{self, Client, Leader};
use super::page::Page;
use super::replicas::Replicas;
use super::see::see;
use super::watch::{self, Streams};
use super::{DEADLINE, REQUESTS_MAX, edit, raft, refuse};
use crate::caller;
use crate::view::View;

/// How long an explanation waits for what only the leader can add to it.
const LIVE: Duration = Duration::from_secs(1);

/// The answering side of `starling.v1`.
pub struct Service {
    view: View,
    leader: Leader,
    replicas: Replicas,
    turns: Semaphore,
    /// A snapshot takes much memory: one at a time.
    saving: Arc<Semaphore>,
    streams: Streams,
}

/// Who answers a question.
enum Route {
    Here(Consistency),
    Leader { client: Client, address: String },
}

impl Service {
    pub fn new(view: View, credentials: &Credentials, ending: CancellationToken) -> Service {
        Service {
            leader: Leader::new(credentials),
            replicas: Replicas::new(credentials),
            turns: Semaphore::new(REQUESTS_MAX),
            saving: Arc::new(Semaphore::new(1)),
            streams: Streams::new(view.clone(), ending),
            view,
        }
    }

    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    fn turn(&self) -> Result<SemaphorePermit<'_>, Status> {
        self.turns.try_acquire().map_err(|_| {
            let words = format!(
                "this agent is answering {REQUESTS_MAX} questions; ask again in a second, or \
                 ask another agent"
            );
            refuse::with(Code::ResourceExhausted, refuse::BUSY, words)
        })
    }

    /// Answers within the deadline, here or at the leader.
    async fn answer<T, R, F>(
        &self,
        request: Request<T>,
        consistency: impl FnOnce(&T) -> i32,
        here: impl FnOnce(&Sight<'_>, v1::ReplyHeader, &T) -> Result<R, Status>,
        at_leader: impl FnOnce(Client, Request<T>) -> F,
    ) -> Result<Response<R>, Status>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let _turn = self.turn()?;
        let hopped = leader::hopped(request.metadata());
        let request = request.into_inner();
        let wanted = consistency(&request);
        let answered = async {
            match self.route(wanted, hopped).await? {
                Route::Here(consistency) => see(&self.view, |sight| {
                    here(&sight, sight.header(consistency), &request).map(Response::new)
                }),
                Route::Leader { client, address } => {
                    let answer = at_leader(client, leader::passed_on(request)).await;
                    let message = answer.map_err(|status| leader::refused(&address, &status))?;
                    // The leader's own transport headers aren't ours.
                    Ok(Response::new(message.into_inner()))
                }
            }
        };
        tokio::time::timeout(DEADLINE, answered)
            .await
            .map_err(|_| {
                let words = format!(
                    "no answer within {} s: a majority of the voters may be unreachable; ask \
                     with consistency stale",
                    DEADLINE.as_secs()
                );
                refuse::with(Code::DeadlineExceeded, refuse::NO_MAJORITY, words)
            })?
    }

    async fn route(&self, consistency: i32, hopped: bool) -> Result<Route, Status> {
        let consistency = match Consistency::try_from(consistency) {
            Ok(Consistency::Unspecified | Consistency::Stale) => {
                return Ok(Route::Here(Consistency::Stale));
            }
            Ok(consistency) => consistency,
            Err(_) => {
                return Err(refuse::invalid(format!(
                    "consistency: {consistency} is unknown to this version; use \
                     CONSISTENCY_STALE, CONSISTENCY_LEADER or CONSISTENCY_LINEARIZABLE"
                )));
            }
        };
        if self.view.log.acting() {
            if consistency == Consistency::Linearizable {
                self.view
                    .log
                    .barrier()
                    .await
                    .map_err(|why| no_barrier(&why))?;
            }
            return Ok(Route::Here(consistency));
        }
        if hopped {
            return Err(refuse::with(
                Code::Unavailable,
                refuse::LEADER_CHANGED,
                "the leader has just changed; ask again in a second",
            ));
        }
        let address = self.leader_address()?;
        Ok(Route::Leader {
            client: self.leader.at(&address)?,
            address,
        })
    }

    fn leader_address(&self) -> Result<String, Status> {
        see(&self.view, |sight| {
            let known = sight.leadership.leader.filter(|leader| *leader != sight.me);
            let member = known.and_then(|leader| sight.ledger.members.get(&leader));
            member.map(|admitted| admitted.member.api_address.clone()).ok_or_else(|| {
                refuse::with(
                    Code::Unavailable,
                    refuse::NO_LEADER,
                    "no leader is known: a majority of the voters may be unreachable; ask again \
                     in a second, or with consistency stale",
                )
            })
        })
    }

    /// What the leader decides now, for an agent that doesn't lead.
    async fn live_from_leader(
        &self,
        name: Name,
    ) -> Result<(Option<v1::Explanation>, String), Status> {
        let address = self.leader_address()?;
        let mut client = self.leader.at(&address)?;
        let mut request = leader::passed_on(v1::ExplainPolicyRequest {
            namespace: name.namespace,
            name: name.name,
            consistency: Consistency::Leader.into(),
            decision_index: 0,
        });
        request.set_timeout(LIVE);
        let answer = client.explain_policy(request).await;
        let answer = answer
            .map_err(|status| leader::refused(&address, &status))?
            .into_inner();
        Ok((answer.live, answer.live_absent_reason))
    }
}

fn no_barrier(why: &dyn std::fmt::Display) -> Status {
    let words = format!(
        "the majority did not confirm the leader ({why}); ask again in a second, or with \
         consistency leader or stale"
    );
    refuse::with(Code::Unavailable, refuse::NO_MAJORITY, words)
}

#[async_trait]
impl StarlingService for Service {
    async fn get_cluster_status(
        &self,
        request: Request<v1::GetClusterStatusRequest>,
    ) -> Result<Response<v1::GetClusterStatusResponse>, Status> {
        self.answer(
            request,
            |asked| asked.consistency,
            |sight, header, _| {
                Ok(v1::GetClusterStatusResponse {
                    header: Some(header),
                    status: Some(sight.status()),
                })
            },
            |mut leader, asked| async move { leader.get_cluster_status(asked).await },
        )
        .await
    }

    async fn list_members(
        &self,
        request: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        self.answer(
            request,
            |asked| asked.consistency,
            |sight, header, asked| {
                let (page, after) =
                    Page::parse_numbered("members", asked.page_size, &asked.page_token)?;
                let (members, next_page_token) = page.take(sight.members(after));
                Ok(v1::ListMembersResponse {
                    header: Some(header),
                    members,
                    next_page_token,
                })
            },
            |mut leader, asked| async move { leader.list_members(asked).await },
        )
        .await
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        self.answer(
            request,
            |asked| asked.consistency,
            |sight, header, asked| {
                let (page, after) =
                    Page::parse_numbered("nodes", asked.page_size, &asked.page_token)?;
                let (nodes, next_page_token) = page.take(sight.nodes(after));
                Ok(v1::ListNodesResponse {
                    header: Some(header),
                    nodes,
                    next_page_token,
                })
            },
            |mut leader, asked| async move { leader.list_nodes(asked).await },
        )
        .await
    }

    async fn list_policies(
        &self,
        request: Request<v1::ListPoliciesRequest>,
    ) -> Result<Response<v1::ListPoliciesResponse>, Status> {
        self.answer(
            request,
            |asked| asked.consistency,
            |sight, header, asked| {
                let page = Page::parse("policies", asked.page_size, &asked.page_token)?;
                let (policies, next_page_token) =
                    page.take(sight.policies(page.after.as_deref(), &asked.namespace));
                Ok(v1::ListPoliciesResponse {
                    header: Some(header),
                    policies,
                    next_page_token,
                })
            },
            |mut leader, asked| async move { leader.list_policies(asked).await },
        )
        .await
    }

    async fn get_policy(
        &self,
        request: Request<v1::GetPolicyRequest>,
    ) -> Result<Response<v1::GetPolicyResponse>, Status> {
        self.answer(
            request,
            |asked| asked.consistency,
            |sight, header, asked| {
                let policy = Some(sight.policy(&named(&asked.namespace, &asked.name))?);
                Ok(v1::GetPolicyResponse {
                    header: Some(header),
                    policy,
                })
            },
            |mut leader, asked| async move { leader.get_policy(asked).await },
        )
        .await
    }

    async fn list_workloads(
        &self,
        request: Request<v1::ListWorkloadsRequest>,
    ) -> Result<Response<v1::ListWorkloadsResponse>, Status> {
        self.answer(
            request,
            |asked| asked.consistency,
            |sight, header, asked| {
                let page = Page::parse("workloads", asked.page_size, &asked.page_token)?;
                let found = sight.workloads(page.after.as_deref(), &asked.namespace);
                let (workloads, next_page_token) = page.take(found);
                Ok(v1::ListWorkloadsResponse {
                    header: Some(header),
                    workloads,
                    next_page_token,
                })
            },
            |mut leader, asked| async move { leader.list_workloads(asked).await },
        )
        .await
    }

    async fn get_workload(
        &self,
        request: Request<v1::GetWorkloadRequest>,
    ) -> Result<Response<v1::GetWorkloadResponse>, Status> {
        self.answer(
            request,
            |asked| asked.consistency,
            |sight, header, asked| {
                Ok(v1::GetWorkloadResponse {
                    header: Some(header),
                    workload: Some(sight.workload(asked)?),
                })
            },
            |mut leader, asked| async move { leader.get_workload(asked).await },
        )
        .await
    }

    async fn list_replicas(
        &self,
        request: Request<v1::ListReplicasRequest>,
    ) -> Result<Response<v1::ListReplicasResponse>, Status> {
        let _turn = self.turn()?;
        let passed_on = leader::hopped(request.metadata());
        let asked = request.into_inner();
        if passed_on {
            return Replicas::here(&self.view, &asked).map(Response::new);
        }
        let answer = self.replicas.everywhere(&self.view, &asked).await?;
        Ok(Response::new(answer))
    }

    async fn explain_policy(
        &self,
        request: Request<v1::ExplainPolicyRequest>,
    ) -> Result<Response<v1::ExplainPolicyResponse>, Status> {
        let passed_on = leader::hopped(request.metadata());
        let asked = request.get_ref();
        let name = named(&asked.namespace, &asked.name);
        let mut answer = self
            .answer(
                request,
                |asked| asked.consistency,
                |sight, header, asked| {
                    let mut answer = sight
                        .explain(&named(&asked.namespace, &asked.name), asked.decision_index)?;
                    answer.header = Some(header);
                    Ok(answer)
                },
                |mut leader, asked| async move { leader.explain_policy(asked).await },
            )
            .await?;
        let local = answer.get_ref();
        let by_leader = local.header.as_ref().is_some_and(|header| header.leading);
        if local.live.is_none() && !by_leader && !passed_on {
            let answer = answer.get_mut();
            match self.live_from_leader(name).await {
                Ok((live, absent)) => (answer.live, answer.live_absent_reason) = (live, absent),
                Err(why) => why.message().clone_into(&mut answer.live_absent_reason),
            }
        }
        Ok(answer)
    }

    async fn list_decisions(
        &self,
        request: Request<v1::ListDecisionsRequest>,
    ) -> Result<Response<v1::ListDecisionsResponse>, Status> {
        self.answer(
            request,
            |asked| asked.consistency,
            |sight, header, asked| {
                let (page, before) =
                    Page::parse_numbered("decisions", asked.page_size, &asked.page_token)?;
                let (decisions, next_page_token) = page
                    .take(sight.decisions(before, &Filter::new(&asked.namespace, &asked.policy))?);
                Ok(v1::ListDecisionsResponse {
                    header: Some(header),
                    decisions,
                    next_page_token,
                })
            },
            |mut leader, asked| async move { leader.list_decisions(asked).await },
        )
        .await
    }

    async fn delete_policy(
        &self,
        request: Request<v1::DeletePolicyRequest>,
    ) -> Result<Response<v1::DeletePolicyResponse>, Status> {
        let _turn = self.turn()?;
        let by = caller::words(&request);
        edit::delete_policy(&self.view, request.get_ref(), &by)
            .await
            .map(Response::new)
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let _turn = self.turn()?;
        let by = caller::words(&request);
        edit::remove_member(&self.view, request.get_ref(), &by)
            .await
            .map(Response::new)
    }

    async fn delete_workload(
        &self,
        request: Request<v1::DeleteWorkloadRequest>,
    ) -> Result<Response<v1::DeleteWorkloadResponse>, Status> {
        let _turn = self.turn()?;
        let by = caller::words(&request);
        edit::delete_workload(&self.view, request.get_ref(), &by)
            .await
            .map(Response::new)
    }

    async fn list_raft_peers(
        &self,
        request: Request<v1::ListRaftPeersRequest>,
    ) -> Result<Response<v1::ListRaftPeersResponse>, Status> {
        self.answer(
            request,
            |asked| asked.consistency,
            |sight, header, _| Ok(raft::peers(&self.view.log, sight, header)),
            |mut leader, asked| async move { leader.list_raft_peers(asked).await },
        )
        .await
    }

    async fn transfer_lead(
        &self,
        request: Request<v1::TransferLeadRequest>,
    ) -> Result<Response<v1::TransferLeadResponse>, Status> {
        let _turn = self.turn()?;
        let by = caller::words(&request);
        let hopped = leader::hopped(request.metadata());
        let asked = request.into_inner();
        match self.route(Consistency::Leader.into(), hopped).await? {
            Route::Here(_) => raft::transfer(&self.view, &asked, &by)
                .await
                .map(Response::new),
            Route::Leader {
                mut client,
                address,
            } => {
                let answer = client.transfer_lead(leader::passed_on(asked)).await;
                let answer = answer.map_err(|status| leader::refused(&address, &status))?;
                Ok(Response::new(answer.into_inner()))
            }
        }
    }

    type SaveSnapshotStream = watch::Stream<v1::SaveSnapshotResponse>;

    async fn save_snapshot(
        &self,
        request: Request<v1::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        let _turn = self.turn()?;
        let turn = Arc::clone(&self.saving).try_acquire_owned().map_err(|_| {
            let words = "this agent is saving a snapshot for somebody; ask another agent, or \
                         again in a while";
            refuse::with(Code::ResourceExhausted, refuse::BUSY, words)
        })?;
        let asked = request.into_inner().consistency();
        let stale = matches!(asked, Consistency::Stale | Consistency::Unspecified);
        if !stale {
            let read = tokio::time::timeout(DEADLINE, self.view.log.barrier()).await;
            match read {
                Ok(Ok(_)) => {}
                Ok(Err(why)) => return Err(no_barrier(&why)),
                Err(_) => return Err(no_barrier(&"no answer in time")),
            }
        }
        raft::save(&self.view, asked, turn).await.map(Response::new)
    }

    type WatchClusterStream = watch::Stream<v1::WatchClusterResponse>;

    async fn watch_cluster(
        &self,
        request: Request<v1::WatchClusterRequest>,
    ) -> Result<Response<Self::WatchClusterStream>, Status> {
        self.streams
            .cluster(&request.into_inner())
            .map(Response::new)
    }

    type WatchDecisionsStream = watch::Stream<v1::WatchDecisionsResponse>;

    async fn watch_decisions(
        &self,
        request: Request<v1::WatchDecisionsRequest>,
    ) -> Result<Response<Self::WatchDecisionsStream>, Status> {
        self.streams
            .decisions(request.into_inner())
            .map(Response::new)
    }
}

//! What is asked of one agent about itself: how much it writes into its log.
//!
//! Comes in: a filter and for how long. Goes out: what is in force. Whoever may
//! ask this API may change it, for a stated time and never for good.

use std::time::Duration;

use starling_health::Logs;
use starling_health::logs::{Error, LASTING};
use starling_proto::v1::agent_service_server::AgentService;
use starling_proto::v1::{
    GetLogFilterRequest, GetLogFilterResponse, LogFilter, SetLogFilterRequest, SetLogFilterResponse,
};
use tonic::{Code, Request, Response, Status, async_trait};

use crate::view::View;
use crate::{caller, refuse};

/// The answering side of `starling.v1.AgentService`.
pub struct Service {
    view: View,
}

impl Service {
    pub fn new(view: View) -> Service {
        Service { view }
    }

    fn logs(&self) -> Result<&Logs, Status> {
        self.view
            .logs
            .as_ref()
            .ok_or_else(|| Status::failed_precondition("this agent's log is not its own to filter"))
    }

    fn shown(&self, logs: &Logs) -> LogFilter {
        let now = logs.now();
        let ledger = self.view.log.ledger();
        let ledger = ledger
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let own = ledger.members.get(&self.view.log.id());
        LogFilter {
            node_name: own.map_or_else(String::new, |own| own.member.name.clone()),
            filter: now.filter,
            start_filter: now.base,
            remaining: now.remaining.and_then(|left| left.try_into().ok()),
        }
    }
}

#[async_trait]
impl AgentService for Service {
    async fn get_log_filter(
        &self,
        _: Request<GetLogFilterRequest>,
    ) -> Result<Response<GetLogFilterResponse>, Status> {
        Ok(Response::new(GetLogFilterResponse {
            log_filter: Some(self.shown(self.logs()?)),
        }))
    }

    async fn set_log_filter(
        &self,
        request: Request<SetLogFilterRequest>,
    ) -> Result<Response<SetLogFilterResponse>, Status> {
        let logs = self.logs()?;
        let caller = caller::words(&request);
        let asked = request.into_inner();
        let lasting = match asked.ttl {
            Some(ttl) => Duration::try_from(ttl).map_err(|_| refused(&Error::Lasting))?,
            None => LASTING,
        };
        if asked.filter.trim().is_empty() {
            logs.reset();
        } else {
            // Told under the old filter and under the new one: it may drop either.
            let words = "how much is written here changes";
            let secs = lasting.as_secs();
            tracing::warn!(
                filter = asked.filter,
                for_seconds = secs,
                by = caller,
                "{words}"
            );
            logs.set(&asked.filter, lasting)
                .map_err(|why| refused(&why))?;
        }
        Ok(Response::new(SetLogFilterResponse {
            log_filter: Some(self.shown(logs)),
        }))
    }
}

fn refused(why: &Error) -> Status {
    match why {
        Error::Gone(_) | Error::Twice(_) => {
            refuse::with(Code::FailedPrecondition, refuse::NO_LOG, why.to_string())
        }
        Error::Lasting => refuse::invalid(format!("ttl: {why}")),
        _ => refuse::invalid(format!("filter: {why}")),
    }
}

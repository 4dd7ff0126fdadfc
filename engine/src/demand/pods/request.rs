//! What a replica asked for, from its containers (hpa.md rule 2).

/// The containers of one replica that state requests, for one resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stated {
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    /// The request of the replica as a whole, where Kubernetes allows one.
    pub pod_milli: Option<i64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    pub name: String,
    pub request_milli: Option<i64>,
    /// An init container that keeps running beside the others (a sidecar).
    pub restarts: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("a container states no request; add resources.requests to every container")]
    Missing,
    #[error("no container of that name")]
    NoContainer,
}

/// The request of a whole replica: its own where it states one, else the sum
/// over containers and sidecars.
pub fn of_pod(stated: &Stated) -> Result<i64, Error> {
    if let Some(milli) = stated.pod_milli {
        return Ok(milli);
    }
    counted(stated).try_fold(0_i64, |sum, container| {
        let milli = container.request_milli.ok_or(Error::Missing)?;
        Ok(sum.saturating_add(milli))
    })
}

/// The request of one container; a request of the whole replica doesn't replace it.
pub fn of_container(stated: &Stated, name: &str) -> Result<i64, Error> {
    counted(stated)
        .find(|container| container.name == name)
        .ok_or(Error::NoContainer)?
        .request_milli
        .ok_or(Error::Missing)
}

/// Containers and sidecars; ordinary init containers have ended by then.
fn counted(stated: &Stated) -> impl Iterator<Item = &Container> {
    let sidecars = stated.init_containers.iter().filter(|c| c.restarts);
    stated.containers.iter().chain(sidecars)
}

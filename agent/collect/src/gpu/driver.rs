//! What is asked of a GPU driver, and nothing else.
//!
//! Comes in: a device's number. Goes out: one answer for each question, or why there
//! is none. In production this is NVML ([`super::nvml`]); tests play recorded
//! answers. An answer may block for ever, so all of it runs apart.

/// Questions. Devices are numbered from 0 to `count() - 1`.
pub trait Driver: Send {
    fn count(&mut self) -> Answer<u32>;
    fn identity(&mut self, device: u32) -> Answer<Identity>;
    /// Percent of the last moment (1/6 to 1 s) in which the device computed at all.
    fn utilization_percent(&mut self, device: u32) -> Answer<u32>;
    fn memory(&mut self, device: u32) -> Answer<Memory>;
    fn temperature_celsius(&mut self, device: u32) -> Answer<u32>;
    fn power_milliwatts(&mut self, device: u32) -> Answer<u32>;
    /// All processes that compute or draw; one that does both may be here twice.
    fn processes(&mut self, device: u32) -> Answer<Vec<Process>>;
    /// What processes used since a sample's time, 0 for all that is still known.
    /// Only those that used anything have a sample.
    fn samples(&mut self, device: u32, since_us: u64) -> Answer<Vec<Sample>>;
    /// The parts that it is split into by MIG; `None` where it is whole.
    fn instances(&mut self, device: u32) -> Answer<Option<Vec<Instance>>>;
}

pub type Answer<T> = Result<T, Failure>;

/// Opens the driver; it may be installed later than the agent is.
pub type Open = Box<dyn FnMut() -> Answer<Box<dyn Driver>> + Send>;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Identity {
    /// `GPU-` and a UUID.
    pub uuid: String,
    pub name: String,
    /// The number in `/dev/nvidia0`, by which GKE names devices.
    pub minor: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    pub used_bytes: u64,
    pub total_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// In the pid namespace of whoever asks.
    pub pid: u32,
    pub memory_bytes: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    pub pid: u32,
    /// The driver's own clock.
    pub at_us: u64,
    pub percent: u32,
}

/// One part of a device, as MIG makes them. How busy it is NVML doesn't say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// `MIG-` and a UUID.
    pub uuid: String,
    pub memory: Answer<Memory>,
    pub processes: Answer<Vec<Process>>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("NVIDIA's library isn't here ({0})")]
    NoLibrary(String),
    #[error("NVIDIA's driver isn't loaded")]
    NoDriver,
    #[error("this user may not ask; run the agent as root, with the devices visible to it")]
    NoPermission,
    #[error("it has fallen off the bus or must be reset; the node has to be drained")]
    Lost,
    #[error("the driver doesn't tell it for this device")]
    NotSupported,
    /// Nothing that answers the question, which for samples is no failure.
    #[error("the driver has no data")]
    NotFound,
    #[error("{0}")]
    Other(String),
}

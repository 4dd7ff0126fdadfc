//! What agents measure, by name.
//!
//! Nothing comes in. Goes out: for each resource how it is called, in which unit its
//! numbers are, and of what a percentage can be taken. Never measures.

use serde::{Deserialize, Serialize};

/// Numbers are in milli-units of what stands beside each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Resource {
    /// Cores.
    Cpu,
    /// Bytes of working set.
    Memory,
    /// GPUs: one that is busy half of the time counts as a half.
    Gpu,
    /// Bytes.
    GpuMemory,
    /// Bytes per second, read and written.
    Disk,
    /// Bytes in use, of the node's fullest file system that it runs pods on.
    DiskSpace,
    /// Bytes per second, received and sent.
    Network,
    /// The part of the time in which something waited for a CPU (PSI, `some`).
    PsiCpu,
    /// The same for memory.
    PsiMemory,
    /// The same for disks.
    PsiIo,
    /// The part of its CPU quota's periods in which a container was held back.
    Throttling,
}

/// What a resource's numbers count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    Cores,
    Bytes,
    Gpus,
    BytesPerSecond,
    /// Of the time.
    Part,
}

impl Resource {
    pub const ALL: [Resource; 11] = [
        Resource::Cpu,
        Resource::Memory,
        Resource::Gpu,
        Resource::GpuMemory,
        Resource::Disk,
        Resource::DiskSpace,
        Resource::Network,
        Resource::PsiCpu,
        Resource::PsiMemory,
        Resource::PsiIo,
        Resource::Throttling,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Resource::Cpu => "cpu",
            Resource::Memory => "memory",
            Resource::Gpu => "gpu",
            Resource::GpuMemory => "gpu-memory",
            Resource::Disk => "disk",
            Resource::DiskSpace => "disk-space",
            Resource::Network => "network",
            Resource::PsiCpu => "psi-cpu",
            Resource::PsiMemory => "psi-memory",
            Resource::PsiIo => "psi-io",
            Resource::Throttling => "throttling",
        }
    }

    pub fn unit(self) -> Unit {
        match self {
            Resource::Cpu => Unit::Cores,
            Resource::Memory | Resource::GpuMemory | Resource::DiskSpace => Unit::Bytes,
            Resource::Gpu => Unit::Gpus,
            Resource::Disk | Resource::Network => Unit::BytesPerSecond,
            Resource::PsiCpu | Resource::PsiMemory | Resource::PsiIo | Resource::Throttling => {
                Unit::Part
            }
        }
    }

    /// Whether there is a whole to take a percentage of: what replicas ask for, what
    /// nodes have, or all of the time.
    pub fn has_whole(self) -> bool {
        self.unit() != Unit::BytesPerSecond
    }

    /// Whether its readings are of a moment and not of a time.
    pub fn is_gauge(self) -> bool {
        self.unit() == Unit::Bytes
    }

    /// Whether it is measured of replicas. The space on disks is the node's alone.
    pub fn is_of_replicas(self) -> bool {
        self != Resource::DiskSpace
    }

    /// Whether it is measured of single containers. All containers of a pod share its
    /// network and its GPUs.
    pub fn is_of_containers(self) -> bool {
        self.is_of_replicas()
            && !matches!(
                self,
                Resource::Network | Resource::Gpu | Resource::GpuMemory
            )
    }

    /// Whether it is measured of nodes. A node has no CPU quota that could hold it back.
    pub fn is_of_nodes(self) -> bool {
        self != Resource::Throttling
    }
}

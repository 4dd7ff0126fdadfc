//! The GPU driver in production: NVML, loaded at run time.
//!
//! Comes in: NVML's answers. Goes out: the same in the words of [`super::driver`].
//! A machine without the library has no GPU that could be measured, which is no
//! error. Contains no rule about numbers.

use std::ffi::OsStr;

use nvml_wrapper::Device;
use nvml_wrapper::Nvml;
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;

use super::driver::{Answer, Driver, Failure, Identity, Instance, Memory, Open, Process, Sample};

/// Where the library is: on the loader's path, as NVIDIA's container runtime puts
/// it, or where GKE and the GPU operator have it on the host.
const LIBRARIES: [&str; 4] = [
    "libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/home/kubernetes/bin/nvidia/lib64/libnvidia-ml.so.1",
    "/run/nvidia/driver/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
];

/// A GPU is split into seven parts at most so far.
const INSTANCES_MAX: u32 = 16;

struct Loaded(Nvml);

/// Loads the library anew with each call.
pub fn open() -> Open {
    Box::new(|| {
        let mut first = None;
        for library in LIBRARIES {
            match Nvml::builder().lib_path(OsStr::new(library)).init() {
                Ok(nvml) => return Ok(Box::new(Loaded(nvml))),
                Err(e) => {
                    let failure = Failure::from(e);
                    if !matches!(failure, Failure::NoLibrary(_)) {
                        return Err(failure);
                    }
                    first = first.or(Some(failure));
                }
            }
        }
        Err(first.unwrap_or(Failure::NoDriver))
    })
}

impl From<NvmlError> for Failure {
    fn from(e: NvmlError) -> Failure {
        match e {
            NvmlError::LibloadingError(_) | NvmlError::LibraryNotFound => {
                Failure::NoLibrary(e.to_string())
            }
            NvmlError::DriverNotLoaded | NvmlError::Uninitialized => Failure::NoDriver,
            NvmlError::NoPermission | NvmlError::OperatingSystem => Failure::NoPermission,
            NvmlError::GpuLost | NvmlError::ResetRequired => Failure::Lost,
            NvmlError::NotSupported
            | NvmlError::FailedToLoadSymbol(_)
            | NvmlError::FunctionNotFound => Failure::NotSupported,
            NvmlError::NotFound | NvmlError::NoData => Failure::NotFound,
            other => Failure::Other(other.to_string()),
        }
    }
}

impl Loaded {
    fn device(&self, device: u32) -> Answer<Device<'_>> {
        Ok(self.0.device_by_index(device)?)
    }
}

impl Driver for Loaded {
    fn count(&mut self) -> Answer<u32> {
        Ok(self.0.device_count()?)
    }

    fn identity(&mut self, device: u32) -> Answer<Identity> {
        let device = self.device(device)?;
        Ok(Identity {
            uuid: device.uuid()?,
            name: device.name()?,
            minor: device.minor_number().ok(),
        })
    }

    fn utilization_percent(&mut self, device: u32) -> Answer<u32> {
        Ok(self.device(device)?.utilization_rates()?.gpu)
    }

    fn memory(&mut self, device: u32) -> Answer<Memory> {
        memory(&self.device(device)?)
    }

    fn temperature_celsius(&mut self, device: u32) -> Answer<u32> {
        Ok(self.device(device)?.temperature(TemperatureSensor::Gpu)?)
    }

    fn power_milliwatts(&mut self, device: u32) -> Answer<u32> {
        Ok(self.device(device)?.power_usage()?)
    }

    fn processes(&mut self, device: u32) -> Answer<Vec<Process>> {
        processes(&self.device(device)?)
    }

    fn samples(&mut self, device: u32, since_us: u64) -> Answer<Vec<Sample>> {
        let samples = self.device(device)?.process_utilization_stats(since_us)?;
        let samples = samples.into_iter().map(|sample| Sample {
            pid: sample.pid,
            at_us: sample.timestamp,
            percent: sample.sm_util,
        });
        Ok(samples.collect())
    }

    fn instances(&mut self, device: u32) -> Answer<Option<Vec<Instance>>> {
        let device = self.device(device)?;
        match device.mig_mode().map_err(Failure::from) {
            Ok(mode) if mode.current != 0 => {}
            // Whole, or of a kind that can't be split.
            Ok(_) | Err(Failure::NotSupported) => return Ok(None),
            Err(failure) => return Err(failure),
        }
        let mut instances = Vec::new();
        for index in 0..device.mig_device_count()?.min(INSTANCES_MAX) {
            // Their numbers have gaps.
            let instance = match device.mig_device_by_index(index).map_err(Failure::from) {
                Ok(instance) => instance,
                Err(Failure::NotFound) => continue,
                Err(failure) => return Err(failure),
            };
            instances.push(Instance {
                uuid: instance.uuid()?,
                memory: memory(&instance),
                processes: processes(&instance),
            });
        }
        Ok(Some(instances))
    }
}

fn memory(device: &Device<'_>) -> Answer<Memory> {
    let memory = device.memory_info()?;
    Ok(Memory {
        used_bytes: memory.used,
        total_bytes: memory.total,
    })
}

fn processes(device: &Device<'_>) -> Answer<Vec<Process>> {
    let mut found = device.running_compute_processes()?;
    match device.running_graphics_processes().map_err(Failure::from) {
        Ok(graphics) => found.extend(graphics),
        // A device that only computes.
        Err(Failure::NotSupported) => {}
        Err(failure) => return Err(failure),
    }
    let process = |info: ProcessInfo| Process {
        pid: info.pid,
        memory_bytes: match info.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
    };
    Ok(found.into_iter().map(process).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_the_library_says_so_and_one_with_it_counts_its_devices() {
        match open()() {
            Ok(mut driver) => assert!(driver.count().is_ok()),
            Err(failure) => assert!(
                matches!(failure, Failure::NoLibrary(_) | Failure::NoDriver),
                "{failure}"
            ),
        }
    }

    #[test]
    fn nvmls_errors_are_told_by_what_they_mean_here() {
        let cases = [
            (NvmlError::GpuLost, Failure::Lost),
            (NvmlError::ResetRequired, Failure::Lost),
            (NvmlError::DriverNotLoaded, Failure::NoDriver),
            (NvmlError::NoPermission, Failure::NoPermission),
            (NvmlError::NotSupported, Failure::NotSupported),
            (
                NvmlError::FailedToLoadSymbol("x".into()),
                Failure::NotSupported,
            ),
            (NvmlError::NotFound, Failure::NotFound),
        ];
        for (theirs, ours) in cases {
            assert_eq!(Failure::from(theirs), ours);
        }
        let mismatch = Failure::from(NvmlError::LibRmVersionMismatch);
        assert!(mismatch.to_string().contains("version mismatch"));
    }
}

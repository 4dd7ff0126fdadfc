//! A network of the agents' own, from which each can be cut off: a network namespace for
//! each, on one bridge.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Until it is dropped. Nothing leads out of it.
pub struct Network {
    name: String,
    places: usize,
}

fn ip(args: &str) -> Result<(), String> {
    let out = Command::new("ip").args(args.split(' ')).output();
    let out = out.map_err(|why| format!("ip {args}: {why}"))?;
    if out.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&out.stderr);
    Err(format!("ip {args}: {said}"))
}

impl Network {
    /// `None` for who may not make one: the test says so and passes.
    pub fn new(places: usize) -> Option<Network> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        // A device's name has at most 15 bytes.
        let name = format!("s{}x{next}", std::process::id());
        let network = Network { name, places };
        match network.make() {
            Ok(()) => Some(network),
            Err(why) => {
                starling_faults::leave_out(&why);
                None
            }
        }
    }

    fn make(&self) -> Result<(), String> {
        let bridge = &self.name;
        ip(&format!("link add {bridge} type bridge"))?;
        ip(&format!("link set {bridge} up"))?;
        for place in 0..self.places {
            let (room, wire) = (self.room(place), self.wire(place));
            ip(&format!("netns add {room}"))?;
            ip(&format!(
                "link add {wire} type veth peer name eth0 netns {room}"
            ))?;
            ip(&format!("link set {wire} master {bridge} up"))?;
            ip(&format!(
                "-n {room} addr add {}/24 dev eth0",
                Network::address(place)
            ))?;
            ip(&format!("-n {room} link set lo up"))?;
            ip(&format!("-n {room} link set eth0 up"))?;
        }
        Ok(())
    }

    /// The network namespace of the one at `place`.
    pub fn room(&self, place: usize) -> String {
        format!("{}n{place}", self.name)
    }

    fn wire(&self, place: usize) -> String {
        format!("{}v{place}", self.name)
    }

    /// The real clusters of other tests have 10.77 on this machine.
    pub fn address(place: usize) -> String {
        format!("10.76.0.{}", place + 1)
    }

    /// Nothing reaches it and nothing comes from it; nobody is told.
    pub fn cut(&self, place: usize) {
        ip(&format!("link set {} down", self.wire(place))).unwrap();
    }

    pub fn mend(&self, place: usize) {
        ip(&format!("link set {} up", self.wire(place))).unwrap();
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // What was never made can't be removed.
        for place in 0..self.places {
            let _ = ip(&format!("netns del {}", self.room(place)));
            let _ = ip(&format!("link del {}", self.wire(place)));
        }
        let _ = ip(&format!("link del {}", self.name));
    }
}

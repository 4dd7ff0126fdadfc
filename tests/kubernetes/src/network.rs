//! The nodes' network: a bridge on the host, a network namespace for each node, and what
//! cuts a node off. Packets are dropped at the node's own link, below all that could tell
//! their sender, so a cut holds for connections that exist already and looks like silence.

use std::process::Command;

use crate::error::Result;
use crate::node::KUBELET_PORT;
use crate::run::{NODES_MAX, Run};
use crate::shell::{self, COMMAND_LIMIT};

/// What a node that is cut off can't do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Neither hears anybody nor is heard.
    Both,
    /// Hears nobody, but is heard.
    Incoming,
    /// Is heard by nobody, but hears.
    Outgoing,
    /// Can't reach the API server, nor is reached by it; the other nodes are there.
    ApiServer,
    /// Can't reach the other nodes and their pods, nor is reached by them; the API server is
    /// there.
    Nodes,
}

/// The namespace's name, as `ip netns` knows it.
pub fn namespace(run: &Run, node: &str) -> String {
    format!("{}-{node}", run.id())
}

/// Makes the bridge that all nodes of the run hang on.
pub fn create(run: &Run) -> Result<()> {
    let (bridge, host) = (run.id(), run.host());
    ip(
        &[],
        &format!(
            "link add {bridge} type bridge\naddr add {host}/24 dev {bridge}\nlink set {bridge} up\n"
        ),
    )
}

/// Makes a node's namespace and joins it to the bridge.
pub fn join(run: &Run, node: &str, number: u8) -> Result<()> {
    let (bridge, space) = (run.id(), namespace(run, node));
    let (link, address) = (format!("{bridge}n{number}"), run.address(number));
    ip(
        &[],
        &format!(
            "netns add {space}\n\
             link add {link} type veth peer name eth0 netns {space}\n\
             link set {link} master {bridge} up\n\
             route replace {} via {address}\n",
            run.pods(number)
        ),
    )?;
    // Routes to nodes that may come, too: so that nobody needs to be told of a new one.
    let others = (1..=NODES_MAX).filter(|other| *other != number);
    let routes: Vec<String> = others
        .map(|other| format!("route add {} via {}\n", run.pods(other), run.address(other)))
        .collect();
    let routes = routes.concat();
    let inside = format!(
        "addr add {address}/24 dev eth0\nlink set eth0 up\nlink set lo up\n\
         route add default via {}\n{routes}",
        run.host()
    );
    ip(&["-n", &space], &inside)?;
    let settings = "net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 \
                    net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth0.send_redirects=0";
    enter(run, node, &format!("sysctl -qw {settings}"), "")?;
    Ok(())
}

/// Removes a node's namespace and its link.
pub fn leave(run: &Run, node: &str, number: u8) -> Result<()> {
    ip(
        &[],
        &format!(
            "link del {}n{number}\nnetns del {}\n",
            run.id(),
            namespace(run, node)
        ),
    )
}

/// Cuts a node off, in place of any cut that there was.
pub fn cut(run: &Run, node: &str, how: Cut) -> Result<()> {
    let (host, port) = (run.host(), run.api_port());
    let others = format!("{{ {}, {} }}", run.network(), run.all_pods());
    let (drop_all, drop_none) = ("drop;".to_owned(), String::new());
    let (incoming, outgoing) = match how {
        Cut::Both => (drop_all.clone(), drop_all),
        Cut::Incoming => (drop_all, drop_none),
        Cut::Outgoing => (drop_none, drop_all),
        // Tests on the host still reach the node's pods.
        Cut::ApiServer => (
            format!(
                "ip saddr {host} tcp sport {port} drop; ip saddr {host} tcp dport {KUBELET_PORT} drop;"
            ),
            format!(
                "ip daddr {host} tcp dport {port} drop; ip daddr {host} tcp sport {KUBELET_PORT} drop;"
            ),
        ),
        Cut::Nodes => (
            format!("ip saddr {host} accept; ip saddr {others} drop;"),
            format!("ip daddr {host} accept; ip daddr {others} drop;"),
        ),
    };
    // A node that is still to be heard has to learn where to send.
    let first = if how == Cut::Both {
        ""
    } else {
        "ether type arp accept;"
    };
    let chain = |name, rules| {
        format!(
            "chain {name} {{ type filter hook {name} device eth0 priority 0; {first} {rules} }}\n"
        )
    };
    let script = format!(
        "{CLEAR}table netdev cut {{\n{}{}}}\n",
        chain("ingress", incoming),
        chain("egress", outgoing),
    );
    enter(run, node, "nft -f -", &script).map(|_| ())
}

/// Takes back what `cut` did.
pub fn heal(run: &Run, node: &str) -> Result<()> {
    enter(run, node, "nft -f -", CLEAR).map(|_| ())
}

/// Deleting needs the table to be there, so it is made first.
const CLEAR: &str = "table netdev cut {}\ndelete table netdev cut\n";

fn ip(options: &[&str], batch: &str) -> Result<()> {
    let mut command = Command::new("ip");
    command.args(options).args(["-batch", "-"]);
    shell::finish(&mut command, batch, COMMAND_LIMIT).map(|_| ())
}

/// Runs a command in the node's network namespace alone.
fn enter(run: &Run, node: &str, command: &str, input: &str) -> Result<String> {
    let mut inside = Command::new("nsenter");
    inside
        .arg(format!("--net=/run/netns/{}", namespace(run, node)))
        .args(command.split(' '));
    shell::finish(&mut inside, input, COMMAND_LIMIT)
}

//! Real agents of which a part hangs: the policy directory, or the loop; and a policy that
//! is too large for the log.
//!
//! A directory hangs while somebody who was asked whether it may be opened (`fanotify`)
//! doesn't answer; a thread hangs while a debugger holds it. Both need root: without it
//! these tests say so and prove nothing, unless faults are required.
#![allow(clippy::expect_used)] // A helper that finds nothing has failed its test.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use starling_faults::leave_out;
use starling_rig::cluster::Cluster;
use starling_rig::cluster::files::{Documents, Files};
use starling_rig::observe::Observer;
use starling_tests::command::{context, starling};
use starling_tests::{Away, answer, binary, in_three_tries, until};

const PROCESS: &str = "\
apiVersion: starling.sh/v1alpha1
kind: Process
metadata: {name: web}
spec:
  command: [sleep, '600']
  requests: {cpu: 100m}
";

fn policy(min: u32) -> String {
    format!(
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: web}}\nspec:\n  \
         scaleTargetRef: {{kind: Process, name: web}}\n  minReplicaCount: {min}\n  \
         maxReplicaCount: 12\n  triggers:\n  - type: cpu\n    metricType: Utilization\n    \
         metadata: {{value: '60'}}\n"
    )
}

/// Three agents and four workers, which need no CPU.
async fn start() -> (Cluster, Observer) {
    let mut cluster = Cluster::new(&binary(), 3).expect("a cluster");
    let documents = Documents {
        each: PROCESS.into(),
        first: policy(4),
    };
    let observer = cluster.start(&documents).await.expect("it forms");
    run(&mut cluster, 4).await;
    (cluster, observer)
}

/// Waits until so many workers run; their pids.
async fn run(cluster: &mut Cluster, count: usize) -> BTreeSet<u32> {
    until("the right number of workers runs", || {
        let workers = cluster.sample().workers;
        let pids: BTreeSet<u32> = workers.iter().map(|worker| worker.pid).collect();
        async move { (pids.len() == count).then_some(pids) }
    })
    .await
}

async fn leader(observer: &Observer) -> usize {
    until("somebody leads", || async {
        let statuses = observer.statuses().await;
        let acts = |it: &Option<_>| {
            let it: Option<&starling_rig::observe::Status> = it.as_ref();
            it.is_some_and(|it| it.acting)
        };
        statuses.iter().position(acts)
    })
    .await
}

/// A script that holds something up until this is dropped.
struct Held(Child);

impl Held {
    /// `None` where the script may not do that; it says "held" once it does.
    fn by(script: &str, what: &str) -> Option<Held> {
        let mut child = Command::new("python3")
            .args(["-c", script, what])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("python3");
        let mut said = String::new();
        let out = child.stdout.take().expect("its output");
        BufReader::new(out).read_line(&mut said).expect("a line");
        let held = Held(child);
        if said.trim() == "held" {
            return Some(held);
        }
        leave_out(&format!("nothing can be held up here: {}", said.trim()));
        None
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // The kernel lets go of what it holds.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks to be asked about each opening below a mount, and never answers.
const ASKED: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
FAN_CLASS_CONTENT, FAN_MARK_ADD, FAN_MARK_MOUNT = 0x4, 0x1, 0x10
FAN_OPEN_PERM, FAN_ONDIR, AT_FDCWD = 0x10000, 0x40000000, -100
asked = libc.fanotify_init(FAN_CLASS_CONTENT, os.O_RDONLY)
events = ctypes.c_uint64(FAN_OPEN_PERM | FAN_ONDIR)
path = sys.argv[1].encode()
if asked < 0 or libc.fanotify_mark(asked, FAN_MARK_ADD | FAN_MARK_MOUNT, events, AT_FDCWD, path) < 0:
    sys.exit(print(os.strerror(ctypes.get_errno())))
print('held', flush=True)
sys.stdin.read()
";

/// Attaches to one thread, as a debugger does, and keeps it where it is until it is gone.
const DEBUGGED: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
PTRACE_ATTACH, WALL = 16, 0x40000000
thread = int(sys.argv[1])
if libc.ptrace(PTRACE_ATTACH, thread, 0, 0) < 0:
    sys.exit(print(os.strerror(ctypes.get_errno())))
os.waitpid(thread, WALL)
print('held', flush=True)
while os.WIFSTOPPED(os.waitpid(thread, WALL)[1]):
    pass
";

/// A directory that is a mount of its own.
struct Mounted(PathBuf);

impl Mounted {
    fn at(path: &Path) -> Option<Mounted> {
        let status = Command::new("mount")
            .arg("--bind")
            .args([path, path])
            .status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Mounted(path.to_owned()));
        }
        leave_out("only root may mount");
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn an_agent_whose_policy_directory_hangs_says_so_and_does_all_else() {
    let (mut cluster, observer) = start().await;
    let names = cluster.names();
    let context = context(&cluster);
    // Where the policy is: that of the agent that leads, most likely.
    let policies = cluster.dir().join(&names[0]).join("policies");
    let Some(_mounted) = Mounted::at(&policies) else {
        return;
    };
    let before = answer(|| observer.status(0)).await;
    let Some(held) = Held::by(ASKED, policies.to_str().expect("a path")) else {
        return;
    };
    let warned = || async {
        let said = starling(&context, &["status", "--agent", &names[0]]).await;
        let words = "the policy directory hasn't answered for more than 5 s";
        said.out.contains(words)
    };
    until("it says that its directory hangs", || async {
        warned().await.then_some(())
    })
    .await;
    // All else goes on: it answers, it keeps its part of the log, and its workers.
    run(&mut cluster, 4).await;
    Files::new(cluster.dir(), &names[1])
        .write_documents("policies", &policy(6))
        .expect("written");
    run(&mut cluster, 6).await;
    let after = answer(|| observer.status(0)).await;
    assert!(after.term >= before.term && after.halted.is_empty());
    // The others may elect another leader at any time, but not because this one hangs.
    let log = cluster.log(0);
    assert!(!log.contains("gives up the lead"), "{log}");
    assert!(warned().await);

    drop(held);
    until("it reads its directory again", || async {
        (!warned().await).then_some(())
    })
    .await;
    let draft = policies.join("draft");
    std::fs::write(&draft, policy(5)).expect("written");
    std::fs::rename(draft, policies.join("policies.yaml")).expect("moved into place");
    until("what it says is in force", || async {
        let said = starling(&context, &["policies", "-o", "json"]).await;
        said.out.contains("\"replicas_min\": 5").then_some(())
    })
    .await;
    run(&mut cluster, 6).await;
}

#[tokio::test]
async fn a_leader_whose_loop_hangs_gives_up_the_lead_and_ends_with_status_70() {
    in_three_tries("it hands over the lead", async || {
        let (mut cluster, observer) = start().await;
        let before = run(&mut cluster, 4).await;
        let hung = leader(&observer).await;
        let sample = cluster.sample();
        let process = sample.agents[hung].expect("it runs");
        let began = Instant::now();
        // The loop is on the process's first thread; the log's threads go on.
        let Some(_held) = Held::by(DEBUGGED, &process.pid.to_string()) else {
            return Ok(());
        };
        let next = until("another agent leads", || async {
            let position = leader(&observer).await;
            (position != hung).then_some(position)
        })
        .await;
        let led_after = began.elapsed();
        assert_ne!(next, hung);
        let last = until("it has ended", || {
            let log = cluster.log(hung);
            async move {
                let mut lines = log.lines().map(str::to_owned);
                lines.find(|line| line.contains("ends with status 70"))
            }
        })
        .await;
        let ended = cluster.ended(hung).await.expect_err("not in order");
        let ended_after = began.elapsed();
        assert!(ended.to_string().contains("exit status: 70"), "{ended}");
        assert!(led_after < Duration::from_secs(15), "{led_after:?}");
        // Its workers go on, and the next start adopts them.
        let mut away = Away::begin(&mut cluster, &[hung], 4).await;
        assert_eq!(away.all, before);
        // Where nobody could take the lead from it, it ends at once and says why.
        let log = cluster.log(hung);
        if !log.contains("another agent leads from now on") {
            return Err(format!("it handed the lead to nobody: {last}"));
        }
        let seconds = ended_after.as_secs();
        assert!((25..55).contains(&seconds), "{ended_after:?}");
        cluster.restart(hung).expect("it starts");
        answer(|| observer.status(hung)).await;
        away.over();
        cluster
            .caught_up(hung, &observer)
            .await
            .expect("it is back");
        away.kept(&mut cluster)
    })
    .await;
}

/// A policy that is short as it is written, and long as it is kept: a hundred metrics with
/// the same thirty-two labels.
fn large() -> String {
    let part = "p".repeat(60);
    let labels = (10..42).map(|n| {
        let name = format!("{n}{}", "n".repeat(61));
        format!(
            "            {part}.{part}.{part}.{part}/{name}: {}\n",
            "v".repeat(63)
        )
    });
    let labels: String = labels.collect();
    let metric = |n: usize| {
        let selector = match n {
            0 => format!("&labels\n          matchLabels:\n{labels}"),
            _ => "*labels\n".to_owned(),
        };
        format!(
            "  - type: External\n    external:\n      metric:\n        name: queue-{n}\n        \
             selector: {selector}      target: {{type: AverageValue, averageValue: '5'}}\n"
        )
    };
    let metrics: String = (0..100).map(metric).collect();
    format!(
        "apiVersion: starling.sh/v1alpha1\nkind: ScalingPolicy\nmetadata: {{name: large}}\nspec:\n  \
         scaleTargetRef: {{kind: Process, name: large}}\n  maxReplicaCount: 5\n  metrics:\n{metrics}"
    )
}

#[tokio::test]
async fn a_policy_that_is_too_large_for_the_log_is_refused_once_and_others_are_applied() {
    let (mut cluster, _observer) = start().await;
    let context = context(&cluster);
    let files = Files::new(cluster.dir(), &cluster.names()[0]);
    files.write_documents("large", &large()).expect("written");
    let refused = "policy large";
    let words = until("it is refused", || async {
        let said = starling(&context, &["status", "--agent", "agent-1"]).await;
        let line = said.out.lines().find(|line| line.contains(refused))?;
        line.contains("was refused").then(|| line.to_owned())
    })
    .await;
    assert!(words.contains("more than the 1048576"), "{words}");
    files
        .write_documents("policies", &policy(6))
        .expect("written");
    run(&mut cluster, 6).await;
    // It was tried for longer than a proposal is waited for, and told once.
    let told = cluster.log(0).matches("1048576").count();
    assert_eq!(told, 1, "{}", cluster.log(0));
}

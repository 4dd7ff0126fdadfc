//! Tables as users see them.

use starling_engine::unit::Ms;
use starling_proto::{v1, view};

use super::cluster::{Member, Members, Status};
use super::decisions::{Decision, Decisions};
use super::explain::Explanation;
use super::pods::{Pod, Pods, Silent};
use super::policies::{Policies, Policy};
use super::top::{Node, Nodes};
use super::workloads::Workloads;
use super::{Header, notes};
use crate::output::{Show, Style};

const NOW: Ms = Ms(1_795_369_561_234);
const TABLE: Style = Style {
    wide: false,
    headers: true,
};
const WIDE: Style = Style {
    wide: true,
    headers: true,
};

fn header() -> Header {
    Header::from(Some(v1::ReplyHeader {
        node_id: 1,
        node_name: "a".into(),
        answer_time: Some(view::time(NOW)),
        data_age: Some(view::duration(40)),
        ..v1::ReplyHeader::default()
    }))
}

fn decision() -> v1::Decision {
    v1::Decision {
        index: 812,
        time: Some(view::time(NOW.minus(12_000))),
        namespace: "shop".into(),
        policy: "checkout".into(),
        previous_size: 3,
        size: 5,
        node_id: 1,
        node_name: "a".into(),
        reason: "queue asks for 5 replicas.".into(),
        earlier_policy: false,
    }
}

fn policy() -> v1::Policy {
    let trigger = |name: &str, kind: v1::GoalType, goal, value| v1::Trigger {
        name: name.into(),
        goal: Some(v1::Goal {
            r#type: kind.into(),
            milli: goal,
        }),
        value_milli: value,
        value_shared: kind == v1::GoalType::AverageValue,
        ..v1::Trigger::default()
    };
    v1::Policy {
        namespace: "shop".into(),
        name: "checkout".into(),
        target: Some(v1::Target {
            group: "apps".into(),
            kind: "Deployment".into(),
            namespace: "shop".into(),
            name: "web".into(),
        }),
        replicas_min: 1,
        replicas_max: 12,
        size: 5,
        running: 4,
        active: true,
        triggers: vec![
            trigger("queue", v1::GoalType::AverageValue, 5_000, Some(22_500)),
            trigger("cpu", v1::GoalType::Utilization, 70_000, None),
        ],
        last_change: Some(decision()),
        revision: 3,
        source: "a:checkout.yaml".into(),
        ..v1::Policy::default()
    }
}

#[test]
fn policies_show_sizes_triggers_and_the_last_change() {
    let shown = Policies {
        header: header(),
        policies: vec![Policy::from(policy())],
        all_namespaces: false,
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    NAME      TARGET          MIN  MAX  SIZE  RUNNING  STATE   TRIGGERS                      CHANGED
    checkout  Deployment/web    1   12     5        4  active  queue 22.5/5 each, cpu ?/70%      12s
    ");
    assert_eq!(shown.note(), None);
    let blocked = v1::Policy {
        blocked_reason: "quota pods: 5 of 5 are used".into(),
        warnings: vec![v1::Warning {
            subject: "pods: Deployment shop/web".into(),
            text: "pod web-1 container app: ErrImagePull".into(),
        }],
        ..policy()
    };
    let shown = Policies {
        policies: vec![Policy::from(blocked)],
        all_namespaces: true,
        ..shown
    };
    insta::assert_snapshot!(shown.text(WIDE), @r"
    NAMESPACE  NAME      TARGET          MIN  MAX  SIZE  RUNNING  WANTED  STATE    TRIGGERS                      CHANGED  STRATEGY  REVISION  SOURCE           BLOCKED
    shop       checkout  Deployment/web    1   12     5        4       -  blocked  queue 22.5/5 each, cpu ?/70%      12s  unknown          3  a:checkout.yaml  quota pods: 5 of 5 are used; pod web-1 container app: ErrImagePull
    ");
}

#[test]
fn a_policy_of_a_machine_that_is_gone_is_shown_with_the_command_that_removes_it() {
    let shown = Policies {
        header: header(),
        policies: vec![Policy::from(v1::Policy {
            ownerless: true,
            ..policy()
        })],
        all_namespaces: false,
    };
    assert!(shown.text(TABLE).contains("  active, ownerless  "));
    insta::assert_snapshot!(
        shown.note().unwrap(),
        @"Note: checkout belongs to a:checkout.yaml, on a machine that is no member any more, and stays in force. `starling policies delete checkout -n shop` removes it; the same file on another machine takes it over."
    );
}

#[test]
fn a_policys_json_holds_all_that_a_user_can_set() {
    use starling_engine::ledger::InForce;
    use starling_engine::policy;
    let put = InForce {
        policy: policy::Policy {
            name: policy::Name::new("shop", "web"),
            behavior: Some(policy::Behavior {
                up: policy::Rules::up(),
                down: policy::Rules::default(),
            }),
            dry_run: true,
            ..policy::Policy::default()
        },
        revision: 7,
        created_at: NOW,
        source: "a:web.yaml".into(),
        copies: std::collections::BTreeSet::new(),
    };
    let shown = Policy::from(view::policy::policy(&put, None));
    insta::assert_snapshot!(serde_saphyr::to_string(&shown).unwrap(), @r#"
    namespace: shop
    name: web
    target:
      group: ""
      kind: Process
      namespace: default
      name: ""
    strategy: target
    replicas_min: 0
    replicas_max: 100
    replicas_idle: null
    size: 0
    running: 0
    wanted: null
    dry_run_size: null
    active: false
    paused: false
    dry_run: true
    triggers: []
    fallback: null
    target_version: null
    behavior:
      stated: true
      scale_up:
        stabilization_window_ms: 0
        select_policy: max
        rates:
        - type: pods
          value: 4
          period_ms: 15000
        - type: percent
          value: 100
          period_ms: 15000
        tolerance_ppm: 100000
      scale_down:
        stabilization_window_ms: 300000
        select_policy: max
        rates:
        - type: percent
          value: 100
          period_ms: 15000
        tolerance_ppm: 100000
    banded: null
    objective: null
    zero_mode: activation
    annotations:
      paused: false
      paused_replicas: null
      paused_scale_in: false
      paused_scale_out: false
      force_activation: false
    polling_interval_ms: 30000
    cooldown_ms: 300000
    initial_cooldown_ms: 0
    cpu_initialization_period_ms: 300000
    initial_readiness_delay_ms: 30000
    stale_after_ms: 90000
    conditions: []
    evaluated_age_ms: null
    evaluated_now: false
    platform_silent_ms: null
    blocked_reason: null
    warnings: []
    last_change: null
    revision: 7
    source: a:web.yaml
    ownerless: false
    created_at: "2026-11-22T17:46:01.234Z"
    shares: []
    "#);
}

#[test]
fn an_empty_list_is_empty_and_says_what_to_do_beside_it() {
    let shown = Policies {
        header: header(),
        policies: Vec::new(),
        all_namespaces: true,
    };
    assert_eq!(shown.text(TABLE), "");
    insta::assert_snapshot!(
        shown.note().unwrap(),
        @"No policy is in force; apply a ScalingPolicy, or put one into an agent's policy directory."
    );
    let elsewhere = Policies {
        all_namespaces: false,
        ..shown
    };
    insta::assert_snapshot!(elsewhere.note().unwrap(), @"No policy is in force in this namespace; -A shows all namespaces.");
}

#[test]
fn members_show_their_part_and_what_was_heard_of_them() {
    let member = |id: u64, name: &str, role: v1::Role, heard: Option<u64>| v1::Member {
        id,
        name: name.into(),
        api_address: format!("192.0.2.{id}:7402"),
        alive: heard.is_some(),
        role: role.into(),
        applied_index: heard.map(|_| 800),
        heard_age: heard.map(view::duration),
        ..v1::Member::default()
    };
    let members = [
        member(1, "a", v1::Role::Leader, Some(40)),
        member(7, "long-name", v1::Role::Voter, None),
    ];
    let shown = Members {
        header: header(),
        members: members.map(Member::from).into(),
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    NAME       ROLE    ALIVE  APPLIED  HEARD  API
    a          leader  yes        800   40ms  192.0.2.1:7402
    long-name  voter   no           -      -  192.0.2.7:7402
    ");
}

const DAY_MS: u64 = 86_400_000;

fn agent(id: u64, name: &str, told: Option<(u32, Ms)>) -> v1::AgentStatus {
    v1::AgentStatus {
        node_id: id,
        node_name: name.into(),
        release: told.map_or("", |_| "0.1.0").into(),
        ledger_version: told.map(|(version, _)| version),
        certificate_end_time: told.map(|(_, until)| view::time(until)),
        certificate_due: told.is_some_and(|(_, until)| until < NOW.plus(30 * DAY_MS)),
    }
}

#[test]
fn the_status_is_a_list_of_facts_and_ends_with_warnings() {
    let status = v1::ClusterStatus {
        cluster: "home".into(),
        generation: 1,
        term: 4,
        leader_name: "a".into(),
        voter_ids: vec![1, 2, 3],
        last_log_index: 900,
        committed_index: 899,
        applied_index: 812,
        digest_state: v1::DigestState::Equal.into(),
        state: v1::ClusterState::Degraded.into(),
        state_reasons: vec!["who votes and doesn't answer: c".into()],
        missing_voters: vec!["c".into()],
        members: 3,
        members_alive: 2,
        policies: 1,
        replicas_granted: 5,
        replicas_running: 4,
        warnings: vec![v1::Warning {
            subject: "members".into(),
            text: "1 of 3 members don't answer".into(),
        }],
        ledger_version: 1,
        agents: vec![
            agent(1, "a", Some((2, NOW.plus(700 * DAY_MS)))),
            agent(2, "b", Some((1, NOW.plus(29 * DAY_MS)))),
            agent(3, "c", None),
        ],
        ..v1::ClusterStatus::default()
    };
    let shown = Status {
        header: header(),
        cluster: status.into(),
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    Cluster:     home (generation 1)
    State:       degraded: who votes and doesn't answer: c
    Leader:      a (term 4)
    Members:     2 of 3 alive, 3 voting, 0 learning
    Log:         899 of 900 entries committed
    Ledger:      version 1 (2 once all support it: not yet b, c), at command 812; equal at all who told their digest
    Policies:    1
    Replicas:    4 running of 5 granted
    Answered by: a, data 40ms old
    Identity:    the first certificate ends on 2026-12-21 (b, due)

    Warnings:
      members: 1 of 3 members don't answer
    ");
    let wide = shown.text(WIDE);
    let (_, tables) = wide.split_once("\n\n").unwrap();
    let (agents, _) = tables.split_once("\n\n").unwrap();
    insta::assert_snapshot!(agents, @r"
    NODE  RELEASE  LEDGER VERSION  CERTIFICATE UNTIL
    a     0.1.0                 2  2028-10-22T17:46:01.234Z
    b     0.1.0                 1  2026-12-21T17:46:01.234Z
    c     -                     -  -
    ");
}

#[test]
fn what_nobody_that_leads_stands_behind_is_shown_as_old() {
    let header = Header::from(Some(v1::ReplyHeader {
        node_name: "b".into(),
        answer_time: Some(view::time(NOW)),
        led: Some(false),
        led_age: Some(view::duration(185_000)),
        ..v1::ReplyHeader::default()
    }));
    let mut policy = policy();
    policy.triggers[0].value_age = Some(view::duration(10_800_000));
    policy.triggers[1].value_age = Some(view::duration(10_800_000));
    policy.platform_silent = Some(view::duration(90_000));
    let shown = Policies {
        header: header.clone(),
        policies: vec![Policy::from(policy)],
        all_namespaces: false,
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    NAME      TARGET          MIN  MAX  SIZE    RUNNING  STATE   TRIGGERS                             CHANGED
    checkout  Deployment/web    1   12     5  4 90s ago  active  queue 22.5/5 each 3h ago, cpu ?/70%      12s
    ");
    insta::assert_snapshot!(
        shown.note().unwrap(),
        @"Note: no leader stands behind this: b has heard none for 3m5s. Sizes and decisions are as of then; `starling status` says what is missing."
    );
    let status = v1::ClusterStatus {
        cluster: "home".into(),
        leader_name: "a".into(),
        state: v1::ClusterState::NoQuorum.into(),
        state_reasons: vec!["2 of 3 voters don't answer: a, c".into()],
        ..v1::ClusterStatus::default()
    };
    let shown = Status {
        header,
        cluster: status.into(),
    };
    let text = shown.text(TABLE);
    for line in [
        "State:       no quorum: 2 of 3 voters don't answer: a, c",
        "Leader:      a, which no majority answers (term 0)",
        "Answered by: b, data 0ms old, last heard a leader 3m5s ago",
    ] {
        assert!(text.lines().any(|it| it == line), "{text}");
    }
    assert_eq!(shown.note(), None);
}

fn amount(used: u64, allocatable: Option<u64>, unit: v1::Unit) -> v1::ResourceAmount {
    v1::ResourceAmount {
        used,
        requested: None,
        allocatable,
        unit: unit.into(),
    }
}

#[test]
fn nodes_show_their_resources_whatever_these_are() {
    let node = |name: &str, alive, running| v1::Node {
        name: name.into(),
        alive,
        sample_age: Some(view::duration(600)),
        resources: [
            (
                "cpu".into(),
                amount(1_250, Some(4_000), v1::Unit::MilliCores),
            ),
            (
                "memory".into(),
                amount(3 << 30, Some(8 << 30), v1::Unit::Bytes),
            ),
            ("nvidia.com/gpu".into(), amount(1, Some(4), v1::Unit::Count)),
            ("gpu".into(), amount(500, Some(2_000), v1::Unit::Milli)),
            ("psi-io".into(), amount(123, None, v1::Unit::Milli)),
            (
                "disk-read".into(),
                amount(3 << 20, None, v1::Unit::BytesPerSecond),
            ),
        ]
        .into(),
        workloads: vec![v1::WorkloadUsage {
            target: policy().target,
            running,
            granted: 2,
            ..v1::WorkloadUsage::default()
        }],
        ..v1::Node::default()
    };
    let silent = v1::Node {
        name: "silent".into(),
        ..v1::Node::default()
    };
    let old = v1::Node {
        sample_age: Some(view::duration(7_000)),
        ..node("dead", false, 9)
    };
    let nodes = [node("a", true, 2), old, silent];
    let shown = Nodes {
        header: header(),
        nodes: nodes.map(Node::from).into(),
        arranged: None,
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    NAME      CPU  CPU%  MEMORY  MEMORY%  REPLICAS       AGE  ALIVE
    a       1250m   31%   3.0Gi      37%         2     600ms  yes
    dead    1250m   31%   3.0Gi      37%         9  7s stale  no
    silent      -     -       -        -         -         -  no
    ");
    insta::assert_snapshot!(shown.text(WIDE), @r"
    NAME      CPU  CPU%  MEMORY  MEMORY%  REPLICAS       AGE  ALIVE  DISK READ/s    GPU  PSI IO  OTHERS
    a       1250m   31%   3.0Gi      37%         2     600ms  yes          3.0Mi  0.5/2   12.3%  nvidia.com/gpu 1/4
    dead    1250m   31%   3.0Gi      37%         9  7s stale  no           3.0Mi  0.5/2   12.3%  nvidia.com/gpu 1/4
    silent      -     -       -        -         -         -  no               -      -       -  -
    ");
}

#[test]
fn workloads_show_what_they_use_and_which_policy_sizes_them() {
    let workload = v1::Workload {
        target: policy().target,
        form: v1::WorkloadForm::Scaled.into(),
        policy: "checkout".into(),
        size: 4,
        running: 3,
        ready: 2,
        shares: vec![v1::Share::default(); 2],
        usage: [
            ("cpu".into(), amount(600, None, v1::Unit::MilliCores)),
            ("memory".into(), amount(40 << 20, None, v1::Unit::Bytes)),
            ("throttling".into(), amount(70, None, v1::Unit::Milli)),
            ("pods/queue".into(), amount(7_500, None, v1::Unit::Milli)),
        ]
        .into(),
        sample_age: Some(view::duration(600)),
        selector: "app=web".into(),
        blocked_reason: "2 pods fit on no node".into(),
        ..v1::Workload::default()
    };
    let unsized_one = v1::Workload {
        target: Some(v1::Target {
            kind: "Process".into(),
            namespace: "default".into(),
            name: "worker".into(),
            ..v1::Target::default()
        }),
        form: v1::WorkloadForm::Placed.into(),
        ..v1::Workload::default()
    };
    let shown = Workloads {
        header: header(),
        workloads: vec![workload.into(), unsized_one.into()],
        all_namespaces: true,
        arranged: None,
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    NAMESPACE  WORKLOAD        SIZE  RUNNING  READY   CPU  MEMORY  NODES    AGE
    shop       Deployment/web     4        3      2  600m    40Mi      2  600ms
    default    Process/worker     -        0      0     -       -      0      -
    ");
    insta::assert_snapshot!(shown.text(WIDE), @r"
    NAMESPACE  WORKLOAD        SIZE  RUNNING  READY   CPU  MEMORY  NODES    AGE  POLICY    FORM    SELECTOR  BLOCKED                THROTTLED  OTHERS
    shop       Deployment/web     4        3      2  600m    40Mi      2  600ms  checkout  scaled  app=web   2 pods fit on no node       7.0%  pods/queue 7.5
    default    Process/worker     -        0      0     -       -      0      -  -         placed  -         -                              -  -
    ");
}

#[test]
fn pods_show_what_they_use_and_which_nodes_are_missing() {
    let replica = |name: &str, age| v1::Replica {
        namespace: "shop".into(),
        name: name.into(),
        node_name: "a".into(),
        target: policy().target,
        phase: v1::ReplicaPhase::Running.into(),
        ready: Some(true),
        start_time: Some(view::time(NOW.minus(60_000))),
        usage: [
            ("cpu".into(), amount(30, None, v1::Unit::MilliCores)),
            ("memory".into(), amount(5 << 20, None, v1::Unit::Bytes)),
            ("gpu".into(), amount(250, None, v1::Unit::Milli)),
        ]
        .into(),
        sample_age: Some(view::duration(age)),
        ..v1::Replica::default()
    };
    let unmeasured = v1::Replica {
        usage: [].into(),
        sample_age: None,
        ..replica("web-3", 0)
    };
    let pods = [replica("web-1", 700), replica("web-2", 20_000), unmeasured];
    let silent = |node_id| Silent {
        node: format!("node-{node_id}"),
        node_id,
        reason: "it doesn't answer in time".into(),
    };
    let mut shown = Pods {
        header: header(),
        pods: pods.map(Pod::from).into(),
        silent_nodes: vec![silent(2)],
        all_namespaces: true,
        arranged: None,
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    NAMESPACE  POD    NODE  WORKLOAD        CPU  MEMORY        AGE
    shop       web-1  a     Deployment/web  30m   5.0Mi      700ms
    shop       web-2  a     Deployment/web  30m   5.0Mi  20s stale
    shop       web-3  a     Deployment/web    -       -          -
    ");
    insta::assert_snapshot!(shown.text(WIDE), @r"
    NAMESPACE  POD    NODE  WORKLOAD        CPU  MEMORY        AGE  PHASE    READY  STARTED                    GPU
    shop       web-1  a     Deployment/web  30m   5.0Mi      700ms  running  yes    2026-11-22T17:45:01.234Z  0.25
    shop       web-2  a     Deployment/web  30m   5.0Mi  20s stale  running  yes    2026-11-22T17:45:01.234Z  0.25
    shop       web-3  a     Deployment/web    -       -          -  running  yes    2026-11-22T17:45:01.234Z     -
    ");
    insta::assert_snapshot!(shown.note().unwrap(), @"Missing are those of node-2: it doesn't answer in time.");
    shown.silent_nodes = (1..=9).map(silent).collect();
    let note = shown.note().unwrap();
    assert_eq!(note.lines().count(), 6, "{note}");
    assert!(
        note.ends_with("Missing are those of 4 nodes more."),
        "{note}"
    );
    shown.pods.clear();
    shown.silent_nodes.clear();
    assert!(shown.note().unwrap().contains("No pod or process"));
}

#[test]
fn decisions_show_their_age_and_reason() {
    let shown = Decisions {
        header: header(),
        decisions: vec![Decision::from(decision())],
        all_namespaces: false,
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    INDEX  AGE  POLICY    FROM  TO  BY  REASON
      812  12s  checkout     3   5  a   queue asks for 5 replicas.
    ");
    let shown = Decisions {
        all_namespaces: true,
        ..shown
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    INDEX  AGE  NAMESPACE  POLICY    FROM  TO  BY  REASON
      812  12s  shop       checkout     3   5  a   queue asks for 5 replicas.
    ");
}

#[test]
fn an_explanation_tells_of_now_and_of_the_last_change() {
    let account = |line: &str| v1::Explanation {
        lines: vec![line.into(), String::new(), "- more".into()],
        limits: vec![v1::Limit {
            code: "Bounded".into(),
            detail: line.into(),
            ..v1::Limit::default()
        }],
        ..v1::Explanation::default()
    };
    let reply = v1::ExplainPolicyResponse {
        policy: Some(policy()),
        live: None,
        live_absent_reason: "the leader at 192.0.2.1:7402 doesn't answer".into(),
        last_change: Some(decision()),
        recorded: Some(account("Grows from 3 to 5 replicas.")),
        ..v1::ExplainPolicyResponse::default()
    };
    let mut shown = Explanation::from(reply.clone());
    shown.header = header();
    insta::assert_snapshot!(shown.text(TABLE), @r"
    shop/checkout sizes Deployment/web: 5 of 1 to 12 replicas, 4 running

    Now: the leader at 192.0.2.1:7402 doesn't answer

    Changed from 3 to 5 replicas 12s ago by a (index 812):
      Grows from 3 to 5 replicas.

      - more
    ");
    let mut shown = Explanation::from(v1::ExplainPolicyResponse {
        policy: Some(v1::Policy {
            blocked_reason: "quota pods: 5 of 5 are used".into(),
            conditions: vec![v1::Condition {
                r#type: "ScalingLimited".into(),
                status: v1::ConditionStatus::True.into(),
                reason: "ReplicasBlocked".into(),
                message: "no more can run".into(),
            }],
            ..policy()
        }),
        live: Some(account("Stays at 5 replicas.")),
        last_change: None,
        ..reply
    });
    shown.header = header();
    insta::assert_snapshot!(shown.text(WIDE), @r"
    shop/checkout sizes Deployment/web: 5 of 1 to 12 replicas, 4 running

    What keeps replicas from running:
      quota pods: 5 of 5 are used

    Now:
      Stays at 5 replicas.

      - more
      [Bounded] Stays at 5 replicas.

    No change of size is remembered.

    Conditions:
      ScalingLimited True: ReplicasBlocked (no more can run)
    ");
}

#[test]
fn old_data_comes_with_a_caution() {
    let old = Header {
        data_age_ms: 65_000,
        ..header()
    };
    assert_eq!(header().caution(), None);
    insta::assert_snapshot!(
        notes(old.caution(), Some("Nothing.")).unwrap(),
        @r"
    Note: a's data is 65s old; ask another agent with --agent, or with --consistency leader.
    Nothing.
    "
    );
}

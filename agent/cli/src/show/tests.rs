//! Tables as users see them.

use starling_engine::unit::Ms;
use starling_proto::{v1, view};

use super::cluster::{Member, Members, Status};
use super::decisions::{Decision, Decisions};
use super::explain::Explanation;
use super::policies::{Policies, Policy};
use super::top::{Node, Nodes, Workloads};
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
        data_age_ms: 40,
        ..v1::ReplyHeader::default()
    }))
}

fn decision() -> v1::Decision {
    v1::Decision {
        index: 812,
        time: Some(view::time(NOW.minus(12_000))),
        policy: "checkout".into(),
        from: 3,
        to: 5,
        node_id: 1,
        node_name: "a".into(),
        reason: "queue asks for 5 replicas.".into(),
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
        value_in_all: kind == v1::GoalType::AverageValue,
        ..v1::Trigger::default()
    };
    v1::Policy {
        name: "checkout".into(),
        target: Some(v1::Target {
            kind: "Process".into(),
            name: "worker".into(),
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
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    NAME      TARGET          MIN  MAX  SIZE  RUNNING  STATE   TRIGGERS                      CHANGED
    checkout  Process/worker    1   12     5        4  active  queue 22.5/5 each, cpu ?/70%      12s
    ");
    assert_eq!(shown.note(), None);
}

#[test]
fn an_empty_list_is_empty_and_says_what_to_do_beside_it() {
    let shown = Policies {
        header: header(),
        policies: Vec::new(),
    };
    assert_eq!(shown.text(TABLE), "");
    insta::assert_snapshot!(
        shown.note().unwrap(),
        @"No policy is in force; put one into an agent's policy directory."
    );
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
        heard_age_ms: heard,
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
        members: 3,
        members_alive: 2,
        policies: 1,
        replicas_granted: 5,
        replicas_running: 4,
        warnings: vec![v1::Warning {
            subject: "members".into(),
            text: "1 of 3 members don't answer".into(),
        }],
        ..v1::ClusterStatus::default()
    };
    let shown = Status {
        header: header(),
        cluster: status.into(),
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    Cluster:     home (generation 1)
    Leader:      a (term 4)
    Members:     2 of 3 alive, 3 voting, 0 learning
    Log:         899 of 900 entries committed
    Ledger:      at command 812; equal at all who told their digest
    Policies:    1
    Replicas:    4 running of 5 granted
    Answered by: a, data 40ms old

    Warnings:
      members: 1 of 3 members don't answer
    ");
}

#[test]
fn workloads_are_summed_over_the_nodes_that_are_alive() {
    let node = |name: &str, alive, running| v1::Node {
        name: name.into(),
        alive,
        sample_age_ms: Some(600),
        totals: Some(v1::NodeTotals {
            cpu_used_milli: 1_250,
            cpu_capacity_milli: 4_000,
            memory_used_bytes: 3 << 30,
            memory_capacity_bytes: 8 << 30,
            ..v1::NodeTotals::default()
        }),
        workloads: vec![v1::WorkloadUsage {
            target: policy().target,
            running,
            granted: 2,
            cpu_used_milli: 300,
            memory_used_bytes: 20 << 20,
        }],
        ..v1::Node::default()
    };
    let nodes = [
        node("a", true, 2),
        node("b", true, 1),
        node("dead", false, 9),
    ];
    let shown = Nodes {
        header: header(),
        nodes: nodes.map(Node::from).into(),
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    NAME    CPU  CPU%  MEMORY  MEMORY%  WORKERS    AGE  ALIVE
    a     1250m   31%   3.0Gi      37%        2  600ms  yes
    b     1250m   31%   3.0Gi      37%        1  600ms  yes
    dead  1250m   31%   3.0Gi      37%        9  600ms  no
    ");
    insta::assert_snapshot!(Workloads::from(shown).text(TABLE), @r"
    WORKLOAD        RUNNING  GRANTED   CPU  MEMORY  NODES    AGE
    Process/worker        3        4  600m    40Mi      2  600ms
    ");
}

#[test]
fn decisions_show_their_age_and_reason() {
    let shown = Decisions {
        header: header(),
        decisions: vec![Decision::from(decision())],
    };
    insta::assert_snapshot!(shown.text(TABLE), @r"
    INDEX  AGE  POLICY    FROM  TO  BY  REASON
      812  12s  checkout     3   5  a   queue asks for 5 replicas.
    ");
}

#[test]
fn an_explanation_tells_of_now_and_of_the_last_change() {
    let account = |line: &str| v1::Explanation {
        lines: vec![line.into(), String::new(), "- more".into()],
        reasons: vec![v1::Reason {
            code: "Bounded".into(),
            text: line.into(),
        }],
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
    checkout sizes Process/worker: 5 of 1 to 12 replicas, 4 running

    Now: the leader at 192.0.2.1:7402 doesn't answer

    Changed from 3 to 5 replicas 12s ago by a (index 812):
      Grows from 3 to 5 replicas.

      - more
    ");
    let mut shown = Explanation::from(v1::ExplainPolicyResponse {
        live: Some(account("Stays at 5 replicas.")),
        last_change: None,
        ..reply
    });
    shown.header = header();
    insta::assert_snapshot!(shown.text(WIDE), @r"
    checkout sizes Process/worker: 5 of 1 to 12 replicas, 4 running

    Now:
      Stays at 5 replicas.

      - more
      [Bounded] Stays at 5 replicas.

    No change of size is remembered.
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

//! What comes of each recording.

use insta::assert_snapshot;

use super::played::play;

const A: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const B: &str = "bbbbbbbb-0000-4000-8000-000000000002";

/// Two pods, and what follows; `A` and `B` in it are their uids.
fn two_pods(recording: &str) -> String {
    let owned = recording.replace("owns A", &format!("owns {A}"));
    let owned = owned.replace("owns B", &format!("owns {B}"));
    play(&format!("pod {A} a\npod {B} b\n{owned}"))
}

#[test]
fn a_device_that_one_pod_holds_is_that_pods() {
    let told = two_pods(
        "holds a GPU-1
         holds b GPU-2 GPU-3
         owns A 11
         at 1000
         gpu 0 GPU-1
         busy 0 40
         memory 0 1000 8000
         warm 0 51
         power 0 250000
         process 0 11 900
         gpu 1 GPU-2
         busy 1 100
         memory 1 2000 8000
         gpu 2 GPU-3
         busy 2 50
         memory 2 3000 8000",
    );
    assert_snapshot!(told, @r"
    at 1000
      GPU-1 busy 400 memory 1000 of 8000
        11: 400 (at 1000), memory 900
      GPU-2 busy 1000 memory 2000 of 8000
      GPU-3 busy 500 memory 3000 of 8000
      node gpu 1900 of 3000
      node gpu-memory 6000 of 24000
      a: gpu 400 (at 1000) of 1000, memory 1000000 (at 1000) of 8000000
      b: gpu 1500 (at 1000) of 2000, memory 5000000 (at 1000) of 16000000
    ");
}

#[test]
fn two_pods_on_one_device_have_what_their_processes_use() {
    let told = two_pods(
        "holds a GPU-1::0
         holds b GPU-1::1
         owns A 11 12
         owns B 21
         at 0
         gpu 0 GPU-1
         busy 0 90
         memory 0 5000 8000
         process 0 11 1000
         process 0 12 500
         process 0 12 500
         process 0 21 3000
         sample 0 11 1000000 99
         sample 0 21 1000000 99
         at 1000
         gpu 0 GPU-1
         busy 0 90
         memory 0 5000 8000
         process 0 11 1000
         process 0 12 500
         process 0 21 3000
         sample 0 11 1900000 20
         sample 0 12 2000000 10
         sample 0 21 2000000 60
         at 2000
         gpu 0 GPU-1
         busy 0 30
         memory 0 5000 8000
         process 0 11 1000
         process 0 12 500
         process 0 21 3000
         sample 0 11 3000000 30",
    );
    assert_snapshot!(told, @r"
    at 0
      GPU-1 busy 900 memory 5000 of 8000
        11: -, memory 1000
        12: -, memory 500
        21: -, memory 3000
      node gpu 900 of 1000
      node gpu-memory 5000 of 8000
      a: gpu - of 1000, memory 1500000 (at 0) of 8000000
      b: gpu - of 1000, memory 3000000 (at 0) of 8000000
    at 1000
      GPU-1 busy 900 memory 5000 of 8000
        11: 200 (at 1000), memory 1000
        12: 100 (at 1000), memory 500
        21: 600 (at 1000), memory 3000
      node gpu 900 of 1000
      node gpu-memory 5000 of 8000
      a: gpu 300 (at 1000) of 1000, memory 1500000 (at 1000) of 8000000
      b: gpu 600 (at 1000) of 1000, memory 3000000 (at 1000) of 8000000
    at 2000
      GPU-1 busy 300 memory 5000 of 8000
        11: 300 (at 2000), memory 1000
        12: 0 (at 2000), memory 500
        21: 0 (at 2000), memory 3000
      node gpu 300 of 1000
      node gpu-memory 5000 of 8000
      a: gpu 300 (at 2000) of 1000, memory 1500000 (at 2000) of 8000000
      b: gpu 0 (at 2000) of 1000, memory 3000000 (at 2000) of 8000000
    ");
}

/// Asking for samples takes a driver a hundred times as long as any other question.
#[test]
fn only_of_a_device_that_several_processes_share_samples_are_asked_for() {
    let told = two_pods(
        "owns A 11
         owns B 21
         at 0
         gpu 0 GPU-1
         busy 0 80
         memory 0 1000 8000
         process 0 11 900
         sample 0 11 denied 0
         at 1000
         gpu 0 GPU-1
         busy 0 80
         memory 0 2000 8000
         process 0 11 900
         process 0 21 900
         sample 0 11 1900000 50
         sample 0 21 2000000 30
         at 2000
         gpu 0 GPU-1
         busy 0 80
         memory 0 2000 8000
         process 0 11 900
         process 0 21 900
         sample 0 11 2900000 60
         sample 0 21 3000000 20
         at 3000
         gpu 0 GPU-1
         busy 0 70
         memory 0 1000 8000
         process 0 21 900
         process 0 0 900
         sample 0 21 4000000 20",
    );
    assert_snapshot!(told, @r"
    at 0
      GPU-1 busy 800 memory 1000 of 8000
        11: 800 (at 0), memory 900
      node gpu 800 of 1000
      node gpu-memory 1000 of 8000
      a: gpu 800 (at 0) of 0, memory 900000 (at 0) of -
    at 1000
      GPU-1 busy 800 memory 2000 of 8000
        11: -, memory 900
        21: -, memory 900
      node gpu 800 of 1000
      node gpu-memory 2000 of 8000
      a: gpu - of 0, memory 900000 (at 1000) of -
      b: gpu - of 0, memory 900000 (at 1000) of -
    at 2000
      GPU-1 busy 800 memory 2000 of 8000
        11: 600 (at 2000), memory 900
        21: 200 (at 2000), memory 900
      node gpu 800 of 1000
      node gpu-memory 2000 of 8000
      a: gpu 600 (at 2000) of 0, memory 900000 (at 2000) of -
      b: gpu 200 (at 2000) of 0, memory 900000 (at 2000) of -
    at 3000
      GPU-1 busy 700 memory 1000 of 8000
        21: 200 (at 3000), memory 900
      node gpu 700 of 1000
      node gpu-memory 1000 of 8000
      b: gpu 200 (at 3000) of 0, memory 900000 (at 3000) of -
    ");
}

#[test]
fn samples_that_stand_still_are_not_taken_for_new_ones_nor_for_idleness() {
    let told = two_pods(
        "holds a GPU-1
         holds b GPU-1
         owns A 11
         owns B 21
         at 0
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 1000000 50
         at 1000
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 2000000 50
         sample 0 21 2000000 40
         at 2000
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 2000000 50
         sample 0 21 2000000 40
         at 3000
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 2000000 50
         sample 0 21 2000000 40
         at 9000
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 2000000 50
         at 10000
         gpu 0 GPU-1
         busy 0 0
         process 0 11 1
         process 0 21 1
         sample 0 11 2000000 50",
    );
    assert_snapshot!(told, @r"
    at 0
      GPU-1 busy 900 memory -
        11: -, memory 1
        21: -, memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu - of 1000, memory 1000 (at 0) of -
      b: gpu - of 1000, memory 1000 (at 0) of -
    at 1000
      GPU-1 busy 900 memory -
        11: 500 (at 1000), memory 1
        21: 400 (at 1000), memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu 500 (at 1000) of 1000, memory 1000 (at 1000) of -
      b: gpu 400 (at 1000) of 1000, memory 1000 (at 1000) of -
    at 2000
      GPU-1 busy 900 memory -
        11: 500 (at 1000), memory 1
        21: 400 (at 1000), memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu 500 (at 1000) of 1000, memory 1000 (at 2000) of -
      b: gpu 400 (at 1000) of 1000, memory 1000 (at 2000) of -
    at 3000
      GPU-1 busy 900 memory -
        11: 500 (at 1000), memory 1
        21: 400 (at 1000), memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu 500 (at 1000) of 1000, memory 1000 (at 3000) of -
      b: gpu 400 (at 1000) of 1000, memory 1000 (at 3000) of -
    at 9000
      GPU-1 busy 900 memory -
        11: -, memory 1
        21: -, memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu - of 1000, memory 1000 (at 9000) of -
      b: gpu - of 1000, memory 1000 (at 9000) of -
    at 10000
      GPU-1 busy 0 memory -
        11: 0 (at 10000), memory 1
        21: 0 (at 10000), memory 1
      node gpu 0 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu 0 (at 10000) of 1000, memory 1000 (at 10000) of -
      b: gpu 0 (at 10000) of 1000, memory 1000 (at 10000) of -
    ");
}

#[test]
fn a_driver_whose_clock_went_back_gives_no_share_for_once_and_then_goes_on() {
    let told = two_pods(
        "holds a GPU-1
         holds b GPU-1
         owns A 11
         owns B 21
         at 0
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 9000000 50
         at 1000
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 9900000 50
         at 2000
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 1000000 70
         at 3000
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 1500000 70
         at 4000
         gpu 0 GPU-1
         busy 0 90
         process 0 11 1
         process 0 21 1
         sample 0 11 2500000 80",
    );
    assert_snapshot!(told, @r"
    at 0
      GPU-1 busy 900 memory -
        11: -, memory 1
        21: -, memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu - of 1000, memory 1000 (at 0) of -
      b: gpu - of 1000, memory 1000 (at 0) of -
    at 1000
      GPU-1 busy 900 memory -
        11: 500 (at 1000), memory 1
        21: 0 (at 1000), memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu 500 (at 1000) of 1000, memory 1000 (at 1000) of -
      b: gpu 0 (at 1000) of 1000, memory 1000 (at 1000) of -
    at 2000
      GPU-1 busy 900 memory -
        11: 500 (at 1000), memory 1
        21: 0 (at 1000), memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu 500 (at 1000) of 1000, memory 1000 (at 2000) of -
      b: gpu 0 (at 1000) of 1000, memory 1000 (at 2000) of -
    at 3000
      GPU-1 busy 900 memory -
        11: -, memory 1
        21: -, memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu - of 1000, memory 1000 (at 3000) of -
      b: gpu - of 1000, memory 1000 (at 3000) of -
    at 4000
      GPU-1 busy 900 memory -
        11: 800 (at 4000), memory 1
        21: 0 (at 4000), memory 1
      node gpu 900 of 1000
      absent: gpu 0 memory: the driver doesn't tell it for this device
      a: gpu 800 (at 4000) of 1000, memory 1000 (at 4000) of -
      b: gpu 0 (at 4000) of 1000, memory 1000 (at 4000) of -
    ");
}

#[test]
fn of_a_device_that_mig_splits_memory_is_known_and_use_is_missing() {
    let told = two_pods(
        "holds a MIG-1
         holds b MIG-2
         owns A 11
         at 1000
         gpu 0 GPU-1
         busy 0 unsupported
         memory 0 5000 80000
         part 0 MIG-1 2000 20000
         part 0 MIG-2 0 40000
         part-process 0 MIG-1 11 1900
         gpu 1 GPU-2
         busy 1 10
         memory 1 5 80000",
    );
    assert_snapshot!(told, @r"
    at 1000
      GPU-1 busy - memory 5000 of 80000
        MIG-1 memory 2000 of 20000
          11: -, memory 1900
        MIG-2 memory 0 of 40000
      GPU-2 busy 100 memory 5 of 80000
      node gpu 100 of 1000
      node gpu-memory 5005 of 160000
      absent: gpu 0 utilization: the driver doesn't tell it for this device
      a: gpu - of 1000, memory 2000000 (at 1000) of 20000000
      b: gpu - of 1000, memory 0 (at 1000) of 40000000
    ");
}

#[test]
fn a_device_that_falls_off_the_bus_takes_no_other_with_it() {
    let told = two_pods(
        "holds a GPU-1
         holds b GPU-2
         at 0
         gpu 0 GPU-1
         busy 0 40
         memory 0 1000 8000
         gpu 1 GPU-2
         busy 1 60
         memory 1 1000 8000
         at 1000
         gpu 0 lost
         busy 0 lost
         gpu 1 GPU-2
         busy 1 60
         memory 1 1000 8000
         at 2000
         gpu 0 GPU-1
         busy 0 40
         memory 0 lost
         gpu 1 GPU-2
         busy 1 60
         memory 1 1000 8000",
    );
    assert_snapshot!(told, @r"
    at 0
      GPU-1 busy 400 memory 1000 of 8000
      GPU-2 busy 600 memory 1000 of 8000
      node gpu 1000 of 2000
      node gpu-memory 2000 of 16000
      a: gpu 400 (at 0) of 1000, memory 1000000 (at 0) of 8000000
      b: gpu 600 (at 0) of 1000, memory 1000000 (at 0) of 8000000
    at 1000
      GPU-1 lost
      GPU-2 busy 600 memory 1000 of 8000
      node gpu 600 of 1000
      node gpu-memory 1000 of 8000
      fault: gpu 0: it has fallen off the bus or must be reset; the node has to be drained
      a: gpu - of 1000, memory - of -
      b: gpu 600 (at 1000) of 1000, memory 1000000 (at 1000) of 8000000
    at 2000
      GPU-1 lost
      GPU-2 busy 600 memory 1000 of 8000
      node gpu 600 of 1000
      node gpu-memory 1000 of 8000
      fault: gpu 0: it has fallen off the bus or must be reset; the node has to be drained
      a: gpu - of 1000, memory - of -
      b: gpu 600 (at 2000) of 1000, memory 1000000 (at 2000) of 8000000
    ");
}

#[test]
fn what_may_not_be_asked_is_named_and_shares_are_missing() {
    let told = two_pods(
        "holds a GPU-1::0
         holds b GPU-1::1
         at 1000
         gpu 0 GPU-1
         busy 0 40
         memory 0 1000 8000
         process 0 denied 0
         power 0 denied",
    );
    assert_snapshot!(told, @r"
    at 1000
      GPU-1 busy 400 memory 1000 of 8000
      node gpu 400 of 1000
      node gpu-memory 1000 of 8000
      fault: gpu 0 power: this user may not ask; run the agent as root, with the devices visible to it
      fault: gpu 0 processes: this user may not ask; run the agent as root, with the devices visible to it
      a: gpu - of 1000, memory - of 8000000
      b: gpu - of 1000, memory - of 8000000
    ");
}

#[test]
fn processes_of_another_pid_namespace_make_nobodys_share_zero() {
    let told = two_pods(
        "holds a GPU-1::0
         holds b GPU-1::1
         owns A 11
         at 0
         gpu 0 GPU-1
         busy 0 40
         memory 0 1000 8000
         process 0 0 1000
         at 1000
         gpu 0 GPU-1
         busy 0 40
         memory 0 1000 8000
         process 0 11 100
         process 0 99 800
         sample 0 11 1000000 10",
    );
    assert_snapshot!(told, @r"
    at 0
      GPU-1 busy 400 memory 1000 of 8000
      node gpu 400 of 1000
      node gpu-memory 1000 of 8000
      a: gpu - of 1000, memory - of 8000000
      b: gpu - of 1000, memory - of 8000000
    at 1000
      GPU-1 busy 400 memory 1000 of 8000
        11: -, memory 100
        99: -, memory 800
      node gpu 400 of 1000
      node gpu-memory 1000 of 8000
      a: gpu - of 1000, memory 100000 (at 1000) of 8000000
      b: gpu - of 1000, memory - of 8000000
    ");
}

#[test]
fn a_pod_that_computes_on_what_another_holds_is_charged_for_it() {
    let told = two_pods(
        "holds a nvidia0/vgpu1
         owns A 11
         owns B 21
         at 0
         gpu 0 GPU-1
         busy 0 90
         memory 0 1000 8000
         process 0 11 100
         process 0 21 200
         sample 0 11 1000000 10
         at 1000
         gpu 0 GPU-1
         busy 0 90
         memory 0 1000 8000
         process 0 11 100
         process 0 21 200
         sample 0 11 2000000 10
         sample 0 21 2000000 80",
    );
    assert_snapshot!(told, @r"
    at 0
      GPU-1 busy 900 memory 1000 of 8000
        11: -, memory 100
        21: -, memory 200
      node gpu 900 of 1000
      node gpu-memory 1000 of 8000
      a: gpu - of 1000, memory 100000 (at 0) of 8000000
      b: gpu - of 0, memory 200000 (at 0) of -
    at 1000
      GPU-1 busy 900 memory 1000 of 8000
        11: 100 (at 1000), memory 100
        21: 800 (at 1000), memory 200
      node gpu 900 of 1000
      node gpu-memory 1000 of 8000
      a: gpu 100 (at 1000) of 1000, memory 100000 (at 1000) of 8000000
      b: gpu 800 (at 1000) of 0, memory 200000 (at 1000) of -
    ");
}

#[test]
fn ids_that_no_device_has_make_a_pods_use_unknown() {
    let told = two_pods(
        "holds a GPU-1 GPU-gone
         holds b nvidia7
         at 1000
         gpu 0 GPU-1
         busy 0 90
         memory 0 1000 8000",
    );
    assert_snapshot!(told, @r"
    at 1000
      GPU-1 busy 900 memory 1000 of 8000
      node gpu 900 of 1000
      node gpu-memory 1000 of 8000
      a: gpu - of 2000, memory - of -
      b: gpu - of 1000, memory - of -
    ");
}

#[test]
fn absurd_answers_are_left_out_and_named() {
    let told = two_pods(
        "holds a GPU-1
         owns A 11
         at 0
         gpu 0 GPU-1
         busy 0 4000000000
         memory 0 9000 8000
         process 0 11 100
         sample 0 11 1000000 4000000000
         at 1000
         count no-driver
         at 2000
         count 1",
    );
    assert_snapshot!(told, @r"
    at 0
      GPU-1 busy - memory -
        11: -, memory 100
      fault: gpu 0 utilization: the driver says 4000000000 %
      fault: gpu 0 memory: the driver says that more is used than there is
      a: gpu - of 1000, memory - of -
    at 1000
      failure: NVIDIA's driver isn't loaded
      absent: gpus: NVIDIA's driver isn't loaded
      a: gpu - of 1000, memory - of -
    at 2000
      failure: NVIDIA's driver isn't loaded
      absent: gpus: NVIDIA's driver isn't loaded
      a: gpu - of 1000, memory - of -
    ");
}

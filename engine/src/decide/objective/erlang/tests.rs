//! The waiting formulas against tables, and across their seam.

use proptest::prelude::*;

use super::*;

const WEB: Aim = Aim {
    service_s: 0.04,
    wait_s: 0.25,
    miss: 0.03,
};
const NO_WAIT: Aim = Aim {
    service_s: 1.0,
    wait_s: 0.0,
    miss: 0.2,
};

fn close(value: f64, expected: f64, part: f64) {
    let off = (value / expected - 1.0).abs();
    assert!(off <= part, "{value} for {expected}");
}

/// C by the recursion at any number of servers.
fn exact(servers: u32, load: f64) -> f64 {
    let mut curve = Curve {
        n: 0,
        load,
        blocked: 1.0,
    };
    while curve.n < servers {
        curve.next();
    }
    delayed(f64::from(servers), load, curve.blocked)
}

#[test]
fn c_agrees_with_the_printed_tables() {
    // One server is M/M/1, where C is the load itself; the others are worked
    // by hand from C = (a^n/n!)(n/(n-a)) / (Σ a^k/k! + (a^n/n!)(n/(n-a))).
    close(exact(1, 0.5), 0.5, 1e-12);
    close(exact(2, 1.0), 1.0 / 3.0, 1e-12);
    close(exact(3, 2.0), 4.0 / 9.0, 1e-12);
    close(exact(5, 4.0), 0.554_113, 1e-5);
    close(exact(10, 8.0), 0.409_180, 1e-5);
    assert!(exact(4, 4.0) >= 1.0, "a full system makes all work wait");
}

#[test]
fn staffing_for_one_in_five_that_waits_agrees_with_the_table() {
    // The fewest servers with C(n, a) ≤ 0.2, found with `exact` alone.
    for (load, servers) in [(0.1, 1), (1.0, 3), (5.0, 8), (10.0, 14), (50.0, 58)] {
        assert!(exact(servers, load) <= 0.2 && exact(servers - 1, load) > 0.2);
        assert_eq!(slots(load, &NO_WAIT).ceil() as u32, servers, "load {load}");
    }
}

#[test]
fn square_root_staffing_would_be_far_off_for_one_server() {
    // Half a server's load: one in six waits under three times as long.
    close(halfin_whitt(2.0, 1.0) / exact(2, 1.0), 0.67, 0.05);
}

#[test]
fn the_limit_is_within_a_part_in_five_hundred_at_the_seam() {
    for n in [EXACT_SLOTS_MAX, 100, LIMIT_SLOTS_MIN] {
        for used in [0.5, 0.7, 0.8, 0.9, 0.95, 0.99] {
            let load = used * f64::from(n);
            close(corrected(f64::from(n), load), exact(n, load), 0.002);
        }
    }
}

#[test]
fn nothing_jumps_across_the_seam() {
    for aim in [WEB, NO_WAIT] {
        let mut load = 30.0;
        let mut before = slots(load, &aim);
        while load < 160.0 {
            load += 0.01;
            let after = slots(load, &aim);
            let step = after - before;
            // Twice the step of the load at most: it has slope 1 + β/(2√load).
            assert!((0.0..=0.02).contains(&step), "{step} at {load}");
            before = after;
        }
    }
}

#[test]
fn bursts_take_as_many_slots_as_a_smaller_system_of_even_work_in_the_same_proportion() {
    close(
        slots_peaked(40.0, 4.0, &WEB),
        4.0 * slots(10.0, &WEB),
        1e-12,
    );
    close(slots_peaked(40.0, 0.2, &WEB), slots(40.0, &WEB), 1e-12);
    // Batches of 7 at Poisson times (variance/mean 7, so peakedness 4) that keep
    // 16 slots busy, exponential service, simulated over 400,000 pieces of work:
    // 4.4 % wait for more than 2.5 services with 20 slots, 1.8 % with 21.
    let batches = Aim {
        service_s: 0.1,
        ..WEB
    };
    close(slots_peaked(16.0, 4.0, &batches), 20.4, 0.05);
}

fn aims() -> impl Strategy<Value = Aim> {
    (0.001_f64..100.0, 0.0_f64..100.0, 0.0001_f64..0.5).prop_map(|(service_s, wait_s, miss)| Aim {
        service_s,
        wait_s,
        miss,
    })
}

proptest! {
    #[test]
    fn more_load_never_needs_fewer_slots(load in 0.0_f64..400.0, more in 0.0_f64..10.0, aim in aims()) {
        prop_assert!(slots(load + more, &aim) >= slots(load, &aim) - 1e-9);
    }

    #[test]
    fn more_patience_never_needs_more_slots(load in 0.0_f64..400.0, aim in aims(), more in 1.0_f64..10.0) {
        let patient = Aim { wait_s: aim.wait_s * more, ..aim };
        let lenient = Aim { miss: (aim.miss * more).min(1.0), ..aim };
        prop_assert!(slots(load, &patient) <= slots(load, &aim) + 1e-9);
        prop_assert!(slots(load, &lenient) <= slots(load, &aim) + 1e-9);
    }

    #[test]
    fn the_answer_is_enough_and_one_less_is_not(load in 0.01_f64..300.0, aim in aims()) {
        let needed = slots(load, &aim).ceil() as u32;
        let late = |n: u32| Curve::at(n, load).late(&aim).exp();
        prop_assert!(late(needed) <= aim.miss * 1.000_001);
        prop_assert!(needed == 0 || f64::from(needed - 1) <= load || late(needed - 1) > aim.miss);
    }

    #[test]
    fn any_number_gives_an_answer(load in any::<f64>(), peakedness in any::<f64>(), service_s in any::<f64>(), wait_s in any::<f64>(), miss in any::<f64>()) {
        let aim = Aim { service_s, wait_s, miss };
        for answer in [slots(load, &aim), slots_peaked(load, peakedness, &aim)] {
            prop_assert!((0.0..=f64::from(SLOTS_MAX)).contains(&answer));
        }
    }
}

//! What is measured where the policy doesn't state it, and what is done until it
//! is.

use super::*;

#[test]
fn calibration_mends_replicas_that_are_a_fifth_slower_than_stated() {
    let one_slot = Settings {
        slots: Some(1),
        ..web()
    };
    let mut stated = Play::new(one_slot, 40);
    stated.run(900, 435.0, 17.4);
    let mut slower = Play::new(one_slot, 40);
    slower.run(900, 435.0, 17.4 * 1.2);
    let service_s = learn::service_s(&slower.settings, &slower.state).unwrap();
    assert!((service_s - 0.048).abs() < 0.0005, "{service_s}");
    assert_eq!((stated.size, slower.size), (21, 25));
}

#[test]
fn without_a_stated_service_time_it_is_measured_first() {
    let settings = Settings {
        service_ms: None,
        ..web()
    };
    let mut play = Play::new(settings, 10);
    play.run(30, 435.0, 17.4);
    assert_eq!(play.last.replicas, None);
    assert_eq!(play.last.reasons, vec![Reason::ServiceUnknown]);
    play.run(600, 435.0, 17.4);
    assert_eq!(play.last.replicas, Some(6));
}

#[test]
fn without_stated_slots_they_are_measured_first() {
    let settings = Settings {
        slots: None,
        ..web()
    };
    let mut play = Play::new(settings, 10);
    // Ten replicas of four slots, 17.4 of which are busy, use 43.5 % of the CPU
    // that they request.
    let second = Second {
        arrivals_milli: Some(435_000),
        busy_milli: Some(17_400),
        in_system_milli: Some(17_400),
        used_ppm: Some(435_000),
        ready: 10,
    };
    for _ in 0..59 {
        play.second(second);
        assert_eq!(play.last.replicas, None);
        assert_eq!(play.last.reasons, vec![Reason::SlotsUnknown]);
    }
    play.second(second);
    assert_eq!(slots::of_one(&settings, &play.state), Some(4));
    assert_eq!(play.last.replicas, Some(10), "held for six starts of 10 s");
    // The stated service time and the arrivals tell as much as a count.
    let mut uncounted = Play::new(settings, 10);
    for _ in 0..60 {
        uncounted.second(Second {
            busy_milli: None,
            in_system_milli: None,
            ..second
        });
    }
    assert_eq!(slots::of_one(&settings, &uncounted.state), Some(4));
}

#[test]
fn replicas_that_hardly_compute_do_not_tell_their_slots() {
    let settings = Settings {
        slots: None,
        ..web()
    };
    let mut play = Play::new(settings, 10);
    for _ in 0..300 {
        play.second(Second {
            arrivals_milli: Some(435_000),
            busy_milli: Some(17_400),
            in_system_milli: Some(17_400),
            used_ppm: Some(100_000),
            ready: 10,
        });
    }
    assert_eq!(play.last.reasons, vec![Reason::SlotsUnknown]);
}

#[test]
fn measured_slots_follow_replicas_that_do_more() {
    let settings = Settings {
        slots: None,
        ..web()
    };
    let mut play = Play::new(settings, 10);
    let mut second = Second {
        arrivals_milli: Some(435_000),
        busy_milli: Some(17_400),
        in_system_milli: Some(17_400),
        used_ppm: Some(435_000),
        ready: 10,
    };
    for _ in 0..600 {
        play.second(second);
    }
    second.used_ppm = Some(217_500);
    for _ in 0..1_200 {
        play.second(second);
    }
    assert_eq!(slots::of_one(&settings, &play.state), Some(8));
}

#[test]
fn without_arrivals_target_has_to_decide() {
    let mut play = Play::new(web(), 10);
    play.run(60, 435.0, 17.4);
    play.second(Second {
        busy_milli: Some(17_400),
        ready: 10,
        ..Second::default()
    });
    assert_eq!(play.last.replicas, None);
    assert_eq!(play.last.reasons, vec![Reason::ArrivalsUnknown]);
}

#[test]
fn without_a_count_of_waiting_work_the_rate_alone_decides() {
    let mut play = Play::new(web(), 10);
    for _ in 0..300 {
        play.second(Second {
            arrivals_milli: Some(435_000),
            busy_milli: Some(17_400),
            in_system_milli: None,
            used_ppm: None,
            ready: 10,
        });
    }
    assert_eq!(play.size, 6);
    assert!(play.says(|reason| *reason == Reason::QueueUnknown));
}

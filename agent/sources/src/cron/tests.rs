//! Windows of calendars, over the days on which clocks are set.

use super::*;

fn metadata(zone: &str, start: &str, end: &str) -> BTreeMap<String, String> {
    let pairs = [
        ("timezone", zone),
        ("start", start),
        ("end", end),
        ("desiredReplicas", "10"),
    ];
    let pairs = pairs.iter();
    pairs
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

/// The replicas wanted at a time.
#[track_caller]
fn at(zone: &str, start: &str, end: &str, time: &str) -> i64 {
    let now: Timestamp = time.parse().unwrap();
    value(&metadata(zone, start, end), now.as_millisecond()).unwrap() / 1_000
}

#[test]
fn replicas_are_wanted_from_the_start_up_to_the_end_in_the_zone_s_own_time() {
    for (time, replicas) in [
        ("2026-01-05T00:29:59Z", 0),
        ("2026-01-05T00:30:00Z", 10),
        ("2026-01-05T14:29:59Z", 10),
        ("2026-01-05T14:30:00Z", 0),
    ] {
        let seen = at("Asia/Kolkata", "0 6 * * *", "0 20 * * *", time);
        assert_eq!(seen, replicas, "{time}");
    }
}

#[test]
fn a_window_may_last_over_midnight_and_over_a_weekend() {
    for (time, replicas) in [
        ("2026-01-05T21:59:00Z", 0),
        ("2026-01-05T22:00:00Z", 10),
        ("2026-01-06T05:59:00Z", 10),
        ("2026-01-06T06:00:00Z", 0),
    ] {
        let seen = at("Etc/UTC", "0 22 * * *", "0 6 * * *", time);
        assert_eq!(seen, replicas, "{time}");
    }
    // 2026-01-09 is a Friday.
    for (time, replicas) in [
        ("2026-01-09T17:59:00Z", 0),
        ("2026-01-09T18:00:00Z", 10),
        ("2026-01-11T12:00:00Z", 10),
        ("2026-01-12T06:00:00Z", 0),
    ] {
        let seen = at("Etc/UTC", "0 18 * * FRI", "0 6 * * mon", time);
        assert_eq!(seen, replicas, "{time}");
    }
}

#[test]
fn where_an_end_and_a_start_come_at_once_the_window_is_open_until_then() {
    // The end is a Monday's, the start every day's: 2026-01-12 is a Monday.
    for (time, replicas) in [
        ("2026-01-11T12:00:00Z", 10),
        ("2026-01-12T07:59:00Z", 10),
        ("2026-01-12T12:00:00Z", 0),
    ] {
        let seen = at("Etc/UTC", "0 8 * * *", "0 8 * * 1", time);
        assert_eq!(seen, replicas, "{time}");
    }
}

#[test]
fn the_hours_are_the_clock_s_on_both_sides_of_the_day_on_which_it_is_set() {
    // In Berlin 02:00 becomes 03:00 on 2026-03-29, and 03:00 becomes 02:00 on 2026-10-25.
    for (time, replicas) in [
        ("2026-03-28T06:59:00Z", 0),
        ("2026-03-28T07:00:00Z", 10),
        ("2026-03-29T05:59:00Z", 0),
        ("2026-03-29T06:00:00Z", 10),
        ("2026-10-24T06:00:00Z", 10),
        ("2026-10-25T06:59:00Z", 0),
        ("2026-10-25T07:00:00Z", 10),
    ] {
        let seen = at("Europe/Berlin", "0 8 * * *", "0 20 * * *", time);
        assert_eq!(seen, replicas, "{time}");
    }
}

#[test]
fn a_time_that_the_clock_skips_is_not_there_and_one_that_it_shows_twice_comes_twice() {
    let next = |schedule: &str, time: &str| {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let now: Timestamp = time.parse().unwrap();
        let next = Schedule::parse(schedule).unwrap().next(now, &zone);
        next.unwrap().to_string()
    };
    assert_eq!(
        next("30 2 * * *", "2026-03-28T12:00:00Z"),
        "2026-03-30T00:30:00Z"
    );
    assert_eq!(
        next("30 2 * * *", "2026-10-24T12:00:00Z"),
        "2026-10-25T00:30:00Z"
    );
    assert_eq!(
        next("30 2 * * *", "2026-10-25T00:30:00Z"),
        "2026-10-25T01:30:00Z"
    );
    assert_eq!(
        next("30 2 * * *", "2026-10-25T01:30:00Z"),
        "2026-10-26T01:30:00Z"
    );
    // Set back during the second of two hours, the earlier moment comes first.
    assert_eq!(
        next("0,30 2-3 * * *", "2026-10-25T00:45:00Z"),
        "2026-10-25T01:00:00Z"
    );
}

#[test]
fn expressions_take_lists_ranges_steps_names_and_either_of_two_days() {
    let next = |schedule: &str, time: &str| {
        let now: Timestamp = time.parse().unwrap();
        let next = Schedule::parse(schedule).unwrap().next(now, &TimeZone::UTC);
        next.map_or("never".to_owned(), |next| next.to_string())
    };
    let from = "2026-01-05T10:07:30Z";
    for (schedule, expected) in [
        ("* * * * *", "2026-01-05T10:08:00Z"),
        ("*/15 * * * *", "2026-01-05T10:15:00Z"),
        ("5/20 * * * *", "2026-01-05T10:25:00Z"),
        ("0 9-17/4 * * ?", "2026-01-05T13:00:00Z"),
        ("0 0 1 jan,MAR *", "2026-03-01T00:00:00Z"),
        ("0 0 * * 7", "2026-01-11T00:00:00Z"),
        ("0 0 13 * FRI", "2026-01-09T00:00:00Z"),
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("@daily", "2026-01-06T00:00:00Z"),
        ("0 0 31 2 *", "never"),
    ] {
        assert_eq!(next(schedule, from), expected, "{schedule}");
    }
    for wrong in [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "5-2 * * * *",
        "a * * * *",
        "1,,2 * * * *",
        "@never",
    ] {
        assert!(Schedule::parse(wrong).is_err(), "{wrong}");
    }
    assert!(Schedule::parse(&"1,".repeat(10_000)).is_err());
}

#[test]
fn settings_that_make_no_window_are_refused_by_name() {
    let refused = |key: &str, value: &str| {
        let mut metadata = metadata("Etc/UTC", "0 8 * * *", "0 20 * * *");
        metadata.insert(key.to_owned(), value.to_owned());
        let wrong = check(&metadata);
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!(wrong[0].0, key, "{wrong:?}");
    };
    refused("timezone", "Berlin");
    refused("start", "8 o'clock");
    refused("end", "0 8 * * *");
    refused("desiredReplicas", "0");
    refused("desiredReplicas", "many");
    refused("offset", "1");
    let missing = check(&BTreeMap::new());
    assert_eq!(missing.len(), 4, "{missing:?}");
    assert_eq!(check(&metadata("Etc/UTC", "0 8 * * *", "0 20 * * *")), []);
}

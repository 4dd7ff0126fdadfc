//! A workload's memory, and what changes it, to and from their messages.
//!
//! Comes in and goes out: histories and their changes, what strategy `objective`
//! has learned included. Decides nothing.

use std::collections::BTreeMap;

use starling_engine::decide::objective::state;
use starling_engine::history::{self, Health, History};

use super::stored::{LIST_MAX, Stored, at_most, needed, stored};
use super::{Error, wire};

stored! { struct History = wire::History {
    seeded, recommendations, ups, downs, health, changed_at, scaled_to_zero, objective,
} needed { activity } }
stored! { struct history::Recommendation = wire::Recommendation { replicas, from, until } needed {} }
stored! { struct history::Event = wire::Event { change, at, outdated } needed {} }
stored! { struct history::Health = wire::Health { failures, successes, at } needed {} }
stored! { struct history::Activity = wire::Activity { active, last_active } needed {} }
stored! {
    oneof history::Change = wire::Change, wire::change::Kind;
    unit {}
    plain { Activity, Objective }
    wrapped {}
    fields {
        Recommended = wire::change::Recommended { replicas, until } needed {},
        Unrecommended = wire::change::Unrecommended { until } needed {},
        Resized = wire::change::Resized { from, to } needed {},
        Answered = wire::change::Answered { trigger } needed { health },
    }
}
stored! { struct state::State = wire::ObjectiveState { service, slots, starts_ms, headroom, held } needed { idle, forecast } }
stored! { struct state::Service = wire::Service { work_milli, slot_ms, at } needed {} }
stored! { struct state::Slots = wire::Slots { work_milli, replicas_milli, at } needed {} }
stored! { struct state::Headroom = wire::Headroom { milli, at } needed {} }
stored! { struct state::Held = wire::HeldSize { from, replicas } needed {} }
stored! { struct state::Idle = wire::Idle { since, gaps_s, wakes } needed {} }
stored! { struct state::Wake = wire::Wake { at, replicas } needed {} }
stored! { struct state::Forecast = wire::Forecast { error, naive_error, scored, told_at, pending } needed {} }
stored! { struct state::Foretold = wire::Foretold { due, milli, naive_milli } needed {} }
stored! {
    oneof state::Change = wire::Learned, wire::learned::Kind;
    unit {}
    plain { Service, Slots, Headroom, Held, Paused, WakeGrew, Forecast }
    wrapped { Started = wire::learned::Started.starts_ms }
    fields {
        Resumed = wire::learned::Resumed { gap_s, wake } needed {},
    }
}

impl Stored for BTreeMap<String, Health> {
    type Wire = Vec<wire::TriggerHealth>;

    fn out(&self) -> Result<Self::Wire, Error> {
        at_most("triggers", self.len(), LIST_MAX)?;
        let out = |(trigger, health): (&String, &Health)| {
            Ok(wire::TriggerHealth {
                trigger: trigger.out()?,
                health: Some(health.out()?),
            })
        };
        self.iter().map(out).collect()
    }

    fn back(wire: Self::Wire) -> Result<Self, Error> {
        at_most("triggers", wire.len(), LIST_MAX)?;
        let mut all = BTreeMap::new();
        for wire::TriggerHealth { trigger, health } in wire {
            if all
                .insert(String::back(trigger)?, needed("health", health)?)
                .is_some()
            {
                return Err(Error::Twice("trigger"));
            }
        }
        Ok(all)
    }
}

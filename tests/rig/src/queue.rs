//! The demo's job queue: workers lease jobs, and a job leaves only when one of
//! them says that it is done.
//!
//! Comes in: offered jobs and the workers' calls, with the time. Goes out: leases
//! and [`Stats`]. A lease that isn't renewed in time puts its job back at the
//! head, and so does a worker that gives it back. It reads no clock and knows
//! nothing of policies or agents; [`http`] serves it.

pub mod http;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// A worker that neither renews nor finishes for this long is taken for dead.
pub const LEASE: Duration = Duration::from_secs(2);
/// Jobs in one run, done ones included: what is kept for each is one bit and,
/// until it is done, one queue entry. Further jobs are refused, not counted as offered.
pub const JOBS_MAX: usize = 1_000_000;

/// The queue's state. A job's number counts from 0 in the order offered.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<u64>,
    leased: BTreeMap<u64, Lease>,
    /// By job number, whether it is done: the books that the counters are held against.
    done: Vec<bool>,
    leases_given: u64,
    duplicates: u64,
    expired: u64,
    given_back: u64,
}

#[derive(Debug)]
struct Lease {
    token: u64,
    until: Instant,
}

/// A job in a worker's hands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub job: u64,
    /// Proves that the job is still this worker's.
    pub lease: u64,
}

/// What became of a worker's report that a job is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finish {
    /// It counts.
    Counted,
    /// Somebody had finished it before; it doesn't count again.
    Duplicate,
    /// No such job was ever offered.
    Unknown,
}

/// The queue's own count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Jobs that no worker holds.
    pub waiting: u64,
    pub leased: u64,
    pub offered: u64,
    pub done: u64,
    /// Reports on jobs that were done already.
    pub duplicates: u64,
    /// Leases that ran out.
    pub expired: u64,
    pub given_back: u64,
    /// Jobs that are neither done nor waiting nor leased. Always 0 unless the
    /// queue itself is wrong.
    pub lost: u64,
}

impl Queue {
    /// Takes up to `jobs` new jobs, and says how many.
    pub fn offer(&mut self, jobs: usize) -> usize {
        let taken = jobs.min(JOBS_MAX - self.done.len());
        for _ in 0..taken {
            self.waiting.push_back(self.done.len() as u64);
            self.done.push(false);
        }
        taken
    }

    /// The job at the head, for [`LEASE`].
    pub fn lease(&mut self, now: Instant) -> Option<Job> {
        self.expire(now);
        let job = self.waiting.pop_front()?;
        self.leases_given += 1;
        let token = self.leases_given;
        let until = now + LEASE;
        self.leased.insert(job, Lease { token, until });
        Some(Job { job, lease: token })
    }

    /// Extends a lease to [`LEASE`] from now; false if it isn't this worker's any more.
    pub fn renew(&mut self, job: Job, now: Instant) -> bool {
        self.expire(now);
        match self.leased.get_mut(&job.job) {
            Some(lease) if lease.token == job.lease => {
                lease.until = now + LEASE;
                true
            }
            _ => false,
        }
    }

    /// A worker says that the job is done. It counts once, whoever holds the
    /// lease by now: the work was done.
    pub fn finish(&mut self, job: Job) -> Finish {
        match self.done.get_mut(job.job as usize) {
            None => Finish::Unknown,
            Some(true) => {
                self.duplicates += 1;
                Finish::Duplicate
            }
            Some(done) => {
                *done = true;
                if self.leased.remove(&job.job).is_none() {
                    self.waiting.retain(|waiting| *waiting != job.job);
                }
                Finish::Counted
            }
        }
    }

    /// Back to the head; false if the lease isn't this worker's any more.
    pub fn give_back(&mut self, job: Job) -> bool {
        let mine = (self.leased.get(&job.job)).is_some_and(|lease| lease.token == job.lease);
        if mine {
            self.leased.remove(&job.job);
            self.waiting.push_front(job.job);
            self.given_back += 1;
        }
        mine
    }

    pub fn stats(&mut self, now: Instant) -> Stats {
        self.expire(now);
        let offered = self.done.len() as u64;
        let done = self.done.iter().filter(|done| **done).count() as u64;
        let (waiting, leased) = (self.waiting.len() as u64, self.leased.len() as u64);
        Stats {
            waiting,
            leased,
            offered,
            done,
            duplicates: self.duplicates,
            expired: self.expired,
            given_back: self.given_back,
            lost: offered.saturating_sub(done + waiting + leased),
        }
    }

    /// Jobs whose worker fell silent go back to the head, the oldest first in line.
    fn expire(&mut self, now: Instant) {
        let late = |(job, lease): (&u64, &Lease)| (lease.until <= now).then_some(*job);
        let late: Vec<u64> = self.leased.iter().filter_map(late).collect();
        for job in late.into_iter().rev() {
            self.leased.remove(&job);
            self.waiting.push_front(job);
            self.expired += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(jobs: usize) -> (Queue, Instant) {
        let mut queue = Queue::default();
        assert_eq!(queue.offer(jobs), jobs);
        (queue, Instant::now())
    }

    #[test]
    fn a_job_whose_worker_fell_silent_goes_back_to_the_head() {
        let (mut queue, start) = with(3);
        let first = queue.lease(start).unwrap();
        let second = queue.lease(start).unwrap();
        assert_eq!((first.job, second.job), (0, 1));
        assert_eq!(queue.stats(start + LEASE.mul_f64(0.99)).expired, 0);

        let stats = queue.stats(start + LEASE);
        assert_eq!((stats.expired, stats.waiting, stats.leased), (2, 3, 0));
        let again: Vec<u64> = std::iter::from_fn(|| queue.lease(start + LEASE))
            .map(|job| job.job)
            .collect();
        assert_eq!(again, [0, 1, 2]);
    }

    #[test]
    fn a_renewed_lease_lives_on_and_a_lost_one_cannot_be_renewed() {
        let (mut queue, start) = with(1);
        let job = queue.lease(start).unwrap();
        assert!(queue.renew(job, start + LEASE / 2));
        assert_eq!(queue.stats(start + LEASE).leased, 1);
        let late = start + LEASE * 2;
        assert!(!queue.renew(job, late));
        let other = queue.lease(late).unwrap();
        assert!(
            !queue.renew(job, late) && !queue.give_back(job),
            "another worker holds it"
        );
        assert!(queue.renew(other, late));
    }

    #[test]
    fn a_job_finished_twice_counts_once() {
        let (mut queue, start) = with(1);
        let slow = queue.lease(start).unwrap();
        let quick = queue.lease(start + LEASE).unwrap();
        assert_eq!(queue.finish(quick), Finish::Counted);
        assert_eq!(queue.finish(slow), Finish::Duplicate);
        let stats = queue.stats(start + LEASE);
        assert_eq!((stats.done, stats.duplicates, stats.lost), (1, 1, 0));
    }

    #[test]
    fn work_done_under_a_lease_that_ran_out_counts_and_is_not_handed_out_again() {
        let (mut queue, start) = with(2);
        let slow = queue.lease(start).unwrap();
        assert_eq!(queue.stats(start + LEASE).waiting, 2);
        assert_eq!(queue.finish(slow), Finish::Counted);
        assert_eq!(queue.lease(start + LEASE).map(|job| job.job), Some(1));
        assert_eq!(queue.lease(start + LEASE), None);
    }

    #[test]
    fn a_job_given_back_is_the_next_to_be_taken() {
        let (mut queue, start) = with(2);
        let job = queue.lease(start).unwrap();
        assert!(queue.give_back(job));
        assert!(!queue.give_back(job), "only once");
        assert_eq!(queue.lease(start).map(|job| job.job), Some(0));
        assert_eq!(queue.stats(start).given_back, 1);
    }

    #[test]
    fn a_report_on_a_job_that_never_was_counts_nothing() {
        let (mut queue, start) = with(1);
        assert_eq!(queue.finish(Job { job: 1, lease: 1 }), Finish::Unknown);
        assert_eq!(queue.stats(start).done, 0);
    }

    #[test]
    fn jobs_beyond_the_bound_are_refused_and_not_counted_as_offered() {
        let (mut queue, start) = with(JOBS_MAX - 1);
        assert_eq!(queue.offer(5), 1);
        assert_eq!(queue.stats(start).offered, JOBS_MAX as u64);
    }
}

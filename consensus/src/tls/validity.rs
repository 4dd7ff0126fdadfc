//! How long certificates are good.
//!
//! Comes in: a certificate, and the machine's time. Goes out: whether it has ended, or is
//! due to be renewed. Calendars are the machine's own: a certificate states its end by one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::time::ASN1Time;

/// A certificate is due to be renewed so long before its end,
const DUE_BEFORE_S: u64 = 30 * 86_400;
/// or when only one in so many parts of its life is left, where that is later: one of a day
/// that renews itself at two thirds is due when six hours are left and it hasn't.
const DUE_SHARE: u64 = 4;

/// From when until when a certificate is good, in seconds since the epoch.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Validity {
    pub from_s: u64,
    pub until_s: u64,
}

impl Validity {
    pub fn of(certificate: &X509Certificate<'_>) -> Validity {
        let validity = certificate.validity();
        let s = |time: ASN1Time| u64::try_from(time.timestamp()).unwrap_or(0);
        Validity {
            from_s: s(validity.not_before),
            until_s: s(validity.not_after),
        }
    }

    /// `None` where it can't be read, which a handshake wouldn't have let pass.
    pub(crate) fn of_der(certificate: &CertificateDer<'_>) -> Option<Validity> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        Some(Validity::of(&certificate))
    }

    /// How long it is still good; zero once it has ended.
    pub fn left(self, now_s: u64) -> Duration {
        Duration::from_secs(self.until_s.saturating_sub(now_s))
    }

    /// Whether somebody should have renewed it, or should do so now.
    pub fn is_due(self, now_s: u64) -> bool {
        let life_s = self.until_s.saturating_sub(self.from_s);
        self.left(now_s).as_secs() <= DUE_BEFORE_S.min(life_s / DUE_SHARE)
    }
}

/// What an agent shows, and what it believes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Validities {
    pub certificate: Validity,
    /// Of several authorities the one that ends first.
    pub authority: Validity,
}

/// The machine's time, in seconds since the epoch.
pub fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_due_a_month_before_its_end_or_in_the_last_quarter_of_a_short_life() {
        const DAY_S: u64 = 86_400;
        let due = |life_s: u64, left_s: u64| {
            let validity = Validity {
                from_s: 1_000,
                until_s: 1_000 + life_s,
            };
            validity.is_due(1_000 + life_s - left_s)
        };
        assert!(!due(730 * DAY_S, 30 * DAY_S + 1));
        assert!(due(730 * DAY_S, 30 * DAY_S) && due(730 * DAY_S, 0));
        // One of a day renews itself when eight hours are left.
        assert!(!due(DAY_S, DAY_S / 3) && due(DAY_S, DAY_S / 4));
        let over = Validity {
            from_s: 0,
            until_s: 10,
        };
        assert!(over.is_due(11) && over.left(11).is_zero());
    }
}

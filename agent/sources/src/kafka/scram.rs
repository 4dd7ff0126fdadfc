//! How a password is proved without sending it: SCRAM (RFC 5802), by SHA-256 or SHA-512.
//!
//! Comes in: a user, a password, and what the server says. Goes out: what to say to it. The
//! server has to prove that it knows the password too. Names and passwords go as they are
//! written, as Kafka stores them.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::{digest, hmac, pbkdf2};

/// Rounds that a server may want: what Kafka itself allows. With fewer a password would be
/// guessed from what is sent; more would only take time.
const ROUNDS_MIN: u32 = 4_096;
const ROUNDS_MAX: u32 = 16_384;
const NONCE_BYTES: usize = 18;
/// That no channel is bound to it, in base64.
const UNBOUND: &str = "biws";

/// By which digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum By {
    Sha256,
    Sha512,
}

impl By {
    fn rounds(self) -> pbkdf2::Algorithm {
        match self {
            By::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            By::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            By::Sha256 => hmac::HMAC_SHA256,
            By::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

/// What was said first.
pub(super) struct Begun {
    by: By,
    nonce: String,
    bare: String,
}

/// What the server has to answer in the end.
#[derive(Debug)]
pub(super) struct Awaited {
    key: hmac::Key,
    all: String,
}

/// `None` where this machine has no randomness.
pub(super) fn begin(by: By, user: &str) -> Option<Begun> {
    let mut nonce = [0; NONCE_BYTES];
    SystemRandom::new().fill(&mut nonce).ok()?;
    Some(begin_with(by, user, &STANDARD.encode(nonce)))
}

fn begin_with(by: By, user: &str, nonce: &str) -> Begun {
    let user = user.replace('=', "=3D").replace(',', "=2C");
    Begun {
        by,
        nonce: nonce.to_owned(),
        bare: format!("n={user},r={nonce}"),
    }
}

impl Begun {
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.bare)
    }

    /// What proves the password, and what the server has to prove then. Computes for a long
    /// time: up to [`ROUNDS_MAX`] rounds.
    pub(super) fn prove(&self, said: &[u8], password: &str) -> Result<(String, Awaited), String> {
        let strange = || "what the broker says is not SCRAM".to_owned();
        let said = std::str::from_utf8(said).map_err(|_| strange())?;
        let mut parts = said.split(',');
        let mut part = |name: &str| parts.next().and_then(|part| part.strip_prefix(name));
        let (nonce, salt, rounds) = (part("r="), part("s="), part("i="));
        let nonce = nonce.filter(|it| it.len() > self.nonce.len() && it.starts_with(&self.nonce));
        let nonce = nonce.ok_or_else(strange)?;
        let salt = salt.and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.filter(|salt| !salt.is_empty()).ok_or_else(strange)?;
        let rounds: u32 = rounds.and_then(|it| it.parse().ok()).ok_or_else(strange)?;
        if !(ROUNDS_MIN..=ROUNDS_MAX).contains(&rounds) {
            return Err(format!(
                "the broker wants {rounds} rounds of SCRAM; allowed: {ROUNDS_MIN} to {ROUNDS_MAX}"
            ));
        }
        let rounds = NonZeroU32::new(rounds).ok_or_else(strange)?;

        let algorithm = self.by.hmac();
        let mut salted = vec![0; algorithm.digest_algorithm().output_len()];
        pbkdf2::derive(
            self.by.rounds(),
            rounds,
            &salt,
            password.as_bytes(),
            &mut salted,
        );
        let salted = hmac::Key::new(algorithm, &salted);
        let client = hmac::sign(&salted, b"Client Key");
        let stored = digest::digest(algorithm.digest_algorithm(), client.as_ref());
        let last = format!("c={UNBOUND},r={nonce}");
        let all = format!("{},{said},{last}", self.bare);
        let signature = hmac::sign(&hmac::Key::new(algorithm, stored.as_ref()), all.as_bytes());
        let proof = client.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = proof.map(|(one, other)| one ^ other).collect();
        let server = hmac::sign(&salted, b"Server Key");
        let awaited = Awaited {
            key: hmac::Key::new(algorithm, server.as_ref()),
            all,
        };
        Ok((format!("{last},p={}", STANDARD.encode(proof)), awaited))
    }
}

impl Awaited {
    /// Whether the server knows the password.
    pub(super) fn is(&self, said: &[u8]) -> bool {
        let said = std::str::from_utf8(said).unwrap_or_default();
        let signature = said.split(',').next().and_then(|it| it.strip_prefix("v="));
        let signature = signature.and_then(|it| STANDARD.decode(it).ok());
        signature.is_some_and(|it| hmac::verify(&self.key, self.all.as_bytes(), &it).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677's own example.
    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const SAID: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn what_is_said_is_what_the_standard_s_example_says() {
        let begun = begin_with(By::Sha256, "user", NONCE);
        assert_eq!(begun.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (last, awaited) = begun.prove(SAID.as_bytes(), "pencil").unwrap();
        assert_eq!(
            last,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert!(awaited.is(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        for other in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", "v=", ""] {
            assert!(!awaited.is(other.as_bytes()), "{other}");
        }
        let user = begin_with(By::Sha512, "a=b,c", NONCE);
        assert_eq!(user.first(), "n,,n=a=3Db=2Cc,r=rOprNGfwEbeRWgbNEkqO");
    }

    #[test]
    fn a_server_that_says_something_else_is_told_nothing() {
        let begun = begin_with(By::Sha512, "user", NONCE);
        for (said, why) in [
            ("", "is not SCRAM"),
            ("e=other-error", "is not SCRAM"),
            ("r=rOprNGfwEbeRWgbNEkqO,s=W22Z,i=4096", "is not SCRAM"),
            ("r=other,s=W22Z,i=4096", "is not SCRAM"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096", "is not SCRAM"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=-1", "is not SCRAM"),
            ("r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4095", "wants 4095 rounds"),
            (
                "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=16385",
                "wants 16385 rounds of SCRAM; allowed: 4096 to 16384",
            ),
            (
                "r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=4294967295",
                "wants 4294967295 rounds",
            ),
        ] {
            let told = begun.prove(said.as_bytes(), "pencil").unwrap_err();
            assert!(told.contains(why), "{said}: {told}");
        }
        let most = begun.prove(b"r=rOprNGfwEbeRWgbNEkqOx,s=W22Z,i=16384", "pencil");
        assert!(most.is_ok(), "{most:?}");
    }
}

//! How MySQL's users prove that they know their password.
//!
//! Comes in: the password, and what the server made up for this one login. Goes out: bytes
//! that only who knows both can make.

use num_bigint::BigUint;
use ring::digest::{Algorithm, Context, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use rustls::pki_types::SubjectPublicKeyInfoDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::prelude::FromDer as _;
use x509_parser::public_key::PublicKey;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Of what a server makes up for a login.
pub(super) const SCRAMBLE_BYTES: usize = 20;
/// Of SHA-1, which the padding is made with.
pub(super) const SEED_BYTES: usize = 20;
/// MySQL makes keys of 2048. A longer one would only be there to keep this busy.
const KEY_BITS: std::ops::RangeInclusive<u64> = 1024..=8192;
const EXPONENT_BITS_MAX: u64 = 33;

pub(super) type Scramble = [u8; SCRAMBLE_BYTES];

fn hash(algorithm: &'static Algorithm, parts: &[&[u8]]) -> Digest {
    let mut context = Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish()
}

fn mixed(one: &[u8], other: &[u8]) -> Vec<u8> {
    one.iter()
        .zip(other)
        .map(|(one, other)| one ^ other)
        .collect()
}

/// For `mysql_native_password`: SHA1(password) xor SHA1(scramble, SHA1(SHA1(password))).
pub(super) fn native(password: &str, scramble: &Scramble) -> Vec<u8> {
    let hash = |parts: &[&[u8]]| hash(&SHA1_FOR_LEGACY_USE_ONLY, parts);
    let once = hash(&[password.as_bytes()]);
    let twice = hash(&[once.as_ref()]);
    mixed(once.as_ref(), hash(&[scramble, twice.as_ref()]).as_ref())
}

/// For `caching_sha2_password`: the same with SHA-256, and the scramble behind.
pub(super) fn caching_sha2(password: &str, scramble: &Scramble) -> Vec<u8> {
    let hash = |parts: &[&[u8]]| hash(&SHA256, parts);
    let once = hash(&[password.as_bytes()]);
    let twice = hash(&[once.as_ref()]);
    mixed(once.as_ref(), hash(&[twice.as_ref(), scramble]).as_ref())
}

/// The password itself, which the server's key alone reads: RSA with OAEP of SHA-1. `seed` is
/// random.
pub(super) fn sealed(
    password: &str,
    scramble: &Scramble,
    key: &[u8],
    seed: &[u8; SEED_BYTES],
) -> Result<Vec<u8>, &'static str> {
    let no_key = "the server's key is no RSA key that can be used";
    let (modulus, exponent) = public_key(key).ok_or(no_key)?;
    let length = modulus.bits().div_ceil(8) as usize;
    let mut told = password.as_bytes().to_vec();
    told.push(0);
    for (byte, of) in told.iter_mut().zip(scramble.iter().cycle()) {
        *byte ^= of;
    }
    // A zero, the seed, and a block: a hash of nothing, zeros, a one, and what is told.
    let mut block = hash(&SHA1_FOR_LEGACY_USE_ONLY, &[]).as_ref().to_vec();
    let zeros = (length - 1 - SEED_BYTES).checked_sub(block.len() + 1 + told.len());
    let zeros = zeros.ok_or("the password is too long for the server's key")?;
    block.resize(block.len() + zeros, 0);
    block.push(1);
    block.append(&mut told);
    let block = mixed(&block, &mask(seed, block.len()));
    let seed = mixed(seed, &mask(&block, SEED_BYTES));
    let whole = BigUint::from_bytes_be(&[seed, block].concat());
    let sealed = whole.modpow(&exponent, &modulus).to_bytes_be();
    Ok([vec![0; length - sealed.len()], sealed].concat())
}

/// RFC 8017's MGF1.
fn mask(seed: &[u8], length: usize) -> Vec<u8> {
    let blocks =
        (0_u32..).map(|count| hash(&SHA1_FOR_LEGACY_USE_ONLY, &[seed, &count.to_be_bytes()]));
    let bytes = blocks.flat_map(|block| block.as_ref().to_vec());
    bytes.take(length).collect()
}

fn public_key(pem: &[u8]) -> Option<(BigUint, BigUint)> {
    let der = SubjectPublicKeyInfoDer::from_pem_slice(pem).ok()?;
    let (_, info) = SubjectPublicKeyInfo::from_der(&der).ok()?;
    let PublicKey::RSA(key) = info.parsed().ok()? else {
        return None;
    };
    let modulus = BigUint::from_bytes_be(key.modulus);
    let exponent = BigUint::from_bytes_be(key.exponent);
    let sound = KEY_BITS.contains(&modulus.bits()) && exponent.bits() <= EXPONENT_BITS_MAX;
    sound.then_some((modulus, exponent))
}

//! Issues certificates, and checks that a certificate, its key and its
//! authority belong together.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
    date_time_ymd,
};
use starling_consensus::Tls;
use starling_consensus::tls::{Validity, now_s};
use x509_parser::pem::Pem;
use x509_parser::prelude::{GeneralName, X509Certificate};
use x509_parser::time::ASN1Time;

use super::{AUTHORITY_DAYS, CLIENT, Error, LEAF_DAYS, LEAF_SPREAD_DAYS, Node, PEER};

const DAY_S: u64 = 86_400;
/// Certificates are valid from this long ago: clocks differ.
const BACKDATE_S: u64 = 3_600;

/// Whom a certificate is for.
#[derive(Clone, Copy)]
pub enum Role<'a> {
    /// Serves other agents and users, and asks other agents.
    Node(&'a Node),
    /// Asks agents.
    Client,
}

/// A certificate and its key, as PEM.
pub struct Leaf {
    pub certificate: String,
    pub key: String,
}

/// Where the parts of an identity are.
pub struct Paths {
    pub ca: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A cluster's certificate authority.
pub struct Authority {
    /// PEM.
    pub certificate: String,
    issuer: Issuer<'static, KeyPair>,
    /// Seconds since the epoch.
    until_s: u64,
    now_s: u64,
}

impl Authority {
    pub fn found(cluster: &str) -> Result<Authority, Error> {
        let now_s = now_s();
        let until_s = now_s + AUTHORITY_DAYS * DAY_S;
        let mut params = params(cluster, now_s, until_s);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Authority {
            certificate,
            issuer: Issuer::new(params, key),
            until_s,
            now_s,
        })
    }

    /// An authority that is there already; `cluster`'s, where that is said.
    pub fn open(
        path: &Path,
        certificate: String,
        key_path: &Path,
        key: &str,
        cluster: Option<&str>,
    ) -> Result<Authority, Error> {
        let key = KeyPair::from_pem(key)
            .map_err(|_| Error::unsound(key_path, "isn't a private key in PEM"))?;
        let blocks = certificates(path, &certificate)?;
        let parsed = parse(path, &blocks[0])?;
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            let what = format!("isn't the key of {}", path.display());
            return Err(Error::unsound(key_path, what));
        }
        let found = common_name(&parsed);
        if cluster.is_some_and(|cluster| found != cluster) {
            return Err(Error::OtherCluster {
                path: path.to_owned(),
                found,
                wanted: cluster.unwrap_or_default().to_owned(),
            });
        }
        check_authority_time(path, &parsed)?;
        let until_s = Validity::of(&parsed).until_s;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key)?;
        Ok(Authority {
            certificate,
            issuer,
            until_s,
            now_s: now_s(),
        })
    }

    /// One whose parts were kept together since it was founded.
    pub fn restore(certificate: &str, key: &str) -> Result<Authority, Error> {
        let path = Path::new("the cluster's authority");
        let blocks = certificates(path, certificate)?;
        let until_s = Validity::of(&parse(path, &blocks[0])?).until_s;
        let issuer = Issuer::from_ca_cert_pem(certificate, KeyPair::from_pem(key)?)?;
        Ok(Authority {
            certificate: certificate.to_owned(),
            issuer,
            until_s,
            now_s: now_s(),
        })
    }

    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    pub fn until(&self) -> String {
        day(self.until_s)
    }

    /// The first day on which a certificate that is issued now may end.
    pub fn leafs_until(&self) -> String {
        day(self.leaf_until_s(LEAF_SPREAD_DAYS * DAY_S))
    }

    /// Each ends at another time within [`LEAF_SPREAD_DAYS`], so that not all of a cluster's
    /// end on one day.
    pub fn issue(&self, role: Role<'_>) -> Result<Leaf, Error> {
        let earlier_s = rand::random_range(0..LEAF_SPREAD_DAYS * DAY_S);
        let params = self.leaf(role, self.leaf_until_s(earlier_s))?;
        let key = KeyPair::generate()?;
        Ok(Leaf {
            certificate: params.signed_by(&key, &self.issuer)?.pem(),
            key: key.serialize_pem(),
        })
    }

    /// A certificate (PEM) for the key in `request` (PKCS #10, DER). The names are
    /// those of `role`, whatever the request says, and the key must be one like
    /// [`unsigned`]'s.
    pub fn certify(
        &self,
        request: &[u8],
        role: Role<'_>,
        lifetime: Duration,
    ) -> Result<String, Error> {
        let request = CertificateSigningRequestParams::from_der(&request.into())
            .map_err(|why| Error::Request(why.to_string()))?;
        let key = request.public_key;
        if key.algorithm() != &PKCS_ECDSA_P256_SHA256 {
            return Err(Error::Request("its key isn't one for P-256".into()));
        }
        let until_s = self.until_s.min(self.now_s + lifetime.as_secs());
        let params = self.leaf(role, until_s)?;
        Ok(params.signed_by(&key, &self.issuer)?.pem())
    }

    fn leaf(&self, role: Role<'_>, until_s: u64) -> Result<CertificateParams, Error> {
        let (name, names) = match role {
            Role::Node(node) => {
                let mut names = own_names(&node.name).to_vec();
                names.extend(node.hosts.iter().cloned());
                (node.name.as_str(), names)
            }
            Role::Client => ("client", vec![CLIENT.to_owned()]),
        };
        let mut params = params(name, self.now_s, until_s);
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match role {
            Role::Node(_) => vec![
                ExtendedKeyUsagePurpose::ServerAuth,
                ExtendedKeyUsagePurpose::ClientAuth,
            ],
            Role::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }

    /// A certificate doesn't outlive its authority.
    fn leaf_until_s(&self, earlier_s: u64) -> u64 {
        let until_s = self.now_s + LEAF_DAYS * DAY_S - earlier_s;
        self.until_s.min(until_s)
    }
}

/// A new key (PEM) and the request (PKCS #10, DER) to certify it.
pub struct Unsigned {
    pub key: String,
    pub request: Vec<u8>,
}

/// Made where it will be used: the key never travels.
pub fn unsigned() -> Result<Unsigned, Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    let key = KeyPair::generate()?;
    Ok(Unsigned {
        request: params.serialize_request(&key)?.der().to_vec(),
        key: key.serialize_pem(),
    })
}

/// Of the first certificate in `pem`.
pub fn validity(pem: &str) -> Result<Validity, Error> {
    let path = Path::new("the certificate");
    let blocks = certificates(path, pem)?;
    Ok(Validity::of(&parse(path, &blocks[0])?))
}

/// The day on which the first certificate in `pem` ends, where it is due to be renewed.
pub fn due(pem: &str) -> Option<String> {
    let validity = validity(pem).ok()?;
    validity.is_due(now_s()).then(|| day(validity.until_s))
}

/// Whom the node's certificate in `pem` is for: its name, and the further names that it holds.
pub fn node_of(path: &Path, pem: &str) -> Result<Node, Error> {
    let blocks = certificates(path, pem)?;
    let certificate = parse(path, &blocks[0])?;
    let name = common_name(&certificate);
    let own = own_names(&name);
    let held = certificate.subject_alternative_name().ok().flatten();
    let held = held.iter().flat_map(|names| &names.value.general_names);
    let hosts = held.filter_map(|held| match held {
        GeneralName::DNSName(dns) => Some((*dns).to_owned()),
        GeneralName::IPAddress(bytes) => address(bytes),
        _ => None,
    });
    Ok(Node {
        hosts: hosts.filter(|host| !own.contains(host)).collect(),
        name,
    })
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(IpAddr::from(bytes).to_string())
}

/// What each node's certificate holds, besides what it was asked for.
fn own_names(name: &str) -> [String; 5] {
    [PEER, name, "localhost", "127.0.0.1", "::1"].map(str::to_owned)
}

/// What is thought of a certificate that has expired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    Refused,
    /// It is renewed before anything else is done with it.
    Allowed,
}

/// Whether the parts are what they should be and belong together.
pub fn check(paths: &Paths, tls: &Tls, names: &[&str], expired: Expired) -> Result<(), Error> {
    let authorities = certificates(&paths.ca, &tls.ca)?;
    let chain = certificates(&paths.certificate, &tls.certificate)?;
    let leaf = parse(&paths.certificate, &chain[0])?;
    let key = KeyPair::from_pem(&tls.key)
        .map_err(|_| Error::unsound(&paths.key, "isn't a private key in PEM"))?;
    if leaf.public_key().subject_public_key.data != key.public_key_raw() {
        let what = format!("isn't the key of {}", paths.certificate.display());
        return Err(Error::unsound(&paths.key, what));
    }
    if let Some(name) = names.iter().find(|name| !holds_name(&leaf, name)) {
        let what = format!("isn't for the name {name}");
        return Err(Error::unsound(&paths.certificate, what));
    }
    if expired == Expired::Refused {
        check_time(&paths.certificate, &leaf)?;
    }
    let mut trusted = false;
    for block in authorities.iter().chain(&chain[1..]) {
        let issuer = parse(&paths.ca, block)?;
        check_authority_time(&paths.ca, &issuer)?;
        trusted |= leaf.verify_signature(Some(issuer.public_key())).is_ok();
    }
    if !trusted {
        let what = format!("wasn't issued by {}", paths.ca.display());
        return Err(Error::unsound(&paths.certificate, what));
    }
    Ok(())
}

fn params(name: &str, now_s: u64, until_s: u64) -> CertificateParams {
    let epoch = date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.not_before = epoch + std::time::Duration::from_secs(now_s.saturating_sub(BACKDATE_S));
    params.not_after = epoch + std::time::Duration::from_secs(until_s);
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::OrganizationName, "Starling");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// At least one.
fn certificates(path: &Path, text: &str) -> Result<Vec<Pem>, Error> {
    let blocks: Vec<Pem> = Pem::iter_from_buffer(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|_| Error::unsound(path, "isn't PEM"))?;
    let wrong = blocks.iter().find(|block| block.label != "CERTIFICATE");
    match wrong {
        Some(block) => {
            let what = format!("holds a {} instead of a certificate", block.label);
            Err(Error::unsound(path, what))
        }
        None if blocks.is_empty() => Err(Error::unsound(path, "isn't a certificate in PEM")),
        None => Ok(blocks),
    }
}

fn parse<'a>(path: &Path, block: &'a Pem) -> Result<X509Certificate<'a>, Error> {
    block
        .parse_x509()
        .map_err(|_| Error::unsound(path, "isn't an X.509 certificate"))
}

fn check_time(path: &Path, certificate: &X509Certificate<'_>) -> Result<(), Error> {
    let now = ASN1Time::now();
    let validity = certificate.validity();
    if now > validity.not_after {
        return Err(Error::Expired {
            path: path.to_owned(),
            day: day(Validity::of(certificate).until_s),
        });
    }
    if now < validity.not_before {
        let what = "isn't valid yet (is this machine's clock right?)";
        return Err(Error::unsound(path, what));
    }
    Ok(())
}

/// The same of one that no renewal of what it has signed mends.
fn check_authority_time(path: &Path, certificate: &X509Certificate<'_>) -> Result<(), Error> {
    match check_time(path, certificate) {
        Err(Error::Expired { path, day }) => {
            Err(Error::unsound(&path, format!("expired on {day}")))
        }
        checked => checked,
    }
}

fn holds_name(certificate: &X509Certificate<'_>, name: &str) -> bool {
    certificate
        .subject_alternative_name()
        .ok()
        .flatten()
        .is_some_and(|names| {
            names
                .value
                .general_names
                .iter()
                .any(|held| matches!(held, GeneralName::DNSName(dns) if *dns == name))
        })
}

fn common_name(certificate: &X509Certificate<'_>) -> String {
    certificate
        .subject()
        .iter_common_name()
        .next()
        .and_then(|name| name.as_str().ok())
        .unwrap_or_default()
        .to_owned()
}

/// `YYYY-MM-DD`, by UTC.
pub fn day(at_s: u64) -> String {
    jiff::Timestamp::from_second(at_s as i64)
        .map_or_else(|_| at_s.to_string(), |at| at.strftime("%F").to_string())
}

//! The cluster's certificates: one authority, made at the start of each run, and what it
//! signs. Writes keys, certificates and kubeconfigs into one folder.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use serde_json::json;

use crate::error::{Error, Result};
use crate::run;

/// Who a certificate is for.
pub struct Subject<'a> {
    /// The name of its files.
    pub file: &'a str,
    pub name: &'a str,
    pub group: Option<&'a str>,
    pub addresses: &'a [IpAddr],
    pub hosts: &'a [&'a str],
}

impl<'a> Subject<'a> {
    pub fn new(file: &'a str, name: &'a str) -> Subject<'a> {
        Subject {
            file,
            name,
            group: None,
            addresses: &[],
            hosts: &[],
        }
    }
}

pub struct Authority {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes the authority and the key that signs service accounts' tokens.
    pub fn create(dir: &Path) -> Result<Authority> {
        run::make_dir(dir)?;
        let failed = |source| Error::Certificate {
            name: "the authority".into(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let mut parameters = CertificateParams::default();
        parameters
            .distinguished_name
            .push(DnType::CommonName, "starling-rig");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        run::write(&dir.join("ca.crt"), certificate.pem())?;
        run::write(&dir.join("ca.key"), key.serialize_pem())?;
        let accounts = KeyPair::generate().map_err(failed)?;
        run::write(&dir.join("accounts.key"), accounts.serialize_pem())?;
        run::write(&dir.join("accounts.pub"), accounts.public_key_pem())?;
        Ok(Authority {
            dir: dir.to_path_buf(),
            issuer: Issuer::new(parameters, key),
        })
    }

    /// The file of this name in the authority's folder.
    pub fn path(&self, name: &str) -> String {
        self.dir.join(name).to_string_lossy().into_owned()
    }

    /// Writes `FILE.crt` and `FILE.key`, good for both ends of a connection.
    pub fn sign(&self, subject: &Subject) -> Result<()> {
        let failed = |source| Error::Certificate {
            name: subject.name.into(),
            source,
        };
        let key = KeyPair::generate().map_err(failed)?;
        let hosts: Vec<String> = subject.hosts.iter().map(|host| (*host).into()).collect();
        let mut parameters = CertificateParams::new(hosts).map_err(failed)?;
        let addresses = subject.addresses.iter().copied();
        parameters
            .subject_alt_names
            .extend(addresses.map(SanType::IpAddress));
        let name = &mut parameters.distinguished_name;
        name.push(DnType::CommonName, subject.name);
        if let Some(group) = subject.group {
            name.push(DnType::OrganizationName, group);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = parameters.signed_by(&key, &self.issuer).map_err(failed)?;
        let file = subject.file;
        run::write(&self.dir.join(format!("{file}.crt")), certificate.pem())?;
        run::write(&self.dir.join(format!("{file}.key")), key.serialize_pem())
    }

    /// Signs a certificate and writes the kubeconfig that uses it; gives its path.
    pub fn kubeconfig(&self, subject: &Subject, server: &str) -> Result<PathBuf> {
        self.sign(subject)?;
        let file = subject.file;
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "rig", "cluster": {
                "server": server,
                "certificate-authority": self.path("ca.crt"),
            }}],
            "users": [{"name": "rig", "user": {
                "client-certificate": self.path(&format!("{file}.crt")),
                "client-key": self.path(&format!("{file}.key")),
            }}],
            "contexts": [{"name": "rig", "context": {"cluster": "rig", "user": "rig"}}],
            "current-context": "rig",
        });
        let path = self.dir.join(format!("{file}.conf"));
        run::write(&path, format!("{config:#}"))?;
        Ok(path)
    }
}

//! The control plane: etcd, the API server, the controller manager and the scheduler, on
//! loopback. Nodes and pods reach the API server through the proxy on the nodes' network.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;

use crate::assets::Assets;
use crate::component::Component;
use crate::error::Result;
use crate::pki::{Authority, Subject};
use crate::run::Run;
use crate::shell;

/// All services' addresses, and the first, the API server's own. Only a node's own
/// namespaces know them, so all clusters of a machine have the same.
const SERVICES: &str = "10.96.0.0/16";
const API_SERVICE: [u8; 4] = [10, 96, 0, 1];
/// It is ready in 3 s on two idle cores.
const READY_LIMIT: Duration = Duration::from_secs(90);

pub struct Control {
    etcd: Component,
    api: Component,
    /// They give up when the API server takes long, so they start once it serves.
    others: [Component; 2],
}

/// How to reach the cluster, for whom.
pub struct Configs {
    /// The administrator, straight to the API server.
    pub admin: PathBuf,
    /// The administrator, through the proxy, as nodes and pods go.
    pub through_proxy: PathBuf,
    /// kube-proxy on any node.
    pub proxy: PathBuf,
    managers: PathBuf,
    scheduler: PathBuf,
}

impl Configs {
    pub fn create(run: &Run, authority: &Authority) -> Result<Configs> {
        let local = format!("https://127.0.0.1:{}", run.api_port());
        let admin = |file| Subject {
            group: Some("system:masters"),
            ..Subject::new(file, "admin")
        };
        Ok(Configs {
            admin: authority.kubeconfig(&admin("admin"), &local)?,
            through_proxy: authority.kubeconfig(&admin("admin-proxy"), &server(run))?,
            proxy: authority
                .kubeconfig(&Subject::new("proxy", "system:kube-proxy"), &server(run))?,
            managers: authority.kubeconfig(
                &Subject::new("managers", "system:kube-controller-manager"),
                &local,
            )?,
            scheduler: authority
                .kubeconfig(&Subject::new("scheduler", "system:kube-scheduler"), &local)?,
        })
    }
}

/// The API server's address on the nodes' network.
pub fn server(run: &Run) -> String {
    format!("https://{}:{}", run.host(), run.api_port())
}

impl Control {
    /// Starts the first two; `ready` starts the rest.
    pub fn start(
        run: &Run,
        assets: &Assets,
        authority: &Authority,
        configs: &Configs,
        api_flags: &[String],
        more_manager_flags: &[String],
    ) -> Result<Control> {
        let logs = run.dir().join("log");
        let component = |name: &str, flags: Vec<String>| {
            let mut words = vec![assets.binary(name)?.to_string_lossy().into_owned()];
            words.extend(flags);
            Ok(Component::new(name, words, &run.id(), &logs))
        };
        let mut etcd = component("etcd", etcd_flags(run))?;
        etcd.start()?;
        sign_api_server(run, authority)?;
        let mut flags = api_server_flags(run, authority);
        flags.extend_from_slice(api_flags);
        let mut api = component("kube-apiserver", flags)?;
        let mut flags = manager_flags(authority, &configs.managers);
        flags.extend_from_slice(more_manager_flags);
        api.start()?;
        let managers = component("kube-controller-manager", flags)?;
        let scheduler = component("kube-scheduler", scheduler_flags(&configs.scheduler))?;
        Ok(Control {
            etcd,
            api,
            others: [managers, scheduler],
        })
    }

    /// Waits until the API server serves, and sees to it that all else runs.
    pub fn ready(&mut self, kubectl: impl Fn(&[&str]) -> Result<String>) -> Result<()> {
        shell::until("the API server is ready", READY_LIMIT, || {
            // A component that has ended won't become ready: it is named below.
            if self.etcd.check().is_err() || self.api.check().is_err() {
                return Ok(());
            }
            kubectl(&["get", "--raw=/readyz", "--request-timeout=5s"])
                .map(|_| ())
                .map_err(|e| e.to_string())
        })?;
        self.etcd.check()?;
        self.api.check()?;
        self.others.iter_mut().try_for_each(Component::start)
    }

    /// The API server dies at once; clients see closed connections.
    pub fn kill_api_server(&mut self) -> Result<()> {
        self.api.kill()
    }

    /// The API server stands still; clients see connections that don't answer.
    pub fn freeze_api_server(&mut self) -> Result<()> {
        self.api.signal(Signal::STOP)
    }

    /// The API server goes on, after either. `ready` says when.
    pub fn resume_api_server(&mut self) -> Result<()> {
        self.api.signal(Signal::CONT)?;
        self.api.start()
    }
}

fn etcd_flags(run: &Run) -> Vec<String> {
    let client = format!("http://127.0.0.1:{}", run.etcd_port());
    let peer = format!("http://127.0.0.1:{}", run.etcd_peer_port());
    vec![
        format!("--data-dir={}", run.dir().join("etcd").display()),
        format!("--listen-client-urls={client}"),
        format!("--advertise-client-urls={client}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        // A test's cluster doesn't outlive its machine.
        "--unsafe-no-fsync".into(),
        "--log-level=warn".into(),
    ]
}

fn sign_api_server(run: &Run, authority: &Authority) -> Result<()> {
    authority.sign(&Subject {
        addresses: &[[127, 0, 0, 1].into(), run.host().into(), API_SERVICE.into()],
        hosts: &[
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
            "localhost",
        ],
        ..Subject::new("apiserver", "kube-apiserver")
    })?;
    authority.sign(&Subject {
        group: Some("system:masters"),
        ..Subject::new("to-kubelets", "kube-apiserver-kubelet-client")
    })?;
    authority.sign(&Subject::new("front", "front-proxy-client"))
}

fn api_server_flags(run: &Run, authority: &Authority) -> Vec<String> {
    let pki = |file| authority.path(file);
    vec![
        format!("--etcd-servers=http://127.0.0.1:{}", run.etcd_port()),
        "--bind-address=127.0.0.1".into(),
        // The proxy has the same port on this address.
        format!("--advertise-address={}", run.host()),
        format!("--secure-port={}", run.api_port()),
        format!("--service-cluster-ip-range={SERVICES}"),
        format!("--tls-cert-file={}", pki("apiserver.crt")),
        format!("--tls-private-key-file={}", pki("apiserver.key")),
        format!("--client-ca-file={}", pki("ca.crt")),
        "--authorization-mode=Node,RBAC".into(),
        "--enable-admission-plugins=NodeRestriction".into(),
        "--allow-privileged=true".into(),
        format!("--service-account-key-file={}", pki("accounts.pub")),
        format!("--service-account-signing-key-file={}", pki("accounts.key")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        format!("--kubelet-client-certificate={}", pki("to-kubelets.crt")),
        format!("--kubelet-client-key={}", pki("to-kubelets.key")),
        format!("--kubelet-certificate-authority={}", pki("ca.crt")),
        // Names of nodes resolve nowhere.
        "--kubelet-preferred-address-types=InternalIP".into(),
        "--enable-aggregator-routing=true".into(),
        format!("--requestheader-client-ca-file={}", pki("ca.crt")),
        "--requestheader-allowed-names=front-proxy-client".into(),
        "--requestheader-username-headers=X-Remote-User".into(),
        "--requestheader-group-headers=X-Remote-Group".into(),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".into(),
        format!("--proxy-client-cert-file={}", pki("front.crt")),
        format!("--proxy-client-key-file={}", pki("front.key")),
        "--profiling=false".into(),
    ]
}

fn manager_flags(authority: &Authority, config: &Path) -> Vec<String> {
    let config = config.display();
    vec![
        format!("--kubeconfig={config}"),
        "--secure-port=0".into(),
        format!(
            "--service-account-private-key-file={}",
            authority.path("accounts.key")
        ),
        format!("--root-ca-file={}", authority.path("ca.crt")),
        format!("--cluster-signing-cert-file={}", authority.path("ca.crt")),
        format!("--cluster-signing-key-file={}", authority.path("ca.key")),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
    ]
}

fn scheduler_flags(config: &Path) -> Vec<String> {
    vec![
        format!("--kubeconfig={}", config.display()),
        "--secure-port=0".into(),
        "--leader-elect=false".into(),
    ]
}

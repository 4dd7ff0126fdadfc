//! Prints the CRD of `ScalingPolicy` as it is to stand in
//! `daemonset/crds/scalingpolicies.yaml`.

fn main() -> anyhow::Result<()> {
    print!("{}", starling_kube::crd::yaml()?);
    Ok(())
}

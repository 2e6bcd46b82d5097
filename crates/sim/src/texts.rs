//! The texts of a node: manifests, environment files, kubeconfigs, in AKS engine's spelling.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kubecert_core::layout::{CERTIFICATES, KUBELET_PKI, MANIFESTS};
use kubecert_core::model::{Component, KubernetesVersion};

/// A static pod's manifest: `command` and `args` are flow lists on one line, as AKS engine's templates render them.
pub(crate) fn manifest(component: Component, version: KubernetesVersion, address: &str, port: u16) -> String {
    let name = component.process_name();
    let flags = match component {
        Component::ApiServer => api_server_flags(address, port),
        Component::ControllerManager => controller_manager_flags(),
        _ => vec![
            "--kubeconfig=/var/lib/kubelet/kubeconfig".to_owned(),
            "--leader-elect=true".to_owned(),
            "--profiling=false".to_owned(),
            "--v=2".to_owned(),
        ],
    };
    let quoted: Vec<String> = flags.iter().map(|flag| format!("\"{flag}\"")).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: kube-system\n  labels:\n    tier: control-plane\n    component: {name}\nspec:\n  priorityClassName: system-node-critical\n  hostNetwork: true\n  containers:\n    - name: {name}\n      image: registry.k8s.io/{name}:v{version}.0\n      imagePullPolicy: IfNotPresent\n      command: [\"{name}\"]\n      args: [{args}]\n      volumeMounts:\n        - name: etc-kubernetes\n          mountPath: /etc/kubernetes\n        - name: var-lib-kubelet\n          mountPath: /var/lib/kubelet\n  volumes:\n    - name: etc-kubernetes\n      hostPath:\n        path: /etc/kubernetes\n    - name: var-lib-kubelet\n      hostPath:\n        path: /var/lib/kubelet\n",
        args = quoted.join(", "),
    )
}

fn api_server_flags(address: &str, port: u16) -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={CERTIFICATES}/{name}");
    vec![
        format!("--advertise-address={address}"),
        "--allow-privileged=true".to_owned(),
        "--anonymous-auth=false".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        file("client-ca-file", "ca.crt"),
        file("etcd-cafile", "ca.crt"),
        file("etcd-certfile", "etcdclient.crt"),
        file("etcd-keyfile", "etcdclient.key"),
        "--etcd-servers=https://127.0.0.1:2379".to_owned(),
        file("kubelet-client-certificate", "client.crt"),
        file("kubelet-client-key", "client.key"),
        "--profiling=false".to_owned(),
        file("proxy-client-cert-file", "proxy.crt"),
        file("proxy-client-key-file", "proxy.key"),
        "--requestheader-allowed-names=".to_owned(),
        file("requestheader-client-ca-file", "proxy-ca.crt"),
        "--requestheader-extra-headers-prefix=X-Remote-Extra-".to_owned(),
        "--requestheader-group-headers=X-Remote-Group".to_owned(),
        "--requestheader-username-headers=X-Remote-User".to_owned(),
        format!("--secure-port={port}"),
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local".to_owned(),
        file("service-account-key-file", "apiserver.key"),
        "--service-account-lookup=true".to_owned(),
        file("service-account-signing-key-file", "apiserver.key"),
        "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
        file("tls-cert-file", "apiserver.crt"),
        file("tls-private-key-file", "apiserver.key"),
        "--v=4".to_owned(),
    ]
}

fn controller_manager_flags() -> Vec<String> {
    let file = |flag: &str, name: &str| format!("--{flag}={CERTIFICATES}/{name}");
    vec![
        "--allocate-node-cidrs=true".to_owned(),
        file("cluster-signing-cert-file", "ca.crt"),
        file("cluster-signing-key-file", "ca.key"),
        "--kubeconfig=/var/lib/kubelet/kubeconfig".to_owned(),
        "--leader-elect=true".to_owned(),
        "--profiling=false".to_owned(),
        file("root-ca-file", "ca.crt"),
        file("service-account-private-key-file", "apiserver.key"),
        "--use-service-account-credentials=true".to_owned(),
        "--v=2".to_owned(),
    ]
}

/// `/etc/default/etcd`.
pub(crate) fn etcd_environment(
    name: &str,
    index: usize,
    address: &str,
    members: &[(String, String)],
) -> String {
    let c = CERTIFICATES;
    let cluster: Vec<String> = members.iter().map(|(name, ip)| format!("{name}=https://{ip}:2380")).collect();
    format!(
        "DAEMON_ARGS=--name {name} --peer-client-cert-auth --peer-trusted-ca-file={c}/ca.crt --peer-cert-file={c}/etcdpeer{index}.crt --peer-key-file={c}/etcdpeer{index}.key --initial-advertise-peer-urls https://{address}:2380 --listen-peer-urls https://{address}:2380 --client-cert-auth --trusted-ca-file={c}/ca.crt --cert-file={c}/etcdserver.crt --key-file={c}/etcdserver.key --advertise-client-urls https://{address}:2379 --listen-client-urls https://{address}:2379,https://127.0.0.1:2379 --initial-cluster-token k8s-etcd-cluster --initial-cluster {} --data-dir /var/lib/etcddisk --initial-cluster-state new\n",
        cluster.join(",")
    )
}

/// `/etc/default/kubelet`.
pub(crate) fn kubelet_environment() -> String {
    let c = CERTIFICATES;
    format!(
        "KUBELET_CONFIG=--anonymous-auth=false --authorization-mode=Webhook --cert-dir={KUBELET_PKI} --client-ca-file={c}/ca.crt --kubeconfig=/var/lib/kubelet/kubeconfig --pod-manifest-path={MANIFESTS} --rotate-certificates=true --tls-cert-file={c}/kubeletserver.crt --tls-private-key-file={c}/kubeletserver.key --v=2\n"
    )
}

/// `/var/lib/kubelet/kubeconfig`.
pub(crate) fn node_kubeconfig(server: &str) -> String {
    let c = CERTIFICATES;
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: localcluster\n  cluster:\n    certificate-authority: {c}/ca.crt\n    server: https://{server}:443\nusers:\n- name: client\n  user:\n    client-certificate: {c}/client.crt\n    client-key: {c}/client.key\ncontexts:\n- context:\n    cluster: localcluster\n    user: client\n  name: localclustercontext\ncurrent-context: localclustercontext\n"
    )
}

/// An administrator's kubeconfig.
pub(crate) fn admin_kubeconfig(
    name: &str,
    server: &str,
    roots: &str,
    certificate: &str,
    key: &str,
) -> String {
    let data = |text: &str| STANDARD.encode(text);
    format!(
        "apiVersion: v1\nclusters:\n- cluster:\n    certificate-authority-data: {}\n    server: {server}\n  name: {name}\ncontexts:\n- context:\n    cluster: {name}\n    user: {name}-admin\n  name: {name}\ncurrent-context: {name}\nkind: Config\nusers:\n- name: {name}-admin\n  user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        data(roots),
        data(certificate),
        data(key),
    )
}

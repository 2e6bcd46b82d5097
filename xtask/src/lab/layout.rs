//! The node files of an AKS engine cluster: paths, modes and owners as the ancestor's provisioning leaves them.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use super::base::ETCD;
use super::login::{self, ADMIN};
use super::manifest::{Program, VOLUMES, static_pod};
use super::model::Model;
use super::pki;
use super::spec::{Node, Role, Spec, source};
use super::template::{directory, enable, lay_tree, write};

const ROOT: (u32, u32) = (0, 0);
const CERTS: &str = "etc/kubernetes/certs";

/// What all nodes' files are made from.
pub(crate) struct Source<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) model: &'a Model,
    pub(crate) ssh_public_key: &'a str,
    pub(crate) monitor_first_check: u32,
    programs: [Program; 4],
    version: String,
}

impl<'a> Source<'a> {
    pub(crate) fn new(
        spec: &'a Spec,
        model: &'a Model,
        ssh_public_key: &'a str,
        monitor_first_check: u32,
    ) -> Result<Self> {
        let bin = spec.programs.join("bin");
        let program = |name| Program::of(&bin, name);
        let programs = [
            program("kube-apiserver")?,
            program("kube-controller-manager")?,
            program("kube-scheduler")?,
            program("kubelet")?,
        ];
        Ok(Self {
            spec,
            model,
            ssh_public_key,
            monitor_first_check,
            programs,
            version: spec.kubernetes.clone(),
        })
    }

    /// Writes one node's files; returns the flags of the model that were left out.
    pub(crate) fn furnish(&self, node: &Node) -> Result<Vec<String>> {
        let root = self.spec.root(node);
        let mut dropped = Vec::new();
        match node.role {
            Role::Balancer => login::balance(self.spec, &root, "aks-engine/balancer", 443)?,
            Role::Master => {
                self.common(node, &root, &mut dropped)?;
                self.master(node, &root, &mut dropped)?;
            }
            Role::Agent | Role::Host => self.common(node, &root, &mut dropped)?,
        }
        Ok(dropped)
    }

    /// What masters and agents have alike.
    fn common(&self, node: &Node, root: &Path, dropped: &mut Vec<String>) -> Result<()> {
        let is_master = node.role == Role::Master;
        let server = if is_master { node.ip } else { self.api_for_agents() };
        let values = [
            ("API_SERVER", format!("https://{server}:443")),
            ("POD_CIDR", node.pod_cidr.clone()),
            ("KUBELET_FLAGS", self.kubelet_flags(node, dropped).join(" ")),
        ];
        lay_tree(&source().join("aks-engine/node"), root, &values)?;

        login::let_in(self.spec, root, self.ssh_public_key)?;

        directory(&root.join(CERTS), 0o755, ROOT)?;
        for (file, mode) in [("ca.crt", 0o644), ("client.crt", 0o644), ("client.key", 0o600)] {
            self.install(root, file, mode, ROOT)?;
        }
        pki::kubelet_serving(&root.join(CERTS), &node.name)?;
        for dir in ["addons", "manifests", "volumeplugins"] {
            directory(&root.join("etc/kubernetes").join(dir), 0o755, ROOT)?;
        }
        for dir in ["var/log/azure", "var/log/kubeaudit", "var/log/wl", "opt/azure/containers"] {
            directory(&root.join(dir), 0o755, ROOT)?;
        }
        write(&root.join("opt/azure/containers/provision.complete"), "", 0o644, ROOT)?;
        for file in ["azure.json", "azurestackcloud.json"] {
            write(&root.join("etc/kubernetes").join(file), "{}\n", 0o600, ROOT)?;
        }
        enable(root, "containerd.service", "/lib/systemd/system")
    }

    fn master(&self, node: &Node, root: &Path, dropped: &mut Vec<String>) -> Result<()> {
        let members: Vec<_> =
            self.spec.masters().map(|m| format!("{}=https://{}:2380", m.name, m.ip)).collect();
        let values = [
            ("NODE", node.name.clone()),
            ("IP", node.ip.to_string()),
            ("INDEX", node.index.to_string()),
            ("ETCD_MEMBERS", members.join(",")),
            ("MONITOR_FIRST_CHECK", self.monitor_first_check.to_string()),
        ];
        lay_tree(&source().join("aks-engine/master"), root, &values)?;
        let script = root.join("etc/kubernetes/generate-proxy-certs.sh");
        fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o744))?;

        let peer = format!("etcdpeer{}", node.index);
        for (file, mode, owner) in [
            ("ca.key", 0o600, ROOT),
            ("apiserver.crt", 0o644, ROOT),
            ("apiserver.key", 0o600, ROOT),
            ("etcdclient.crt", 0o644, ROOT),
            ("etcdclient.key", 0o600, ROOT),
            ("etcdserver.crt", 0o644, ROOT),
            ("etcdserver.key", 0o600, ETCD),
            (&format!("{peer}.crt"), 0o644, ROOT),
            (&format!("{peer}.key"), 0o600, ETCD),
        ] {
            self.install(root, file, mode, owner)?;
        }
        let kube = root.join("home").join(&self.spec.admin).join(".kube");
        directory(&kube, 0o700, ADMIN)?;
        write(&kube.join("config"), &fs::read_to_string(self.spec.kubeconfig())?, 0o600, ADMIN)?;
        directory(&root.join("var/lib/etcddisk"), 0o700, ETCD)?;
        for (_, path) in VOLUMES {
            fs::create_dir_all(root.join(&path[1..]))?;
        }
        enable(root, "etcd.service", "/etc/systemd/system")?;
        self.static_pods(node, root, dropped)
    }

    fn static_pods(&self, node: &Node, root: &Path, dropped: &mut Vec<String>) -> Result<()> {
        let [api_server, controller_manager, scheduler, _kubelet] = &self.programs;
        let components = [
            (
                "kube-apiserver",
                api_server,
                "apiServerConfig",
                vec![("--advertise-address", node.ip.to_string())],
            ),
            ("kube-controller-manager", controller_manager, "controllerManagerConfig", vec![]),
            ("kube-scheduler", scheduler, "schedulerConfig", vec![]),
        ];
        let manifests = root.join("etc/kubernetes/manifests");
        for (name, program, config, ours) in components {
            let flags = self.model.flags(&format!("/orchestratorProfile/kubernetesConfig/{config}"));
            let mut command = vec![name.to_owned()];
            command.extend(program.arguments(flags, &ours, dropped));
            let image = format!("kubecert.lab/{name}:{}", self.version);
            let text = static_pod(name, &[("tier", "control-plane"), ("component", name)], &image, &command);
            write(&manifests.join(format!("{name}.yaml")), &text, 0o644, ROOT)?;
        }
        // The addon manager is there for tools that wait for its pod; the lab applies the addons itself.
        let text = static_pod("kube-addon-manager", &[("app", "kube-addon-manager")], PAUSE, &[]);
        write(&manifests.join("kube-addon-manager.yaml"), &text, 0o644, ROOT)
    }

    fn kubelet_flags(&self, node: &Node, dropped: &mut Vec<String>) -> Vec<String> {
        let place = match node.role {
            Role::Master => "/masterProfile".to_owned(),
            Role::Agent | Role::Balancer | Role::Host => format!("/agentPoolProfiles/{}", node.pool),
        };
        let mut flags = self.model.flags(&format!("{place}/kubernetesConfig/kubeletConfig"));
        if flags.is_empty() {
            flags = self.model.flags("/orchestratorProfile/kubernetesConfig/kubeletConfig");
        }
        let role = if node.role == Role::Master { "master" } else { "agent" };
        let mut ours = vec![
            ("--node-ip", node.ip.to_string()),
            ("--node-labels", format!("kubernetes.azure.com/role={role}")),
            ("--pod-infra-container-image", PAUSE.to_owned()),
            // The host's memory and disk are not the node's own; the lab may lack CAP_SYS_RESOURCE.
            ("--eviction-hard", "memory.available<50Mi".to_owned()),
            ("--image-gc-high-threshold", "100".to_owned()),
            ("--oom-score-adj", "0".to_owned()),
        ];
        let kubelet = &self.programs[3];
        if kubelet.takes("--container-runtime") {
            // Before 1.24 the kubelet's own runtime was Docker.
            ours.push(("--container-runtime", "remote".to_owned()));
        }
        kubelet.arguments(flags, &ours, dropped)
    }

    /// Agents reach the API through the internal load balancer, or the only master.
    fn api_for_agents(&self) -> std::net::Ipv4Addr {
        let mut masters = self.spec.masters();
        match (masters.next(), masters.next()) {
            (Some(only), None) => only.ip,
            _several => self.spec.internal_ip,
        }
    }

    fn install(&self, root: &Path, file: &str, mode: u32, owner: (u32, u32)) -> Result<()> {
        let from = self.spec.output().join(file);
        let text = fs::read_to_string(&from).with_context(|| format!("cannot read {}", from.display()))?;
        write(&root.join(CERTS).join(file), &text, mode, owner)
    }
}

const PAUSE: &str = "kubecert.lab/pause:3.10.1";

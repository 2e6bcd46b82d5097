//! Component flags from the model, cut down to what the programs at hand take, and static pod manifests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;

use crate::cmd::{CommandExt as _, cmd};

/// Flags that a bed without a cloud cannot take, or not with these values.
const CLOUDLESS: &[&str] = &[
    "--cloud-provider",
    "--cloud-config",
    "--azure-container-registry-config",
    "--configure-cloud-routes",
    "--route-reconciliation-period",
    "--image-credential-provider-bin-dir",
    "--image-credential-provider-config",
    // The kernel's settings are the host's.
    "--protect-kernel-defaults",
];

/// What one program takes, by its own account.
pub(crate) struct Program {
    help: String,
}

impl Program {
    pub(crate) fn of(bin: &Path, name: &str) -> Result<Self> {
        Ok(Self { help: cmd(&bin.join(name).to_string_lossy(), ["--help"]).read()? })
    }

    /// The flags as arguments, sorted: those of the model that the program knows, with `ours` over them.
    pub(crate) fn arguments(
        &self,
        model: Vec<(String, String)>,
        ours: &[(&str, String)],
        dropped: &mut Vec<String>,
    ) -> Vec<String> {
        let mut flags = BTreeMap::new();
        for (flag, value) in model {
            let value = match flag.as_str() {
                "--feature-gates" => self.keep(
                    &value,
                    |gate| format!("{}=true|false", gate.split('=').next().unwrap_or(gate)),
                    dropped,
                ),
                "--enable-admission-plugins" => self.keep(&value, str::to_owned, dropped),
                _as_it_is => value,
            };
            if CLOUDLESS.contains(&flag.as_str()) || !self.takes(&flag) {
                dropped.push(format!("{flag}={value}"));
            } else {
                flags.insert(flag, value);
            }
        }
        for (flag, value) in ours {
            flags.insert((*flag).to_owned(), value.clone());
        }
        flags.into_iter().map(|(flag, value)| format!("{flag}={value}")).collect()
    }

    /// Whether the program takes this flag.
    pub(crate) fn takes(&self, flag: &str) -> bool {
        self.help.contains(&format!("{flag} "))
    }

    /// The words of a list whose description the help text has.
    fn keep(&self, list: &str, described: impl Fn(&str) -> String, dropped: &mut Vec<String>) -> String {
        let (known, unknown): (Vec<_>, Vec<_>) = list
            .split(',')
            .filter(|word| !word.is_empty())
            .partition(|word| self.help.contains(&described(word)));
        dropped.extend(unknown.into_iter().map(str::to_owned));
        known.join(",")
    }
}

/// A static pod as the ancestor's manifests have it: host network, everything of the node mounted by directory.
pub(crate) fn static_pod(name: &str, labels: &[(&str, &str)], image: &str, command: &[String]) -> String {
    let mut text = format!(
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  namespace: kube-system\n  labels:\n"
    );
    let mut line = |indent: usize, content: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{:indent$}{content}", "");
    };
    for (key, value) in labels {
        line(4, format_args!("{key}: {value}"));
    }
    line(0, format_args!("spec:"));
    line(2, format_args!("priorityClassName: system-node-critical"));
    line(2, format_args!("hostNetwork: true"));
    line(2, format_args!("containers:"));
    line(4, format_args!("- name: {name}"));
    line(6, format_args!("image: {image}"));
    line(6, format_args!("imagePullPolicy: IfNotPresent"));
    if !command.is_empty() {
        line(6, format_args!("command:"));
        for word in command {
            line(8, format_args!("- {word:?}"));
        }
    }
    line(6, format_args!("volumeMounts:"));
    for (volume, path) in VOLUMES {
        line(8, format_args!("- name: {volume}"));
        line(10, format_args!("mountPath: {path}"));
    }
    line(2, format_args!("volumes:"));
    for (volume, path) in VOLUMES {
        line(4, format_args!("- name: {volume}"));
        line(6, format_args!("hostPath:"));
        line(8, format_args!("path: {path}"));
    }
    text
}

/// What the components see of the node.
pub(crate) const VOLUMES: &[(&str, &str)] = &[
    ("etc-kubernetes", "/etc/kubernetes"),
    ("var-lib-kubelet", "/var/lib/kubelet"),
    ("msi", "/var/lib/waagent/ManagedIdentity-Settings"),
    ("sock", "/opt"),
    ("auditlog", "/var/log/kubeaudit"),
];

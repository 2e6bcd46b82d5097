//! What the ancestor's command line allowed and clap does not, and what it once allowed.

use std::ffi::{OsStr, OsString};
use std::path::Path;

use kubecert_core::model::KubernetesVersion;

use crate::errors::{CliError, Kind};

/// Flags that `aks-engine rotate-certs` had until February 2021, and what stands for them now.
const RETIRED: [(&str, &str); 4] = [
    ("--ssh", "Use --linux-ssh-private-key for the private key and --ssh-host for the host."),
    ("--apiserver", "Use --ssh-host; the API server's name is read from the apimodel."),
    ("--master-FQDN", "Use --ssh-host; the API server's name is read from the apimodel."),
    ("--output-directory", "Use --api-model; files are written beside the apimodel."),
];

/// Flags that are switches, to which Go's flag library also takes `=true` and `=false`.
const SWITCHES: [&str; 6] = ["--force", "--debug", "--quiet", "--reboot", "--dry-run", "--ssh-agent"];

/// Global flags whose next argument is a value and not the verb.
const TAKE_A_VALUE: [&str; 3] = ["-o", "--output", "--color"];

/// Which of the two programs somebody is used to: they differ in defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ancestor {
    /// `aks-engine`, until 2023, for Azure and Azure Stack Hub.
    AksEngine,
    /// `aks-engine-azurestack`, its successor.
    AksEngineAzureStack,
}

impl Ancestor {
    /// The one that makes clusters of a version: `aks-engine` ended with Kubernetes 1.24, and what its successor makes
    /// now is far beyond.
    pub(crate) fn of_version(version: &str) -> Self {
        let beyond = KubernetesVersion::parse(version).is_some_and(|version| version.at_least(25));
        if beyond { Self::AksEngineAzureStack } else { Self::AksEngine }
    }
}

/// The program whose name ours was called by, through a link to it.
pub(super) fn called_as(typed: &[OsString]) -> Option<Ancestor> {
    match Path::new(typed.first()?).file_stem()?.to_str()? {
        "aks-engine" => Some(Ancestor::AksEngine),
        "aks-engine-azurestack" => Some(Ancestor::AksEngineAzureStack),
        _ => None,
    }
}

/// Whether the verb is `rotate-certs`, whose exit codes differ even for a command line that cannot be understood.
pub(super) fn is_called(typed: &[OsString]) -> bool {
    verb_position(typed).is_some_and(|position| typed[position] == "rotate-certs")
}

/// Spells switches as clap knows them, and answers retired flags with what stands for them.
pub(super) fn translate(typed: Vec<OsString>) -> Result<Vec<OsString>, CliError> {
    let mut translated = Vec::with_capacity(typed.len());
    for argument in typed {
        let text = argument.to_string_lossy();
        let (flag, value) = text.split_once('=').map_or((&*text, None), |(flag, value)| (flag, Some(value)));
        if let Some((_, instead)) = RETIRED.iter().find(|(retired, _)| *retired == flag) {
            let message = format!("{flag} is a flag of releases of aks-engine before February 2021");
            return Err(CliError::new(Kind::Usage, message).hint(*instead));
        }
        match (SWITCHES.contains(&flag), value) {
            (true, Some("1" | "t" | "T" | "true" | "TRUE" | "True")) => translated.push(flag.into()),
            (true, Some("0" | "f" | "F" | "false" | "FALSE" | "False")) => {}
            _ => translated.push(argument),
        }
    }
    Ok(translated)
}

/// What the operator should know about this way of calling.
pub(super) fn notices(typed: &[OsString]) -> Vec<String> {
    let bare = OsStr::new("--client-secret");
    let shown =
        |argument: &OsString| argument == bare || argument.to_string_lossy().starts_with("--client-secret=");
    let mut notices = Vec::new();
    if typed.iter().any(shown) {
        notices.push(
            "The client secret stands on the command line, where every user of this machine can read it; \
             set AZURE_CLIENT_SECRET instead."
                .to_owned(),
        );
    }
    notices
}

/// Where the verb stands: the first word that is neither a global flag nor its value.
pub(super) fn verb_position(typed: &[OsString]) -> Option<usize> {
    let mut position = 1;
    while let Some(argument) = typed.get(position) {
        let text = argument.to_str()?;
        if !text.starts_with('-') {
            return Some(position);
        }
        position += if TAKE_A_VALUE.contains(&text) { 2 } else { 1 };
    }
    None
}

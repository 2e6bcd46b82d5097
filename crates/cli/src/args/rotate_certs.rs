//! `rotate-certs`: the flags of `aks-engine rotate-certs`, and what they mean.
//!
//! Two levels, as the flags were typed and as they are meant: [`RotateCertsArgs`] is what clap reads,
//! [`RotateCertsArgs::validate`] makes [`Validated`] of it with the ancestor's rules and in its order; those about Azure
//! are in `azure.rs`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use secrecy::SecretString;

use super::ancestor::Ancestor;
use super::azure;
use super::cloud::CloudArgs;
use super::common::{DecisionArgs, KeyArgs, KeySource, StateArgs};
use crate::errors::{CliError, Kind};

/// Arguments of `rotate-certs`.
#[derive(Debug, Args)]
pub(crate) struct RotateCertsArgs {
    /// Azure location of the cluster, as in its apimodel
    #[arg(short, long, value_name = "LOCATION", help_heading = REQUIRED)]
    pub(crate) location: String,
    /// Resource group of the cluster
    #[arg(short = 'g', long, value_name = "NAME", help_heading = REQUIRED)]
    pub(crate) resource_group: String,
    /// The apimodel.json that was generated for the cluster
    #[arg(short = 'm', long, value_name = "FILE", help_heading = REQUIRED)]
    pub(crate) api_model: PathBuf,
    /// Name or address of the SSH host through which all nodes are reached
    #[arg(long, value_name = "HOST", help_heading = REQUIRED)]
    pub(crate) ssh_host: String,
    /// With what to log in.
    #[command(flatten, next_help_heading = REQUIRED_KEY)]
    pub(crate) key: KeyArgs,

    /// JSON file with the new certificates, in either known shape; without it they are made
    #[arg(long, value_name = "FILE", help_heading = COURSE)]
    pub(crate) certificate_profile: Option<PathBuf>,
    /// Go on where the API server does not answer, or certificates have ended: the cluster is brought back over SSH
    #[arg(long, help_heading = COURSE)]
    pub(crate) force: bool,

    /// Subscription of the cluster; without it, the Azure CLI's
    #[arg(short, long, value_name = "UUID", help_heading = AZURE)]
    pub(crate) subscription_id: Option<String>,
    /// Azure cloud, in any case
    #[arg(long, value_enum, ignore_case = true, default_value_t = AzureEnvironment::AzurePublicCloud, value_name = "CLOUD", help_heading = AZURE)]
    pub(crate) azure_env: AzureEnvironment,
    /// How to prove who calls [default: client_secret as aks-engine-azurestack has it, and for clusters of Kubernetes
    /// 1.25 and later; cli as aks-engine has it, and for all others]
    #[arg(long, value_enum, value_name = "METHOD", help_heading = AZURE)]
    pub(crate) auth_method: Option<AuthMethod>,
    /// Language of Azure's messages
    #[arg(long, value_name = "TAG", default_value = "en-us", help_heading = AZURE)]
    pub(crate) language: String,

    /// Client id of the service principal; with client_certificate too
    #[arg(long, value_name = "UUID", help_heading = SECRET)]
    pub(crate) client_id: Option<String>,
    /// Client secret of the service principal; better set in the environment, since others can read command lines
    #[arg(
        long,
        value_name = "SECRET",
        env = "AZURE_CLIENT_SECRET",
        hide_env_values = true,
        allow_hyphen_values = true,
        value_parser = secret,
        help_heading = SECRET
    )]
    pub(crate) client_secret: Option<SecretString>,
    /// Certificate of the service principal, PEM
    #[arg(long, value_name = "FILE", help_heading = CERTIFICATE)]
    pub(crate) certificate_path: Option<PathBuf>,
    /// Private key of the service principal, PEM
    #[arg(long, value_name = "FILE", help_heading = CERTIFICATE)]
    pub(crate) private_key_path: Option<PathBuf>,
    /// Who issues tokens there
    #[arg(long, value_enum, default_value_t = IdentitySystem::AzureAd, value_name = "SYSTEM", help_heading = STACK)]
    pub(crate) identity_system: IdentitySystem,

    /// Port of the SSH host; without it the port that the ancestor takes: 22, or 50001 where the masters are a scale set
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), help_heading = BEYOND)]
    pub(crate) ssh_port: Option<u16>,
    /// User on the SSH host and the nodes; without it, the administrator named in the apimodel
    #[arg(long, value_name = "USER", help_heading = BEYOND)]
    pub(crate) ssh_user: Option<String>,
    /// Host keys of the SSH host and the nodes; keys met for the first time are added to it
    #[arg(long, value_name = "FILE", help_heading = BEYOND)]
    pub(crate) known_hosts: Option<PathBuf>,
    /// Azure, beyond what the ancestor takes.
    #[command(flatten)]
    pub(crate) cloud: CloudArgs,
    /// What is decided beforehand.
    #[command(flatten)]
    pub(crate) decisions: DecisionArgs,
    /// Where the run is recorded.
    #[command(flatten)]
    pub(crate) state: StateArgs,
    /// Make the plan wrong in this way, and skip the check
    #[cfg(feature = "wrong-plans")]
    #[arg(long, value_name = "NAME", hide = true)]
    pub(crate) break_plan: Option<kubecert_core::testing::wrong::Mutation>,
    /// The program by whose name ours was called.
    #[arg(skip)]
    pub(crate) called_as: Option<Ancestor>,
}

/// Headings of the help: what is required, and what depends on what.
const REQUIRED: &str = "Required";
const REQUIRED_KEY: &str = "Required: a private key, or an agent that holds one";
const COURSE: &str = "What is done";
const AZURE: &str = "Azure, which is asked nothing if nothing is given here or below";
const SECRET: &str = "With --auth-method client_secret";
const CERTIFICATE: &str = "With --auth-method client_certificate (and --client-id)";
const STACK: &str = "With --azure-env AzureStackCloud";
const BEYOND: &str = "Beyond the ancestor's";

/// What the flags mean, once those of the ancestor's rules have been applied that need no other file's content.
#[derive(Debug)]
pub(crate) struct Validated {
    /// The location in lower case, without spaces.
    pub(crate) location: String,
    /// The SSH host, without a port.
    pub(crate) ssh_host: String,
    /// Where the private key is.
    pub(crate) key: KeySource,
}

impl RotateCertsArgs {
    /// Applies the ancestor's first rules (its `validateArgs`), in its order; the first that is broken is the error.
    ///
    /// Nothing is touched. Where the ancestor makes `_rotate_certs_output` at this point, this only sees to it that it
    /// can be made, so that a refused run leaves nothing behind.
    pub(crate) fn validate(&self) -> Result<Validated, CliError> {
        let wrong = |message: String| CliError::new(Kind::Usage, message);
        let location: String = self.location.to_lowercase().split_whitespace().collect();
        if location.is_empty() {
            return Err(wrong("--location is empty".to_owned()));
        }
        let ssh_host = self.ssh_host.trim();
        if ssh_host.is_empty() {
            return Err(wrong("--ssh-host is empty".to_owned()));
        }
        if names_a_port(ssh_host) {
            return Err(
                wrong(format!("--ssh-host {ssh_host} names a port")).hint("Give the port with --ssh-port.")
            );
        }
        let key = self.key.source()?;
        if let KeySource::File { path, .. } = &key {
            is_file("--linux-ssh-private-key", path)?;
        }
        is_file("--api-model", &self.api_model)?;
        if let Some(profile) = &self.certificate_profile {
            is_file("--certificate-profile", profile)?;
        }
        can_hold_output(&self.api_model)?;
        Ok(Validated { location, ssh_host: ssh_host.to_owned(), key })
    }

    /// Applies the ancestor's rules for the arguments that are about Azure (its `validateAuthArgs`), which come once the
    /// model has been read; `version` is the model's version of Kubernetes. Gives how to prove who calls, or nothing where
    /// Azure is not to be asked.
    pub(crate) fn azure(&self, version: &str) -> Result<Option<AuthMethod>, CliError> {
        let ancestor = self.called_as.unwrap_or_else(|| Ancestor::of_version(version));
        azure::meant(self, ancestor)
    }
}

/// Sees to it that a file is there. Whether it can be read shows when it is.
fn is_file(flag: &str, path: &Path) -> Result<(), CliError> {
    if path.as_os_str().is_empty() {
        return Err(CliError::new(Kind::Usage, format!("{flag} is empty")));
    }
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            Err(CliError::new(Kind::Usage, format!("{flag}: {} is a directory, not a file", path.display())))
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(CliError::new(Kind::Usage, format!("{flag}: {} does not exist", path.display())))
        }
        Err(error) => {
            Err(CliError::because(Kind::Input, format!("{flag}: {} cannot be used", path.display()), error))
        }
    }
}

/// Sees to it that `_rotate_certs_output` can be made beside the model, or can be used if it is there.
fn can_hold_output(model: &Path) -> Result<(), CliError> {
    let beside = model.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let output = beside.join("_rotate_certs_output");
    let about = |error| {
        CliError::because(
            Kind::Input,
            format!("cannot keep the new certificates in {}", output.display()),
            error,
        )
        .hint("The new apimodel.json and its files are written beside the old one; give write access there.")
    };
    match std::fs::read_dir(&output) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A directory of a name of our own, gone again at once, shows that others can be made there.
            tempfile::Builder::new().prefix(".rotate_certs_").tempdir_in(beside).map(drop).map_err(about)
        }
        Err(error) => Err(about(error)),
    }
}

/// A cloud of Azure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
#[expect(clippy::enum_variant_names, reason = "these are their names")]
pub(crate) enum AzureEnvironment {
    /// Azure
    AzurePublicCloud,
    /// Azure in China
    AzureChinaCloud,
    /// Azure for the US government
    #[value(name = "AzureUSGovernmentCloud")]
    AzureUsGovernmentCloud,
    /// Azure in Germany, which has ended
    AzureGermanCloud,
    /// Azure Stack Hub
    AzureStackCloud,
}

impl std::fmt::Display for AzureEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| f.write_str(value.get_name()))
    }
}

/// How to prove to Azure who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum AuthMethod {
    /// The Azure CLI's session
    Cli,
    /// A service principal's secret
    ClientSecret,
    /// A service principal's certificate
    ClientCertificate,
    /// A code typed in a browser
    Device,
}

/// Who issues tokens on Azure Stack Hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum IdentitySystem {
    /// Microsoft Entra ID
    AzureAd,
    /// Active Directory Federation Services
    Adfs,
}

/// Takes a secret in. It never fails, so that no error message can show the value.
#[expect(clippy::unnecessary_wraps, reason = "clap wants a Result from a value parser")]
fn secret(text: &str) -> Result<SecretString, std::convert::Infallible> {
    Ok(SecretString::from(text))
}

/// Whether a port follows: `host:22`, `[::1]:22`, but not `::1`.
fn names_a_port(host: &str) -> bool {
    host.starts_with('[') || host.matches(':').count() == 1
}

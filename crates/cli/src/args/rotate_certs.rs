//! `rotate-certs`: the flags of `aks-engine rotate-certs`, and what they mean.
//!
//! Two levels, as the flags were typed and as they are meant: [`RotateCertsArgs`] is what clap reads,
//! [`RotateCertsArgs::validate`] makes [`Validated`] of it with the ancestor's rules and in its order.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret as _, SecretString};

use super::cloud::CloudArgs;
use super::common::{DecisionArgs, StateArgs};
use crate::errors::{CliError, Kind};

/// Arguments of `rotate-certs`.
#[derive(Debug, Args)]
pub(crate) struct RotateCertsArgs {
    /// Azure location of the cluster, as in its apimodel
    #[arg(short, long, value_name = "LOCATION", help_heading = "Cluster")]
    pub(crate) location: String,
    /// Resource group of the cluster
    #[arg(short = 'g', long, value_name = "NAME", help_heading = "Cluster")]
    pub(crate) resource_group: String,
    /// The apimodel.json that was generated for the cluster
    #[arg(short = 'm', long, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) api_model: PathBuf,
    /// JSON file with the new certificates, in either known shape; without it they are made
    #[arg(long, value_name = "FILE", help_heading = "Cluster")]
    pub(crate) certificate_profile: Option<PathBuf>,
    /// Accepted as the ancestor's; no check is skipped
    #[arg(long, help_heading = "Cluster")]
    pub(crate) force: bool,

    /// Name or address of the SSH host through which all nodes are reached
    #[arg(long, value_name = "HOST", help_heading = "SSH")]
    pub(crate) ssh_host: String,
    /// Private key for the SSH host and the nodes
    #[arg(long, value_name = "FILE", help_heading = "SSH")]
    pub(crate) linux_ssh_private_key: PathBuf,

    /// Subscription of the cluster
    #[arg(short, long, value_name = "UUID", help_heading = "Azure")]
    pub(crate) subscription_id: Option<String>,
    /// Azure cloud, in any case
    #[arg(long, value_enum, ignore_case = true, default_value_t = AzureEnvironment::AzurePublicCloud, value_name = "CLOUD", help_heading = "Azure")]
    pub(crate) azure_env: AzureEnvironment,
    /// How to prove who calls; cli with a client id and secret means client_secret
    #[arg(long, value_enum, default_value_t = AuthMethod::Cli, value_name = "METHOD", help_heading = "Azure")]
    pub(crate) auth_method: AuthMethod,
    /// Client id of the service principal
    #[arg(long, value_name = "UUID", help_heading = "Azure")]
    pub(crate) client_id: Option<String>,
    /// Client secret of the service principal; better set in the environment, since others can read command lines
    #[arg(
        long,
        value_name = "SECRET",
        env = "AZURE_CLIENT_SECRET",
        hide_env_values = true,
        allow_hyphen_values = true,
        value_parser = secret,
        help_heading = "Azure"
    )]
    pub(crate) client_secret: Option<SecretString>,
    /// Certificate of the service principal, PEM
    #[arg(long, value_name = "FILE", help_heading = "Azure")]
    pub(crate) certificate_path: Option<PathBuf>,
    /// Private key of the service principal, PEM
    #[arg(long, value_name = "FILE", help_heading = "Azure")]
    pub(crate) private_key_path: Option<PathBuf>,
    /// Identity system, which only Azure Stack Hub asks for
    #[arg(long, value_enum, default_value_t = IdentitySystem::AzureAd, value_name = "SYSTEM", help_heading = "Azure")]
    pub(crate) identity_system: IdentitySystem,
    /// Language of Azure's messages
    #[arg(long, value_name = "TAG", default_value = "en-us", help_heading = "Azure")]
    pub(crate) language: String,

    /// Port of the SSH host; without it the port that the ancestor takes
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), help_heading = "Beyond the ancestor's")]
    pub(crate) ssh_port: Option<u16>,
    /// User on the SSH host and the nodes; without it, the administrator named in the apimodel
    #[arg(long, value_name = "USER", help_heading = "Beyond the ancestor's")]
    pub(crate) ssh_user: Option<String>,
    /// Host keys of the SSH host and the nodes; keys met for the first time are added to it
    #[arg(long, value_name = "FILE", help_heading = "Beyond the ancestor's")]
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
}

/// What the flags mean, once the ancestor's rules have been applied.
#[derive(Debug)]
pub(crate) struct Validated {
    /// The location in lower case, without spaces.
    pub(crate) location: String,
    /// The SSH host, without a port.
    pub(crate) ssh_host: String,
}

impl RotateCertsArgs {
    /// Applies the ancestor's rules, in its order; the first that is broken is the error.
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
        let files = [
            ("--linux-ssh-private-key", Some(&self.linux_ssh_private_key)),
            ("--api-model", Some(&self.api_model)),
            ("--certificate-profile", self.certificate_profile.as_ref()),
        ];
        for (flag, path) in files.into_iter().filter_map(|(flag, path)| Some((flag, path?))) {
            if path.as_os_str().is_empty() {
                return Err(wrong(format!("{flag} is empty")));
            }
            if !path.exists() {
                return Err(wrong(format!("{flag}: {} does not exist", path.display())));
            }
        }
        let method = self.meant_auth_method()?;
        if self.azure_env == AzureEnvironment::AzureStackCloud
            && matches!(method, AuthMethod::Cli | AuthMethod::Device)
        {
            return Err(wrong("--auth-method cli and device do not work with AzureStackCloud".to_owned())
                .hint("Use client_secret or client_certificate."));
        }
        Ok(Validated { location, ssh_host: ssh_host.to_owned() })
    }

    /// The method that the flags come to.
    pub(crate) fn meant_auth_method(&self) -> Result<AuthMethod, CliError> {
        let wrong = |message: &str| Err(CliError::new(Kind::Usage, message));
        let secret = self.client_secret.as_ref().is_some_and(|secret| !secret.expose_secret().is_empty());
        let client = self.client_id.as_deref().filter(|id| !id.is_empty());
        let method = match self.auth_method {
            AuthMethod::Cli if secret && client.is_some() => AuthMethod::ClientSecret,
            method => method,
        };
        if matches!(method, AuthMethod::ClientSecret | AuthMethod::ClientCertificate)
            && !client.is_some_and(is_uuid)
        {
            return wrong(
                "--client-id must be a UUID with --auth-method client_secret or client_certificate",
            );
        }
        match method {
            AuthMethod::ClientSecret if !secret => {
                wrong("--client-secret, or AZURE_CLIENT_SECRET, is required with --auth-method client_secret")
            }
            AuthMethod::ClientCertificate
                if self.certificate_path.is_none() || self.private_key_path.is_none() =>
            {
                wrong(
                    "--certificate-path and --private-key-path are required with --auth-method client_certificate",
                )
            }
            _ => Ok(method),
        }
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

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

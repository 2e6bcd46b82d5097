//! What the arguments that are about Azure mean.
//!
//! A rotation needs no call to Azure, so whoever gives nothing of this is asked for nothing, and Azure is not either.
//! Whoever gives something means it: then all of it must be right, by the ancestor's rules and in their order.

use std::path::PathBuf;

use secrecy::ExposeSecret as _;

use super::ancestor::Ancestor;
use super::rotate_certs::{AuthMethod, AzureEnvironment, RotateCertsArgs};
use crate::errors::{CliError, Kind};

/// Applies the rules; the first that is broken is the error. Nothing where Azure is not to be asked.
pub(super) fn meant(args: &RotateCertsArgs, ancestor: Ancestor) -> Result<Option<AuthMethod>, CliError> {
    if !is_meant(args) {
        return Ok(None);
    }
    let method = method(args, ancestor)?;
    if args.azure_env == AzureEnvironment::AzureStackCloud
        && matches!(method, AuthMethod::Cli | AuthMethod::Device)
    {
        let name = if method == AuthMethod::Cli { "cli" } else { "device" };
        let message =
            format!("--auth-method {name} does not work on Azure Stack Hub (--azure-env AzureStackCloud)");
        return Err(usage(message).hint(
            "Take client_secret or client_certificate, with --identity-system azure_ad or adfs; or leave out all that is \
             about Azure, which is asked nothing then.",
        ));
    }
    Ok(Some(method))
}

/// Whether anything about Azure was given, but for what scripts give in any case.
fn is_meant(args: &RotateCertsArgs) -> bool {
    args.auth_method.is_some()
        || args.subscription_id.is_some()
        || args.client_id.is_some()
        || args.certificate_path.is_some()
        || args.private_key_path.is_some()
        || args.cloud.reboot
        || args.cloud.azure_root_certificate.is_some()
}

/// The method that the arguments come to.
fn method(args: &RotateCertsArgs, ancestor: Ancestor) -> Result<AuthMethod, CliError> {
    let secret = args.client_secret.as_ref().is_some_and(|secret| !secret.expose_secret().is_empty());
    let client = args.client_id.as_deref().filter(|id| !id.is_empty());
    let usual = match ancestor {
        Ancestor::AksEngine => AuthMethod::Cli,
        Ancestor::AksEngineAzureStack => AuthMethod::ClientSecret,
    };
    let method = match args.auth_method.unwrap_or(usual) {
        AuthMethod::Cli if secret && client.is_some() => AuthMethod::ClientSecret,
        method => method,
    };
    let named = match method {
        AuthMethod::ClientSecret => "client_secret",
        AuthMethod::ClientCertificate => "client_certificate",
        AuthMethod::Cli | AuthMethod::Device => return Ok(method),
    };
    let because = if args.auth_method.is_none() { ", which is the default here" } else { "" };
    if !client.is_some_and(is_uuid) {
        let message = format!("--client-id must be a UUID with --auth-method {named}{because}");
        return Err(usage(message));
    }
    let given = |path: &Option<PathBuf>| path.as_ref().is_some_and(|path| !path.as_os_str().is_empty());
    match method {
        AuthMethod::ClientSecret if !secret => Err(usage(format!(
            "--client-secret, or AZURE_CLIENT_SECRET, is required with --auth-method {named}{because}"
        ))),
        AuthMethod::ClientCertificate if !given(&args.certificate_path) || !given(&args.private_key_path) => {
            Err(usage(format!(
                "--certificate-path and --private-key-path are required with --auth-method {named}"
            )))
        }
        _ => Ok(method),
    }
}

fn usage(message: String) -> CliError {
    CliError::new(Kind::Usage, message)
}

fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

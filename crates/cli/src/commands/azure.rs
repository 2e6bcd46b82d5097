//! Azure, as `rotate-certs` is told about it by its flags, the environment and the Azure CLI's files.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kubecert_cloud::apimodel::{ApiModel, CustomCloud};
use kubecert_cloud::azure::{
    Azure, AzureConfig, AzureError, ClientCertificate, Cloud, Credential, HttpConfig, IdentitySystem,
    Proxies, Registration, compare, discovery, subscription,
};
use kubecert_engine::ports::{Machines as _, PortError};
use kubecert_pki::parse_pem_certificates;
use secrecy::SecretString;

use super::target::port_error;
use crate::args::{AuthMethod, AzureEnvironment, IdentitySystem as IdentityArg, RotateCertsArgs};
use crate::errors::{CliError, Kind};

/// Everything that is needed to call Azure, from files and flags alone.
pub(crate) struct Prepared {
    /// The cloud, or the description of a stack whose endpoints may have to be asked for.
    place: Place,
    subscription: String,
    resource_group: String,
    identity: IdentitySystem,
    credential: Credential,
    http: HttpConfig,
    /// What the operator should know.
    pub(crate) notices: Vec<String>,
}

enum Place {
    Known(Cloud),
    Stack(CustomCloud),
}

impl Prepared {
    /// Reads what the flags name. Nothing is called.
    pub(crate) fn read(
        args: &RotateCertsArgs,
        method: AuthMethod,
        model: &ApiModel,
    ) -> Result<Self, CliError> {
        let mut notices = Vec::new();
        let subscription = match args.subscription_id.as_deref().filter(|id| subscription::is_usable(id)) {
            Some(id) => id.to_owned(),
            None => {
                let id = subscription_of_cli()?;
                notices.push(format!("The subscription is the Azure CLI's: {id}."));
                id
            }
        };
        let place = match args.azure_env {
            AzureEnvironment::AzureStackCloud => Place::Stack(stack(model)?),
            named => Place::Known(
                Cloud::built_in(&named.to_string()).map_err(|error| CliError::new(Kind::Usage, error))?,
            ),
        };
        if model.custom_cloud().is_some() && args.azure_env != AzureEnvironment::AzureStackCloud {
            notices.push(format!(
                "The api model is of an Azure Stack Hub, and --azure-env is {}: that is where its machines are looked for.",
                args.azure_env
            ));
        }
        let identity = match (args.azure_env, args.identity_system) {
            // Only a stack is asked who issues its tokens.
            (AzureEnvironment::AzureStackCloud, IdentityArg::Adfs) => IdentitySystem::AdFs,
            _ => IdentitySystem::EntraId,
        };
        let credential = credential(args, method, &subscription)?;
        let http = HttpConfig {
            roots: args.cloud.azure_root_certificate.as_deref().map(roots).transpose()?.unwrap_or_default(),
            proxies: proxies(),
            language: args.language.clone(),
            ..HttpConfig::default()
        };
        let resource_group = args.resource_group.clone();
        Ok(Self { place, subscription, resource_group, identity, credential, http, notices })
    }

    /// Gets a token and sees whether Azure lets us in.
    pub(crate) async fn connect(self, registration: Registration) -> Result<Azure, CliError> {
        let cloud = match self.place {
            Place::Known(cloud) => cloud,
            Place::Stack(custom) => discovery::stack(&custom, &self.http).await.map_err(azure_error)?,
        };
        let config = AzureConfig {
            cloud,
            subscription: self.subscription,
            resource_group: self.resource_group,
            identity: self.identity,
            credential: self.credential,
            http: self.http,
        };
        Azure::connect(&config, registration).await.map_err(azure_error)
    }
}

/// Compares the model's machines with those that Azure has; gives what is worth knowing and no reason to stop.
///
/// With `force` a master that is missing or stopped is no reason either: what can be done is done.
pub(crate) async fn check(azure: &Azure, model: &ApiModel, force: bool) -> Result<Vec<String>, CliError> {
    let machines = azure.list().await.map_err(port_error)?;
    let (fatal, known): (Vec<_>, Vec<_>) = compare::differences(model, &machines)
        .into_iter()
        .partition(|difference| difference.is_fatal() && !force);
    if fatal.is_empty() {
        return Ok(known.into_iter().map(|difference| sentence(&difference.to_string())).collect());
    }
    let error = CliError::new(Kind::Cluster, "the cluster's machines are not as its api model says");
    Err(fatal.into_iter().fold(error, |error, difference| error.hint(sentence(&difference.to_string()))))
}

/// A fragment as a sentence.
fn sentence(fragment: &str) -> String {
    let mut letters = fragment.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).chain(['.']).collect())
}

fn azure_error(error: AzureError) -> CliError {
    port_error(PortError::from(error))
}

/// The subscription that the Azure CLI is set to, as the ancestor finds it.
fn subscription_of_cli() -> Result<String, CliError> {
    let home = env::var_os("HOME").map(|home| PathBuf::from(home).join(".azure"));
    let read = |name: &str| fs::read_to_string(home.as_ref()?.join(name)).ok();
    let cloud = subscription::cloud_name(read("config").as_deref());
    read("clouds.config").and_then(|clouds| subscription::of_cloud(&clouds, &cloud)).ok_or_else(|| {
        CliError::new(Kind::Usage, "--subscription-id is required, and must be a UUID")
            .hint("`az account set --subscription UUID` sets one for the Azure CLI, which is taken where the flag is not given.")
    })
}

/// The stack that the model describes, or else the file that the ancestor's environment variable names.
fn stack(model: &ApiModel) -> Result<CustomCloud, CliError> {
    if let Some(custom) = model.custom_cloud() {
        return Ok(custom.clone());
    }
    let path = env::var_os("AZURE_ENVIRONMENT_FILEPATH").map(PathBuf::from).ok_or_else(|| {
        CliError::new(Kind::Input, "the api model does not say where this Azure Stack Hub is")
            .hint("Use the apimodel.json that was generated when the cluster was deployed: it has a customCloudProfile.")
    })?;
    let about = || format!("cannot use {} (AZURE_ENVIRONMENT_FILEPATH)", path.display());
    let bytes = fs::read(&path).map_err(|error| CliError::because(Kind::Input, about(), error))?;
    CustomCloud::from_environment(&bytes).map_err(|error| CliError::because(Kind::Input, about(), error))
}

fn credential(
    args: &RotateCertsArgs,
    method: AuthMethod,
    subscription: &str,
) -> Result<Credential, CliError> {
    let client = args.client_id.clone().unwrap_or_default();
    Ok(match method {
        AuthMethod::ClientSecret => {
            let secret = args.client_secret.clone().unwrap_or_else(|| SecretString::from(""));
            Credential::Secret { client, secret }
        }
        AuthMethod::ClientCertificate => {
            let read = |flag: &str, path: Option<&PathBuf>| {
                let path = path.cloned().unwrap_or_default();
                fs::read_to_string(&path).map_err(|error| {
                    CliError::because(Kind::Input, format!("{flag}: cannot read {}", path.display()), error)
                })
            };
            let certificate = read("--certificate-path", args.certificate_path.as_ref())?;
            let key = SecretString::from(read("--private-key-path", args.private_key_path.as_ref())?);
            let certificate =
                ClientCertificate::from_pem(&certificate, secrecy::ExposeSecret::expose_secret(&key))
                    .map_err(|error| {
                        CliError::because(
                            Kind::Input,
                            "cannot use the service principal's certificate",
                            error,
                        )
                    })?;
            Credential::Certificate { client, certificate: Arc::new(certificate) }
        }
        AuthMethod::Cli => {
            Credential::Cli { program: PathBuf::from("az"), subscription: subscription.to_owned() }
        }
        AuthMethod::Device => {
            Credential::device(&args.azure_env.to_string(), Arc::new(|what: &str| eprintln!("{what}")))
        }
    })
}

fn roots(path: &Path) -> Result<Vec<Vec<u8>>, CliError> {
    let about = || format!("--azure-root-certificate: cannot use {}", path.display());
    let pem = fs::read(path).map_err(|error| CliError::because(Kind::Input, about(), error))?;
    let roots =
        parse_pem_certificates(pem).map_err(|error| CliError::because(Kind::Input, about(), error))?;
    Ok(roots.into_iter().map(|root| root.der().to_vec()).collect())
}

/// Proxies as the environment names them, in either case; curl's rules.
fn proxies() -> Proxies {
    let set = |names: &[&str]| {
        names.iter().find_map(|name| env::var(name).ok().filter(|value| !value.trim().is_empty()))
    };
    Proxies {
        https: set(&["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]),
        except: set(&["NO_PROXY", "no_proxy"]),
    }
}

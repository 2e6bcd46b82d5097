//! Asking an Azure Stack Hub where its endpoints are.
//!
//! The ancestor does this when it generates a model and writes the answer into it; a rotation is done with that model.
//! A model that lacks an endpoint is completed in the same way: `GET <resource manager>/metadata/endpoints`, without a
//! token, from which the login endpoint and the first audience are taken (§ "metadata discovery" of the ancestor's
//! `defaults-custom-cloud-profile.go`; the shape of the answer is documented, not recorded).

use std::time::Duration;

use kubecert_engine::ports::Fault;
use serde::Deserialize;

use super::cloud::{Cloud, CloudKind, STACK, endpoint};
use super::error::AzureError;
use super::http::{Http, HttpConfig, Repeat};
use crate::apimodel::CustomCloud;

/// How long the metadata endpoint may take; the ancestor gives it as long.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The endpoints of the stack that a model describes: the model's where it has them all, otherwise the stack's own.
///
/// # Errors
///
/// [`AzureError`] when neither the model nor the stack tells, or an endpoint is not over TLS.
pub async fn stack(custom: &CustomCloud, http: &HttpConfig) -> Result<Cloud, AzureError> {
    let unusable = |error| {
        AzureError::new(Fault::Refused, "cannot tell where this Azure Stack Hub is", error)
            .remedy("Use the apimodel.json that was generated when the cluster was deployed.")
    };
    if let Some(cloud) = Cloud::of_model(custom).map_err(unusable)? {
        return Ok(cloud);
    }
    let resource_manager = Cloud::resource_manager_of(custom).map_err(unusable)?;
    discover(&resource_manager, http).await
}

/// Asks the metadata endpoint below a Resource Manager.
///
/// # Errors
///
/// [`AzureError`] when it does not answer in time, or answers something else.
pub async fn discover(resource_manager: &str, config: &HttpConfig) -> Result<Cloud, AzureError> {
    let http = Http::new(config)?;
    let what = format!("cannot ask {resource_manager} for its endpoints");
    let url = format!("{resource_manager}metadata/endpoints");
    let request = || http.client.get(&url).query(&[("api-version", "1.0")]).timeout(PATIENCE);
    let answer = http.send(&what, Repeat::Always, request).await?;
    let odd = |why: &str| {
        AzureError::new(Fault::Unexpected, what.clone(), why)
            .remedy("Check that resourceManagerEndpoint (or portalURL) in the api model is this stack's.")
    };
    if answer.status != 200 {
        return Err(odd(&format!("it answers {}", answer.status)).status(answer.status));
    }
    let metadata: Metadata =
        serde_json::from_slice(&answer.body).map_err(|error| odd(&format!("the answer is odd: {error}")))?;
    let audience = metadata.authentication.audiences.into_iter().find(|audience| !audience.is_empty());
    let login = endpoint(&metadata.authentication.login_endpoint, "loginEndpoint")
        .map_err(|error| odd(&error.to_string()))?;
    Ok(Cloud {
        name: STACK.to_owned(),
        kind: CloudKind::StackHub,
        resource_manager: resource_manager.to_owned(),
        login,
        audience: audience.ok_or_else(|| odd("the answer names no audience"))?,
    })
}

/// What is used of the answer.
#[derive(Deserialize)]
struct Metadata {
    authentication: Authentication,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authentication {
    login_endpoint: String,
    #[serde(default)]
    audiences: Vec<String>,
}

//! The administrator's kubeconfig, as the ancestor writes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use thiserror::Error;

use super::error::ApiModelError;
use super::machines::AadProfile;
use super::model::ApiModel;
use super::profile::{CertificateProfile, Entry};

impl ApiModel {
    /// The text of `kubeconfig/kubeconfig.<location>.json` for the PKI of `profile`, byte for byte as the ancestor's.
    ///
    /// Where people log in through Azure Active Directory it holds no client certificate but says how to do that. Such a
    /// kubeconfig is for people; what the masters themselves have is of another kind, and stays so.
    ///
    /// # Errors
    ///
    /// [`KubeconfigError`] when the profile lacks a part of it, or the location is unknown.
    pub fn kubeconfig(&self, profile: &CertificateProfile) -> Result<SecretString, KubeconfigError> {
        let missing = |key| KubeconfigError::Missing { key };
        let certificate =
            |entry: Entry| profile.certificate(entry).ok_or_else(|| missing(entry.certificate_key()));
        let roots = certificate(Entry::Ca)?;
        if let Some(aad) = self.aad() {
            return Ok(self.kubeconfig_with(roots, &self.login(aad)?)?);
        }
        let user = Entry::KubeConfig;
        let key = profile.private_key(user).ok_or_else(|| missing(user.private_key_key()))?;
        Ok(self.kubeconfig_of(roots, certificate(user)?, key)?)
    }

    /// How a user logs in through Azure Active Directory, as the ancestor tells `kubectl`.
    fn login(&self, aad: &AadProfile) -> Result<String, ApiModelError> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let cloud = match self.custom_cloud_suffix() {
            Some(_) => "AzureStackCloud",
            None => self.location().ok_or(ApiModelError::LocationUnknown)?.cloud(),
        };
        let tenant = if aad.tenant.is_empty() { "common" } else { &aad.tenant };
        Ok(format!(
            r#"{{"auth-provider":{{"name":"azure","config":{{"environment":{},"tenant-id":{},"apiserver-id":{},"client-id":{}}}}}}}"#,
            quoted(cloud),
            quoted(tenant),
            quoted(&aad.server_app),
            quoted(&aad.client_app)
        ))
    }

    /// A kubeconfig with a client certificate and other contents: `roots` and `chain` may be several certificates each.
    ///
    /// # Errors
    ///
    /// [`ApiModelError::LocationUnknown`] when the server's name cannot be told.
    pub fn kubeconfig_of(
        &self,
        roots: &str,
        chain: &str,
        private_key: &SecretString,
    ) -> Result<SecretString, ApiModelError> {
        let user = format!(
            r#"{{"client-certificate-data":"{}","client-key-data":"{}"}}"#,
            STANDARD.encode(chain),
            STANDARD.encode(private_key.expose_secret())
        );
        self.kubeconfig_with(roots, &user)
    }

    fn kubeconfig_with(&self, roots: &str, credentials: &str) -> Result<SecretString, ApiModelError> {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let prefix = &self.masters().dns_prefix;
        let text = format!(
            r#"    {{
        "apiVersion": "v1",
        "clusters": [
            {{
                "cluster": {{
                    "certificate-authority-data": "{roots}",
                    "server": {server}
                }},
                "name": {name}
            }}
        ],
        "contexts": [
            {{
                "context": {{
                    "cluster": {name},
                    "user": {user}
                }},
                "name": {name}
            }}
        ],
        "current-context": {name},
        "kind": "Config",
        "users": [
            {{
                "name": {user},
                "user": {credentials}
            }}
        ]
    }}
"#,
            roots = STANDARD.encode(roots),
            server = quoted(&self.server_url()?),
            name = quoted(prefix),
            user = quoted(&format!("{prefix}-admin")),
        );
        Ok(text.into())
    }

    /// The URL of the API in kubeconfigs.
    ///
    /// A private cluster is reached by address: the internal load balancer's, or the only master's.
    ///
    /// # Errors
    ///
    /// [`ApiModelError::LocationUnknown`] when the public name cannot be told.
    pub fn server_url(&self) -> Result<String, ApiModelError> {
        let host = match (self.kubernetes().private_cluster, self.masters().count) {
            (false, _) => self.fqdn()?,
            (true, 1) => self.masters().first_ip.to_string(),
            (true, _) => self.internal_load_balancer_ip().to_string(),
        };
        Ok(format!("https://{host}"))
    }
}

/// Why there is no kubeconfig.
#[derive(Debug, Error)]
pub enum KubeconfigError {
    /// The profile lacks a part of it.
    #[error("no {key} in the certificate profile for the kubeconfig; restore it from a backup")]
    Missing {
        /// The JSON key.
        key: String,
    },
    /// The model does not say where the cluster is.
    #[error(transparent)]
    Model(#[from] ApiModelError),
}

#[cfg(test)]
mod tests {
    use super::super::model::tests::{model, model_with_masters};
    use super::*;

    fn profile() -> CertificateProfile {
        CertificateProfile::default().with(Entry::Ca, "CA\n".to_owned(), "".into()).with(
            Entry::KubeConfig,
            "LEAF\n".to_owned(),
            "KEY\n".into(),
        )
    }

    #[test]
    fn it_is_json_with_inline_credentials() {
        let text = model("").kubeconfig(&profile()).unwrap();
        let json: serde_json::Value = serde_json::from_str(text.expose_secret()).unwrap();
        assert_eq!(json["current-context"], "synthazs");
        assert_eq!(json["users"][0]["name"], "synthazs-admin");
        assert_eq!(json["users"][0]["user"]["client-key-data"], "S0VZCg==");
        let server = &json["clusters"][0]["cluster"]["server"];
        assert_eq!(server, "https://synthazs.local.cloudapp.azurestack.external");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = model("").kubeconfig(&CertificateProfile::default()).unwrap_err().to_string();
        assert!(error.contains("no caCertificate"), "{error}");
    }

    #[test]
    fn those_who_log_in_elsewhere_get_no_certificate() {
        let aad = r#", "aadProfile": {"clientAppID": "c", "serverAppID": "s", "tenantID": "t"}"#;
        let user = |more: &str| {
            let text = model(more).kubeconfig(&profile()).unwrap();
            let json: serde_json::Value = serde_json::from_str(text.expose_secret()).unwrap();
            json["users"][0]["user"].clone()
        };
        let expected = r#"{"auth-provider":{"name":"azure","config":{"environment":"AzureStackCloud","tenant-id":"t","apiserver-id":"s","client-id":"c"}}}"#;
        assert_eq!(user(aad).to_string(), expected);
        assert_eq!(user(r#", "aadProfile": {}"#)["auth-provider"]["config"]["tenant-id"], "common");
    }

    #[test]
    fn private_clusters_are_reached_by_address() {
        let private = |masters: &str| {
            let text = model_with_masters(masters, "").text;
            let text =
                text.replace("\"serviceCidr\"", "\"privateCluster\": {\"enabled\": true}, \"serviceCidr\"");
            ApiModel::parse(text.as_bytes()).unwrap().server_url().unwrap()
        };
        let masters = r#"{"count": 3, "dnsPrefix": "a", "firstConsecutiveStaticIP": "10.1.2.5",
            "availabilityProfile": "AvailabilitySet"}"#;
        assert_eq!(private(masters), "https://10.1.2.15");
        assert_eq!(private(&masters.replace('3', "1")), "https://10.1.2.5");
    }
}

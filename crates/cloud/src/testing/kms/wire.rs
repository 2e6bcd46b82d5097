//! The messages of Kubernetes' KMS v2 API (`k8s.io/kms`, `apis/v2/api.proto`), written by hand as etcd's and the agents' are.
//! Annotations are not needed: unknown fields are skipped.

use prost::Message;

/// The methods, as they are called.
pub(super) mod method {
    pub(in super::super) const STATUS: &str = "/v2.KeyManagementService/Status";
    pub(in super::super) const ENCRYPT: &str = "/v2.KeyManagementService/Encrypt";
    pub(in super::super) const DECRYPT: &str = "/v2.KeyManagementService/Decrypt";
}

/// The version that [`StatusResponse::version`] has to name.
pub(super) const VERSION: &str = "v2";

/// What [`StatusResponse::healthz`] says where nothing is wrong; anything else is a failure's text.
pub(super) const OK: &str = "ok";

/// `v2.StatusRequest`.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct StatusRequest {}

/// `v2.StatusResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct StatusResponse {
    /// The API's version.
    #[prost(string, tag = "1")]
    pub version: String,
    /// `ok`, or why not.
    #[prost(string, tag = "2")]
    pub healthz: String,
    /// The key that encrypts now.
    #[prost(string, tag = "3")]
    pub key_id: String,
}

/// `v2.EncryptRequest`. What it has does not show in `Debug`.
#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub struct EncryptRequest {
    /// What is to be encrypted.
    #[prost(bytes = "vec", tag = "1")]
    pub plaintext: Vec<u8>,
    /// The request's id.
    #[prost(string, tag = "2")]
    pub uid: String,
}

/// `v2.EncryptResponse`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct EncryptResponse {
    /// It, encrypted; less than 1 kB.
    #[prost(bytes = "vec", tag = "1")]
    pub ciphertext: Vec<u8>,
    /// By which key.
    #[prost(string, tag = "2")]
    pub key_id: String,
}

/// `v2.DecryptRequest`.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct DecryptRequest {
    /// What is to be decrypted.
    #[prost(bytes = "vec", tag = "1")]
    pub ciphertext: Vec<u8>,
    /// The request's id.
    #[prost(string, tag = "2")]
    pub uid: String,
    /// By which key it was encrypted.
    #[prost(string, tag = "3")]
    pub key_id: String,
}

/// `v2.DecryptResponse`. What it has does not show in `Debug`.
#[derive(Clone, PartialEq, Eq, Message)]
#[prost(skip_debug)]
pub struct DecryptResponse {
    /// It, decrypted.
    #[prost(bytes = "vec", tag = "1")]
    pub plaintext: Vec<u8>,
}

macro_rules! without_content {
    ($($message:ident),*) => {$(
        impl std::fmt::Debug for $message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), "(..)"))
            }
        }
    )*};
}

without_content!(EncryptRequest, DecryptResponse);

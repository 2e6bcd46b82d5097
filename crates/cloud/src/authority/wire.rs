//! The messages of the agents' gRPC API that credentials need.
//!
//! Written by hand, as etcd's are in `crates/cluster`, so that nobody needs a protobuf compiler. Names and numbers are those of
//! the public definitions (`github.com/microsoft/moc`, folder `rpc`); unknown fields are skipped. What those definitions mark
//! as sensitive does not show in `Debug`.

use std::collections::HashMap;

use prost::Message;

/// `moc.Operation`, as far as it is used.
pub(super) mod operation {
    pub(crate) const GET: i32 = 0;
    pub(crate) const POST: i32 = 1;
    pub(crate) const DELETE: i32 = 2;
    pub(crate) const UPDATE: i32 = 3;
}

/// `moc.ProviderAccessOperation`, as far as it is used.
pub(super) mod access {
    pub(crate) const CERTIFICATE_SIGN: i32 = 204;
    pub(crate) const CERTIFICATE_RENEW: i32 = 205;
    pub(crate) const IDENTITY_REVOKE: i32 = 302;
    pub(crate) const IDENTITY_ROTATE: i32 = 303;
    pub(crate) const IDENTITY_CERTIFICATE_CREATE: i32 = 400;
    pub(crate) const IDENTITY_CERTIFICATE_RENEW: i32 = 402;
}

/// `GeneralAccessOperation`: what a role allows to be done to a kind of things.
pub(super) mod general {
    pub(crate) const READ: i32 = 1;
    pub(crate) const WRITE: i32 = 2;
    pub(crate) const DELETE: i32 = 3;
    pub(crate) const ALL: i32 = 4;
    /// What exactly stands in the action's provider operation.
    pub(crate) const PROVIDER_ACTION: i32 = 5;
}

/// `moc.ProviderType`, as far as it is used: kinds of things.
pub(super) mod provider {
    pub(crate) const ANY: i32 = 0;
    pub(crate) const CERTIFICATE: i32 = 9;
    pub(crate) const IDENTITY: i32 = 13;
    pub(crate) const ROLE: i32 = 14;
    pub(crate) const ROLE_ASSIGNMENT: i32 = 15;
    pub(crate) const HEALTH_MONITOR: i32 = 37;
}

/// `moc.HealthState`, as far as it is used.
pub(super) mod health {
    pub(crate) const OK: i32 = 1;
    pub(crate) const WARNING: i32 = 2;
    pub(crate) const CRITICAL: i32 = 3;
}

/// `CertificateType`.
pub(super) mod certificate_type {
    pub(crate) const CLIENT: i32 = 0;
    pub(crate) const SERVER: i32 = 1;
}

/// The methods, as they are called.
pub(super) mod method {
    pub(crate) const LOGIN: &str = "/moc.cloudagent.security.AuthenticationAgent/Login";
    pub(crate) const IDENTITY_INVOKE: &str = "/moc.cloudagent.security.IdentityAgent/Invoke";
    pub(crate) const IDENTITY_OPERATE: &str = "/moc.cloudagent.security.IdentityAgent/Operate";
    pub(crate) const IDENTITY_CERTIFICATES: &str =
        "/moc.cloudagent.security.IdentityAgent/OperateCertificates";
    pub(crate) const IDENTITY_PRECHECK: &str = "/moc.cloudagent.security.IdentityAgent/Precheck";
    pub(crate) const CERTIFICATE_SIGN: &str = "/moc.cloudagent.security.CertificateAgent/Sign";
    pub(crate) const CERTIFICATE_RENEW: &str = "/moc.cloudagent.security.CertificateAgent/Renew";
    pub(crate) const CERTIFICATE_PRECHECK: &str = "/moc.cloudagent.security.CertificateAgent/Precheck";
    pub(crate) const CERTIFICATE_CREATE: &str = "/moc.cloudagent.security.CertificateAgent/CreateOrUpdate";
    pub(crate) const CERTIFICATE_GET: &str = "/moc.cloudagent.security.CertificateAgent/Get";
    pub(crate) const CERTIFICATE_DELETE: &str = "/moc.cloudagent.security.CertificateAgent/Delete";
    pub(crate) const ROLE_INVOKE: &str = "/moc.cloudagent.security.RoleAgent/Invoke";
    pub(crate) const ASSIGNMENT_INVOKE: &str = "/moc.cloudagent.security.RoleAssignmentAgent/Invoke";
    pub(crate) const MONITOR: &str = "/moc.cloudagent.admin.CredentialMonitorAgent/Get";
    pub(crate) const HEALTH: &str = "/moc.common.admin.HealthAgent/CheckHealth";
    pub(crate) const AGENT_INFO: &str = "/moc.common.admin.HealthAgent/GetAgentInfo";
    pub(crate) const VERSION: &str = "/moc.common.admin.VersionAgent/Get";
}

/// `google.protobuf.BoolValue`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct BoolValue {
    #[prost(bool, tag = "1")]
    pub(super) value: bool,
}

/// What answers call a success.
pub(super) const TRUE: Option<BoolValue> = Some(BoolValue { value: true });

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.Status`: what the details of a gRPC status are.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(int32, tag = "1")]
    pub(super) code: i32,
    #[prost(string, tag = "2")]
    pub(super) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `moc.Error`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MocError {
    #[prost(string, tag = "1")]
    pub(super) message: String,
    #[prost(uint32, tag = "2")]
    pub(super) code: u32,
    #[prost(string, tag = "3")]
    pub(super) parameters: String,
}

/// `moc.Status`. Its version is always there: the public client library reads it without looking whether it is.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ItemStatus {
    #[prost(message, optional, tag = "1")]
    pub(super) health: Option<Health>,
    #[prost(message, optional, tag = "4")]
    pub(super) version: Option<Version>,
}

/// See [`health`].
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Health {
    #[prost(int32, tag = "1")]
    pub(super) current: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Version {
    #[prost(string, tag = "1")]
    pub(super) number: String,
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct Identity {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(string, tag = "5")]
    pub(super) token: String,
    #[prost(message, optional, tag = "7")]
    pub(super) status: Option<ItemStatus>,
    #[prost(string, tag = "10")]
    pub(super) location: String,
    /// At login: the signing request under the empty name.
    #[prost(map = "string, string", tag = "12")]
    pub(super) certificates: HashMap<String, String>,
    /// In days; replaced by `token_expiry_s`.
    #[prost(int64, tag = "13")]
    pub(super) token_expiry_days: i64,
    #[prost(int32, tag = "14")]
    pub(super) client_type: i32,
    #[prost(string, tag = "15")]
    pub(super) cloud_fqdn: String,
    #[prost(int32, tag = "16")]
    pub(super) cloud_port: i32,
    #[prost(int32, tag = "17")]
    pub(super) cloud_auth_port: i32,
    /// 1: signed by the CA. The public library fills it into login files.
    #[prost(int32, tag = "18")]
    pub(super) auth_type: i32,
    #[prost(bool, tag = "19")]
    pub(super) revoked: bool,
    #[prost(bool, tag = "20")]
    pub(super) auto_rotate: bool,
    #[prost(string, tag = "21")]
    pub(super) login_file_path: String,
    #[prost(int64, tag = "22")]
    pub(super) token_expiry_s: i64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthenticationRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) identity: Option<Identity>,
}

/// `token` is, in spite of its name, the client's certificate: base64 of PEM.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AuthenticationResponse {
    #[prost(string, tag = "1")]
    pub(super) token: String,
    #[prost(message, optional, tag = "2")]
    pub(super) result: Option<BoolValue>,
    #[prost(string, tag = "3")]
    pub(super) error: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IdentityRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) identities: Vec<Identity>,
    #[prost(int32, tag = "2")]
    pub(super) operation: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IdentityResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) identities: Vec<Identity>,
    #[prost(message, optional, tag = "2")]
    pub(super) result: Option<BoolValue>,
    #[prost(string, tag = "3")]
    pub(super) error: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IdentityOperationRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) identities: Vec<Identity>,
    #[prost(int32, tag = "3")]
    pub(super) operation: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct IdentityCertificateRequest {
    #[prost(string, tag = "1")]
    pub(super) identity: String,
    #[prost(message, repeated, tag = "2")]
    pub(super) requests: Vec<SigningRequest>,
    #[prost(int32, tag = "4")]
    pub(super) operation: i32,
}

/// The answer to `OperateCertificates`, and to `CertificateAgent`'s methods: the same fields.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CertificateResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) certificates: Vec<Certificate>,
    #[prost(message, optional, tag = "2")]
    pub(super) result: Option<BoolValue>,
    #[prost(string, tag = "3")]
    pub(super) error: String,
}

/// `CSRRequest`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct SigningRequests {
    #[prost(message, repeated, tag = "1")]
    pub(super) requests: Vec<SigningRequest>,
}

/// `CertificateSigningRequest`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct SigningRequest {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) csr: String,
    /// Base64 of PEM.
    #[prost(string, tag = "3")]
    pub(super) old_certificate: String,
    #[prost(int64, tag = "10")]
    pub(super) validity: i64,
    #[prost(message, optional, tag = "11")]
    pub(super) is_ca: Option<BoolValue>,
}

/// `certificate` is PEM as it is, unlike the answer to a login.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct Certificate {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(int64, tag = "3")]
    pub(super) not_before: i64,
    #[prost(int64, tag = "4")]
    pub(super) not_after: i64,
    #[prost(string, tag = "5")]
    pub(super) certificate: String,
    #[prost(message, optional, tag = "6")]
    pub(super) status: Option<ItemStatus>,
    /// See [`certificate_type`].
    #[prost(int32, tag = "7")]
    pub(super) certificate_type: i32,
}

/// `CertificateRequest`, and the request of `CertificateAgent/Precheck`: the same fields.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CertificateRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) certificates: Vec<Certificate>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct PrecheckRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) identities: Vec<Identity>,
}

/// Of both agents that check beforehand. `result` is the verdict, `error` the reason if it is false.
#[derive(Clone, PartialEq, Message)]
pub(super) struct PrecheckResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) result: Option<BoolValue>,
    #[prost(string, tag = "2")]
    pub(super) error: String,
}

/// Something that a role allows. Public clients refuse a role with an action whose `general` is 0.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct Action {
    /// See [`provider`].
    #[prost(int32, tag = "2")]
    pub(super) provider: i32,
    /// See [`general`].
    #[prost(int32, tag = "3")]
    pub(super) general: i32,
    /// See [`access`].
    #[prost(int32, tag = "4")]
    pub(super) operation: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Permission {
    #[prost(message, repeated, tag = "1")]
    pub(super) actions: Vec<Action>,
    #[prost(message, repeated, tag = "2")]
    pub(super) not_actions: Vec<Action>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Role {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(message, repeated, tag = "4")]
    pub(super) permissions: Vec<Permission>,
    #[prost(message, optional, tag = "6")]
    pub(super) status: Option<ItemStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RoleRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) roles: Vec<Role>,
    #[prost(int32, tag = "2")]
    pub(super) operation: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RoleResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) roles: Vec<Role>,
    #[prost(message, optional, tag = "2")]
    pub(super) result: Option<BoolValue>,
    #[prost(string, tag = "3")]
    pub(super) error: String,
}

/// `moc.Scope`: for what a role assignment holds.
#[derive(Clone, PartialEq, Eq, Message)]
pub(super) struct Scope {
    #[prost(string, tag = "1")]
    pub(super) location: String,
    #[prost(string, tag = "2")]
    pub(super) resource_group: String,
    /// See [`provider`].
    #[prost(int32, tag = "3")]
    pub(super) provider: i32,
    #[prost(string, tag = "4")]
    pub(super) resource: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Assignment {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(string, tag = "3")]
    pub(super) role: String,
    #[prost(message, optional, tag = "4")]
    pub(super) scope: Option<Scope>,
    #[prost(string, tag = "5")]
    pub(super) identity: String,
    #[prost(message, optional, tag = "6")]
    pub(super) status: Option<ItemStatus>,
}

/// The numbers are not those of the other requests.
#[derive(Clone, PartialEq, Message)]
pub(super) struct AssignmentRequest {
    #[prost(message, repeated, tag = "2")]
    pub(super) assignments: Vec<Assignment>,
    #[prost(int32, tag = "3")]
    pub(super) operation: i32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AssignmentResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) assignments: Vec<Assignment>,
    #[prost(message, optional, tag = "2")]
    pub(super) result: Option<BoolValue>,
    #[prost(string, tag = "3")]
    pub(super) error: String,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MonitorRequest {
    #[prost(message, optional, tag = "1")]
    pub(super) monitor: Option<Monitor>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MonitorResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) monitor: Option<Monitor>,
    #[prost(string, tag = "2")]
    pub(super) error: String,
}

/// `status`: 0 is Single, 1 is Overlap.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Monitor {
    #[prost(string, tag = "1")]
    pub(super) certificate: String,
    #[prost(int32, tag = "2")]
    pub(super) status: i32,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct HealthRequest {
    #[prost(uint32, tag = "1")]
    pub(super) timeout_s: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct HealthResponse {
    #[prost(message, optional, tag = "2")]
    pub(super) result: Option<BoolValue>,
    #[prost(string, tag = "3")]
    pub(super) error: String,
    /// See [`health`].
    #[prost(int32, tag = "4")]
    pub(super) state: i32,
}

/// `google.protobuf.Empty`, and `VersionRequest`, which has no fields either.
#[derive(Clone, Copy, PartialEq, Message)]
pub(super) struct Nothing {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct AgentInfoResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) node: Option<NodeInfo>,
    #[prost(message, optional, tag = "2")]
    pub(super) result: Option<BoolValue>,
    #[prost(string, tag = "3")]
    pub(super) error: String,
    #[prost(string, tag = "4")]
    pub(super) deployment_id: String,
}

/// `moc.common.NodeInfo`, without what a host's processors and memory are.
#[derive(Clone, PartialEq, Message)]
pub(super) struct NodeInfo {
    #[prost(string, tag = "1")]
    pub(super) name: String,
    #[prost(string, tag = "2")]
    pub(super) id: String,
    #[prost(message, optional, tag = "7")]
    pub(super) status: Option<ItemStatus>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct VersionResponse {
    #[prost(string, tag = "1")]
    pub(super) version: String,
    /// Assumed: the version of the vendor's public definitions.
    #[prost(string, tag = "2")]
    pub(super) moc_version: String,
    #[prost(string, tag = "3")]
    pub(super) error: String,
}

/// Tokens and signing requests pass through here; what they are shall not show in a log.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("name", &self.name).finish_non_exhaustive()
            }
        }
    )*};
}
opaque!(Identity, SigningRequest, Certificate);

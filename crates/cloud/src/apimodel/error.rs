//! Why a model cannot be read.

use thiserror::Error;

/// Why an `apimodel.json` was refused.
///
/// Every variant names the place in the file and what to do; none repeats a value that could be a secret.
#[derive(Debug, Error)]
pub enum ApiModelError {
    /// The bytes are not one JSON document in UTF-8.
    #[error("the api model is not JSON; give the apimodel.json that the deployment generated")]
    NotJson {
        /// The JSON parser's own account, with line and column.
        #[source]
        source: serde_json::Error,
    },
    /// A key that no release of the tool knows at this place.
    #[error("unknown key {path} in the api model; check its spelling and its place, or remove it")]
    UnknownKey {
        /// Where, as `properties.masterProfile.colour`.
        path: String,
    },
    /// The same key twice in one object, perhaps in different case; which one counts would be a guess.
    #[error("{path} stands in the api model twice; keep one of them")]
    DuplicateKey {
        /// Where the second one is.
        path: String,
    },
    /// A value of another JSON type than the model has there.
    #[error(
        "{path} in the api model is {found}, expected {expected}; restore the file from the deployment's output"
    )]
    WrongType {
        /// Where.
        path: String,
        /// The type that belongs there.
        expected: &'static str,
        /// The type that is there.
        found: &'static str,
    },
    /// A value without which the cluster cannot be described.
    #[error(
        "no {path} in the api model; give the generated apimodel.json of the _output directory, not the input to `generate`"
    )]
    Missing {
        /// Where it should be.
        path: String,
    },
    /// A value that is present and of the right type, but out of range.
    #[error(
        "{path} in the api model is {value:?}, expected {expected}; restore the file from the deployment's output"
    )]
    Invalid {
        /// Where.
        path: String,
        /// What is there.
        value: String,
        /// What would be accepted.
        expected: &'static str,
    },
    /// Another `apiVersion` than `vlabs`.
    #[error(
        "the api model is of apiVersion {found:?}, and only \"vlabs\" is known; convert it with the tool that made it"
    )]
    ApiVersion {
        /// The version found, empty when there is none.
        found: String,
    },
    /// An orchestrator that is not Kubernetes.
    #[error(
        "the api model is of orchestratorType {found:?}, and only \"Kubernetes\" is known; check that this is the right file"
    )]
    Orchestrator {
        /// The type found.
        found: String,
    },
    /// The model's location and the one asked for differ.
    #[error(
        "the api model is of location {model:?}, and --location says {asked:?}; check that this is the model of the cluster you mean"
    )]
    LocationMismatch {
        /// Normalised location in the model.
        model: String,
        /// Normalised location of the flag.
        asked: String,
    },
    /// Neither the model nor the command line says where the cluster is.
    #[error("no location in the api model; give --location")]
    LocationUnknown,
}

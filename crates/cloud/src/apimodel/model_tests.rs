//! A model small enough to read, and what parsing refuses.

use super::*;

/// The masters of [`model`].
const MASTERS: &str = r#"{"count": 3, "dnsPrefix": "synthazs", "firstConsecutiveStaticIP": "10.240.255.5",
    "ipAddressCount": 1, "availabilityProfile": "AvailabilitySet", "subjectAltNames": ["api.synth.example"]}"#;

/// A three-master model of Azure Stack; `more` is appended to `properties`.
pub(in crate::apimodel) fn model(more: &str) -> ApiModel {
    model_with_masters(MASTERS, more)
}

/// As [`model`], with other masters.
pub(in crate::apimodel) fn model_with_masters(masters: &str, more: &str) -> ApiModel {
    ApiModel::parse(text(masters, more).as_bytes()).unwrap()
}

fn text(masters: &str, more: &str) -> String {
    format!(
        r#"{{"apiVersion": "vlabs", "location": "local", "properties": {{
            "orchestratorProfile": {{"orchestratorType": "kubernetes", "orchestratorVersion": "1.24.9",
                "kubernetesConfig": {{"serviceCidr": "10.0.0.0/16,fd00::/108"}}}},
            "linuxProfile": {{"adminUsername": "azureuser", "ssh": {{"publicKeys": [{{"keyData": "ssh-rsa A"}}]}}}},
            "customCloudProfile": {{"environment": {{"resourceManagerVMDNSSuffix": "cloudapp.azurestack.external"}}}},
            "masterProfile": {masters}{more}}}}}"#
    )
}

/// The complaint about the synthetic model after replacing `from` by `to`.
fn complaint(from: &str, to: &str) -> String {
    let whole = text(MASTERS, "");
    assert!(whole.contains(from), "{from}");
    ApiModel::parse(whole.replace(from, to).as_bytes()).unwrap_err().to_string()
}

#[test]
fn bad_input_is_named() {
    let cases = [
        ("\"vlabs\"", "\"v20170701\"", "apiVersion \"v20170701\""),
        ("\"apiVersion\": \"vlabs\", ", "", "apiVersion \"\""),
        ("\"masterProfile\": {", "\"masterProfil\": {", "unknown key properties.masterProfil in"),
        (
            "\"masterProfile\": {",
            "\"masterProfile\": null, \"aadProfile\": {",
            "unknown key properties.aadProfile.count",
        ),
        ("\"kubernetes\"", "\"DCOS\"", "orchestratorType \"DCOS\""),
        ("\"count\": 3", "\"count\": 2", "properties.masterProfile.count in the api model is \"2\""),
        (
            "\"count\": 3",
            "\"count\": -3",
            "properties.masterProfile.count in the api model is a number, expected a whole number, not negative",
        ),
        ("\"count\": 3", "\"count\": \"3\"", "is a string, expected a whole number"),
        (
            "\"10.240.255.5\"",
            "\"fd00::5\"",
            "firstConsecutiveStaticIP in the api model is \"fd00::5\", expected an IPv4 address",
        ),
        (
            "\"serviceCidr\": \"10.0.0.0/16,fd00::/108\"",
            "",
            "no properties.orchestratorProfile.kubernetesConfig.serviceCidr",
        ),
        ("10.0.0.0/16,", "10.0.0.0/33,", "expected a range such as 10.0.0.0/16"),
        (
            "{\"resourceManagerVMDNSSuffix\": \"cloudapp.azurestack.external\"}",
            "{}",
            "resourceManagerVMDNSSuffix",
        ),
        ("\"adminUsername\": \"azureuser\", ", "", "no properties.linuxProfile.adminUsername"),
    ];
    for (from, to, expected) in cases {
        let error = complaint(from, to);
        assert!(error.contains(expected), "{from} -> {to}: {error}");
    }
}

/// Names are made for each machine: four thousand million of them do not fit into any memory.
#[test]
fn pools_beyond_reason_are_refused() {
    let pool = |count: u64| {
        let pool = format!(
            r#", "agentPoolProfiles": [{{"name": "a", "count": {count}, "availabilityProfile": "AvailabilitySet"}}]"#
        );
        ApiModel::parse(text(MASTERS, &pool).as_bytes())
    };
    assert!(pool(5000).is_ok_and(|model| model.agent_names(0).is_some()));
    for count in [5001, u64::from(u32::MAX)] {
        let error = pool(count).unwrap_err().to_string();
        assert!(error.contains("agentPoolProfiles[0].count") && error.contains("at most 5000"), "{error}");
    }
}

#[test]
fn no_masters_is_an_error_not_a_panic() {
    let text = r#"{"apiVersion": "vlabs", "properties": {"masterProfile": null}}"#;
    let error = ApiModel::parse(text.as_bytes()).unwrap_err().to_string();
    assert!(error.contains("no properties.masterProfile "), "{error}");
    for text in ["", "null", "[]", "{}", "{\"apiVersion\": \"vlabs\"}", "\u{feff}{}", "{} {}"] {
        ApiModel::parse(text.as_bytes()).unwrap_err();
    }
    ApiModel::parse(b"{\"apiVersion\": \"vlabs\", \"location\": \"\xff\"}").unwrap_err();
}

#[test]
fn the_location_is_filled_in_or_compared() {
    let west = Location::new("West US 2").unwrap();
    let error = model("").at_location(west.clone()).unwrap_err().to_string();
    assert!(error.contains("\"local\", and --location says \"westus2\""), "{error}");
    let empty = text(MASTERS, "").replace("\"location\": \"local\"", "\"location\": \"\"");
    let empty = ApiModel::parse(empty.as_bytes()).unwrap();
    assert!(matches!(empty.fqdn(), Err(ApiModelError::LocationUnknown)));
    assert_eq!(
        empty.at_location(west).unwrap().fqdn().unwrap(),
        "synthazs.westus2.cloudapp.azurestack.external"
    );
}

#[test]
fn the_debug_form_holds_no_secret() {
    let model = model(r#", "windowsProfile": {"adminPassword": "hunter2"}"#);
    assert!(!format!("{model:?}").contains("hunter2"));
}

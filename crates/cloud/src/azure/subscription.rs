//! Which subscription is meant when none is given: the Azure CLI's own, as the ancestor reads it.
//!
//! The files are the command line's to read; here their texts are understood.

/// The cloud that the Azure CLI is set to, by the text of `~/.azure/config`: key `name` of section `[cloud]`;
/// `AzureCloud` where there is none.
pub fn cloud_name(config: Option<&str>) -> String {
    config.and_then(|config| value(config, "cloud", "name")).unwrap_or_else(|| "AzureCloud".to_owned())
}

/// The subscription of that cloud, by the text of `~/.azure/clouds.config`: key `subscription` of the section of the
/// cloud's name. Only one that is a UUID and not all zeros.
pub fn of_cloud(clouds: &str, cloud: &str) -> Option<String> {
    value(clouds, cloud, "subscription").filter(|id| is_usable(id))
}

/// Whether a text is a UUID that can name a subscription: the one of zeros cannot.
pub fn is_usable(id: &str) -> bool {
    let groups: Vec<&str> = id.split('-').collect();
    let hexadecimal = |group: &&str| group.bytes().all(|byte| byte.is_ascii_hexdigit());
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(hexadecimal)
        && id.bytes().any(|byte| !matches!(byte, b'0' | b'-'))
}

/// The value of a key in a section of an ini file. The last one counts, as it does to Python's `configparser`.
fn value(text: &str, section: &str, key: &str) -> Option<String> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
            inside = name.trim() == section;
        } else if inside
            && let Some((name, value)) = line.split_once(['=', ':'])
            && name.trim().eq_ignore_ascii_case(key)
        {
            found = Some(value.trim().trim_matches('"').to_owned());
        }
    }
    found.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "3f2c8d5e-6a1b-4c0d-9e7f-1a2b3c4d5e6f";

    #[test]
    fn the_azure_clis_files_are_read_as_the_ancestor_does() {
        let config = "[core]\nname = wrong\n; a comment\n[cloud]\nname = AzureChinaCloud\n";
        assert_eq!(cloud_name(Some(config)), "AzureChinaCloud");
        assert_eq!(cloud_name(Some("[cloud]\nname =\n")), "AzureCloud");
        assert_eq!(cloud_name(None), "AzureCloud");
        let clouds = format!("[AzureCloud]\nsubscription = {ID}\n[AzureChinaCloud]\nsubscription=x\n");
        assert_eq!(of_cloud(&clouds, "AzureCloud").as_deref(), Some(ID));
        assert_eq!(of_cloud(&clouds, "AzureChinaCloud"), None, "not a UUID");
        assert_eq!(of_cloud(&clouds, "AzureUSGovernment"), None);
        assert_eq!(of_cloud("no ini file at all", "AzureCloud"), None);
    }

    #[test]
    fn zeros_are_no_subscription() {
        assert!(is_usable(ID));
        for id in ["", "x", "00000000-0000-0000-0000-000000000000", "3f2c8d5e6a1b4c0d9e7f1a2b3c4d5e6f"] {
            assert!(!is_usable(id), "{id}");
        }
    }
}

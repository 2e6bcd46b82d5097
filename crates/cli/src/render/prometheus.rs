//! When credentials end, in Prometheus' text format, for node_exporter's textfile collector.

use std::fmt::Write as _;

use kubecert_core::assess::{Assessment, Finding, Material, Verdict};

/// Three gauges. What is not known has no end and no verdict, and says that it could not be read.
pub(crate) fn render(site: &str, found: &Assessment) -> String {
    let mut text = String::new();
    gauge(
        &mut text,
        "kubecert_credential_not_after_seconds",
        "When a credential ends, in seconds since 1970.",
    );
    for finding in &found.credentials {
        if let Some(end) = finding.not_after {
            let labels = credential(site, finding);
            line(&mut text, "kubecert_credential_not_after_seconds", &labels, end.as_second());
        }
    }
    gauge(&mut text, "kubecert_credential_readable", "Whether a credential could be read.");
    for finding in &found.credentials {
        let labels = credential(site, finding);
        line(&mut text, "kubecert_credential_readable", &labels, i64::from(finding.not_after.is_some()));
    }
    gauge(&mut text, "kubecert_layer_impacted", "Whether a layer is hit; absent where that is not known.");
    for layer in &found.layers {
        for (source, verdict) in [("policy", layer.policy), ("measured", layer.measured)] {
            let value = match verdict {
                Verdict::NotImpacted => 0,
                Verdict::Impacted => 1,
                Verdict::Unknown => continue,
            };
            let labels = [
                ("site", site.to_owned()),
                ("layer", layer.layer.to_string()),
                ("source", source.to_owned()),
            ];
            line(&mut text, "kubecert_layer_impacted", &labels, value);
        }
    }
    text
}

fn credential(site: &str, finding: &Finding) -> [(&'static str, String); 7] {
    let material = match finding.material {
        Material::Certificate => "certificate",
        Material::Token => "token",
    };
    [
        ("site", site.to_owned()),
        ("layer", finding.class.layer().to_string()),
        ("cluster", finding.cluster.clone().unwrap_or_default()),
        (
            "class",
            serde_json::to_value(finding.class)
                .map_or_else(|_| String::new(), |id| id.as_str().unwrap_or_default().to_owned()),
        ),
        ("holder", finding.holder.clone()),
        ("place", finding.place.clone()),
        ("material", material.to_owned()),
    ]
}

fn gauge(text: &mut String, name: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn line(text: &mut String, name: &str, labels: &[(&str, String)], value: i64) {
    let labels: Vec<String> =
        labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escaped(value))).collect();
    let _ = writeln!(text, "{name}{{{}}} {value}", labels.join(","));
}

/// As the exposition format has it: backslash, quotation mark and line break.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::sample_site;

    #[test]
    fn the_text_format() {
        insta::assert_snapshot!(render("plant \"7\"", &sample_site::assessment()));
    }
}

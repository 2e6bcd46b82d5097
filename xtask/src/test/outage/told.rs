//! What kubecert tells of an outage, before and after.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::outages::Outage;
use super::proof;
use crate::lab::site::Site;

/// By the documents, from two numbers.
pub(crate) fn by_the_documents(site: &Site, outage: &Outage) -> Result<()> {
    let words = [&["assess", "-o", "json"], outage.asked].concat();
    let said = json(site, &words)?;
    let layers = layers(&said, "policy")?;
    for (layer, verdict) in &layers {
        let expected = if outage.by_the_documents.contains(&&**layer) { "impacted" } else { "not-impacted" };
        ensure!(verdict == expected, "by the documents, {layer} is {verdict}, not {expected}: {layers:?}");
    }
    Ok(())
}

/// What an outage of that length would hit, from the credentials themselves: those that were let age, and no others.
pub(crate) fn beforehand(site: &Site, outage: &Outage) -> Result<()> {
    let now = measured(site)?;
    ensure!(now.values().all(|verdict| verdict == "not-impacted"), "before the outage it is so: {now:?}");
    let file = site.file();
    let words = ["shutdown-check", "--for", "5m", "-o", "json", "--site", &file.to_string_lossy()];
    let said = json(site, &words)?;
    let verdict = said["verdict"].as_str().unwrap_or_default();
    let expected = if outage.aged.is_empty() { "not-impacted" } else { "impacted" };
    ensure!(verdict == expected, "shutdown-check says {verdict}, not {expected}: {said}");
    Ok(())
}

/// What is hit as measured, and that just that fails which is said to.
pub(crate) fn afterwards(site: &Site, outage: &Outage) -> Result<()> {
    let found = measured(site)?;
    for (layer, verdict) in &found {
        let layer = &**layer;
        let expected = match () {
            () if outage.hit.contains(&layer) => "impacted",
            () if outage.unknown.contains(&layer) => "unknown",
            () => "not-impacted",
        };
        ensure!(verdict == expected, "as measured, {layer} is {verdict}, not {expected}: {found:?}");
    }
    let failing = proof::failing(site)?;
    for layer in ["infrastructure", "cluster-infrastructure", "load-balancer"] {
        let fails = failing.iter().any(|what| what.starts_with(&format!("{layer}: ")));
        let said = found.get(layer).is_some_and(|verdict| verdict == "impacted");
        ensure!(fails == said, "{layer} is said to be {:?}, and what fails is {failing:?}", found.get(layer));
    }
    let down = failing.contains(proof::TARGET_API);
    ensure!(
        down == outage.cluster_is_down(),
        "the target's API is not as expected; what fails is {failing:?}"
    );
    eprintln!("  fails, and is said to: {}", failing.into_iter().collect::<Vec<_>>().join(", "));
    Ok(())
}

/// After the repair nothing needs attention, and nothing is due.
pub(crate) fn nothing_left(site: &Site) -> Result<()> {
    let found = measured(site)?;
    ensure!(found.values().all(|verdict| verdict == "not-impacted"), "after the repair it is so: {found:?}");
    Ok(())
}

fn measured(site: &Site) -> Result<BTreeMap<String, String>> {
    let file = site.file();
    let said = json(site, &["assess", "--measured", "-o", "json", "--site", &file.to_string_lossy()])?;
    layers(&said, "measured")
}

/// The verdicts of the layers of which there is anything.
fn layers(said: &Value, which: &str) -> Result<BTreeMap<String, String>> {
    let all = said["layers"].as_array().with_context(|| format!("no layers: {said}"))?;
    let text = |layer: &Value, key: &str| layer[key].as_str().unwrap_or_default().to_owned();
    Ok(all
        .iter()
        .filter(|layer| which == "policy" || layer["looked_at"].as_u64() != Some(0))
        .map(|layer| (text(layer, "layer"), text(layer, which)))
        .collect())
}

/// What a command says; the exit code tells the same as the verdict.
fn json(site: &Site, words: &[&str]) -> Result<Value> {
    let output = site.kubecert(words).output()?;
    serde_json::from_slice(&output.stdout).with_context(|| {
        format!("kubecert {} said {}", words.join(" "), String::from_utf8_lossy(&output.stderr))
    })
}

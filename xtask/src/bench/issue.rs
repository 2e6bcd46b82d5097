//! Making a whole PKI, beside the crypto library alone.

use anyhow::Result;

use super::Size;
use super::measured::{Figures, program, row, table};
use crate::cmd::cmd;

/// Algorithms, with how often each is measured: an RSA key takes a thousand times as long as one on a curve.
const KEYS: [(&str, usize); 2] = [("ecdsa-p256", 20), ("rsa-2048", 1)];
/// Nodes of the cluster, and with `--quick`.
const NODES: usize = 1_000;
const QUICK: usize = 10;

/// Makes PKIs, and prints the figures.
pub(super) fn run(size: &Size) -> Result<()> {
    let program = program("kubecert-engine", "issue")?;
    let nodes = if size.quick { QUICK } else { NODES }.to_string();
    let mut rows = vec![row([
        "key",
        "keys",
        "signatures",
        "kubecert ms",
        "library alone ms",
        "library/kubecert",
        "of processor time",
    ])];
    let mut line = Vec::new();
    for (key, rounds) in KEYS {
        let rounds = if size.quick { "1".to_owned() } else { rounds.to_string() };
        let args = ["--nodes", &nodes, "--key", key, "--rounds", &rounds];
        let figures = Figures::of(&mut cmd(&program.to_string_lossy(), args))?;
        let (ours, library) = (figures.number("ours_ms")?, figures.number("library_ms")?);
        let on_processor = figures.number("library_cpu_ms")? / figures.number("ours_cpu_ms")?;
        rows.push(row([
            key.to_owned(),
            figures.text("keys")?.to_owned(),
            figures.text("signatures")?.to_owned(),
            format!("{ours:.0}"),
            format!("{library:.0}"),
            format!("{:.0} %", 100.0 * library / ours),
            format!("{:.0} %", 100.0 * on_processor),
        ]));
        let name = key.replace('-', "_");
        line.push(format!("{name}_ms={ours:.0} {name}_of_library={:.2}", library / ours));
    }
    table(&rows);
    println!("{}", line.join(" "));
    Ok(())
}

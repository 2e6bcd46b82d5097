//! How a plan and its independent check grow with the cluster.

use anyhow::Result;

use super::Size;
use super::measured::{Figures, program, row, table};
use crate::cmd::cmd;

/// Nodes of the clusters.
const NODES: &[usize] = &[10, 100, 1_000, 5_000];
const QUICK: &[usize] = &[10, 1_000];
/// The best of so many runs counts: the work is the same each time, and what is more is the machine's.
const RUNS: usize = 3;

/// Plans, and prints the figures.
pub(super) fn run(size: &Size) -> Result<()> {
    let program = program("kubecert-engine", "plan")?;
    let mut rows =
        vec![row(["nodes", "steps", "plan ms", "check ms", "together ms", "processor ms", "peak MiB"])];
    let mut line = Vec::new();
    for nodes in if size.quick { QUICK } else { NODES } {
        let mut best: Option<(f64, Figures)> = None;
        for _ in 0..if size.quick { 1 } else { RUNS } {
            let figures =
                Figures::of(cmd(&program.to_string_lossy(), ["--nodes", &nodes.to_string()]).env_clear())?;
            let all = figures.number("plan_ms")? + figures.number("check_ms")?;
            if best.as_ref().is_none_or(|(least, _)| all < *least) {
                best = Some((all, figures));
            }
        }
        let Some((all, figures)) = best else { continue };
        let peak = figures.number("peak_mib")?;
        rows.push(row([
            nodes.to_string(),
            figures.text("steps")?.to_owned(),
            format!("{:.1}", figures.number("plan_ms")?),
            format!("{:.1}", figures.number("check_ms")?),
            format!("{all:.1}"),
            format!("{:.1}", figures.number("cpu_ms")?),
            format!("{peak:.0}"),
        ]));
        line.push(format!("nodes_{nodes}_ms={all:.1} nodes_{nodes}_peak_mib={peak:.0}"));
    }
    table(&rows);
    println!("{}", line.join(" "));
    Ok(())
}

//! How long a plan and its independent check take, and how much memory: `plan --nodes 5000`, run by `cargo xtask bench`.
//!
//! One size a process, since the most memory that a process ever held can be read but not set back.

mod figures;

use std::time::Instant;

use kubecert_core::inventory::{Inventory, Observed, WorkloadKind, WorkloadRef};
use kubecert_core::testing::{Shape, naming, replace_ca};
use kubecert_core::{check, planner};

/// Control planes of the cluster; the rest of the nodes are agents.
const CONTROL_PLANES: usize = 3;
/// How many nodes share one Deployment, so that a large cluster has many.
const NODES_PER_WORKLOAD: usize = 10;

fn main() {
    let nodes: usize = figures::argument("--nodes").unwrap_or(10);
    let inventory = inventory(nodes);

    let (began, on_processor) = (Instant::now(), figures::processor_time());
    let plan = planner::plan(&inventory, &replace_ca(None), &naming()).expect("the cluster can be rotated");
    let planned = began.elapsed();
    let began = Instant::now();
    let violations = check::plan(&plan, &inventory);
    let checked = began.elapsed();
    let on_processor = figures::processor_time() - on_processor;
    assert!(violations.is_empty(), "the plan is not safe: {}", violations[0]);

    figures::tell("nodes", nodes);
    figures::tell("steps", plan.steps().count());
    figures::tell("plan_ms", figures::milliseconds(planned));
    figures::tell("check_ms", figures::milliseconds(checked));
    figures::tell("cpu_ms", figures::milliseconds(on_processor));
    figures::tell("peak_mib", figures::peak_mib());
}

/// AKS engine's layout with everything that a rotation may meet, and workloads in proportion.
fn inventory(nodes: usize) -> Inventory {
    let agents = nodes.saturating_sub(CONTROL_PLANES);
    let mut inventory = Shape::sized(CONTROL_PLANES, agents).inventory();
    if let Observed::Seen(api) = &mut inventory.api {
        api.workloads.extend((0..nodes / NODES_PER_WORKLOAD).map(|index| WorkloadRef {
            kind: WorkloadKind::Deployment,
            namespace: "default".to_owned(),
            name: format!("service-{index}"),
        }));
    }
    inventory
}

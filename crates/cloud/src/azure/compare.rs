//! The model's machines against those that Azure has.

use std::collections::BTreeSet;
use std::fmt;

use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Machine, MachinePower};

use crate::apimodel::{ApiModel, PoolNodes};

/// Something that is not as the model says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// A master that Azure does not have.
    MissingMaster(NodeName),
    /// A master that does not run.
    MasterNotRunning(NodeName, MachinePower),
    /// An agent that Azure does not have. It may have been taken away by hand; whether it is still a node, Kubernetes
    /// says.
    MissingAgent(NodeName),
    /// An agent that does not run.
    AgentNotRunning(NodeName, MachinePower),
    /// A machine of the resource group that the model does not know.
    Unknown(Machine),
}

impl Difference {
    /// Whether a rotation must not begin: without all of its masters running there is nothing to be rotated.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::MissingMaster(_) | Self::MasterNotRunning(..))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MissingMaster(node) => write!(
                f,
                "the resource group has no machine for master {node}; check --resource-group and that this is the cluster's api model"
            ),
            Self::MasterNotRunning(node, power) => {
                write!(f, "the machine of master {node} is {power}; start it, and run the command again")
            }
            Self::MissingAgent(node) => {
                write!(f, "the resource group has no machine for agent {node} of the api model")
            }
            Self::AgentNotRunning(node, power) => write!(f, "the machine of agent {node} is {power}"),
            Self::Unknown(machine) => write!(
                f,
                "{} is in the resource group, and not in the api model; if it is a node of the cluster, it is rotated as Kubernetes knows it",
                machine.resource
            ),
        }
    }
}

/// Everything that differs: first what is fatal, then the agents, then what the model does not know.
pub fn differences(model: &ApiModel, machines: &[Machine]) -> Vec<Difference> {
    let find = |node: &NodeName| machines.iter().find(|machine| &machine.node == node);
    let mut known: BTreeSet<NodeName> = BTreeSet::new();
    let mut prefixes: Vec<String> = Vec::new();
    let mut found = Vec::new();
    for master in model.master_names() {
        let node = NodeName::new(master.node_name());
        match find(&node) {
            None => found.push(Difference::MissingMaster(node.clone())),
            Some(machine) if machine.power != MachinePower::Running => {
                found.push(Difference::MasterNotRunning(node.clone(), machine.power.clone()));
            }
            Some(_) => {}
        }
        known.insert(node);
    }
    for pool in 0..model.agent_pools().len() {
        match model.agent_names(pool) {
            Some(PoolNodes::Exact(names)) => {
                for name in names {
                    let node = NodeName::new(name.node_name());
                    match find(&node) {
                        None => found.push(Difference::MissingAgent(node.clone())),
                        Some(machine) => found.extend(not_running(machine)),
                    }
                    known.insert(node);
                }
            }
            Some(PoolNodes::ScaleSet { prefix }) => {
                let prefix = prefix.to_lowercase();
                let instances = machines.iter().filter(|machine| machine.node.as_str().starts_with(&prefix));
                found.extend(instances.filter_map(not_running));
                prefixes.push(prefix);
            }
            None => {}
        }
    }
    let of_set = |machine: &Machine| prefixes.iter().any(|prefix| machine.node.as_str().starts_with(prefix));
    let unknown = machines.iter().filter(|machine| !known.contains(&machine.node) && !of_set(machine));
    found.extend(unknown.cloned().map(Difference::Unknown));
    found
}

fn not_running(machine: &Machine) -> Option<Difference> {
    let runs = machine.power == MachinePower::Running;
    (!runs).then(|| Difference::AgentNotRunning(machine.node.clone(), machine.power.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(node: &str, power: MachinePower) -> Machine {
        Machine { node: NodeName::from(node), resource: format!("virtual machine {node}"), power }
    }

    #[test]
    fn what_is_missing_stopped_or_unknown_is_named() {
        let text = r#"{"apiVersion": "vlabs", "location": "local", "properties": {
            "orchestratorProfile": {"orchestratorType": "Kubernetes", "orchestratorVersion": "1.34.4",
                "kubernetesConfig": {"serviceCidr": "10.0.0.0/16"}},
            "masterProfile": {"count": 3, "dnsPrefix": "synthazs", "firstConsecutiveStaticIP": "10.255.255.5",
                "availabilityProfile": "AvailabilitySet"},
            "agentPoolProfiles": [
                {"name": "pool", "count": 2, "availabilityProfile": "AvailabilitySet"},
                {"name": "burst", "count": 1, "availabilityProfile": "VirtualMachineScaleSets"}]}}"#;
        let model = ApiModel::parse(text.as_bytes()).unwrap();
        let off = MachinePower::Not("deallocated".to_owned());
        let machines = [
            machine("k8s-master-11223509-0", MachinePower::Running),
            machine("k8s-master-11223509-1", off.clone()),
            machine("k8s-pool-11223509-0", MachinePower::Running),
            machine("k8s-burst-11223509-vmss000000", MachinePower::Running),
            machine("k8s-burst-11223509-vmss00000a", off.clone()),
            machine("jumpbox", MachinePower::Running),
        ];
        let found = differences(&model, &machines);
        assert_eq!(
            found,
            [
                Difference::MasterNotRunning(NodeName::from("k8s-master-11223509-1"), off.clone()),
                Difference::MissingMaster(NodeName::from("k8s-master-11223509-2")),
                Difference::MissingAgent(NodeName::from("k8s-pool-11223509-1")),
                Difference::AgentNotRunning(NodeName::from("k8s-burst-11223509-vmss00000a"), off),
                Difference::Unknown(machine("jumpbox", MachinePower::Running)),
            ]
        );
        assert_eq!(found.iter().filter(|difference| difference.is_fatal()).count(), 2);
        let all = [0, 1, 2].map(|i| machine(&format!("k8s-master-11223509-{i}"), MachinePower::Running));
        assert!(differences(&model, &all).iter().all(|difference| !difference.is_fatal()));
    }
}

//! What the Kubernetes APIs of a site show of troubles, for `doctor`: those whose kubeconfigs the site file names.

use std::sync::Arc;

use kubecert_cloud::arc::Site;
use kubecert_cluster::{KubeClient, takes_connections};
use kubecert_core::assess::{ApiLooks, ApiSight, OuterService};
use kubecert_engine::issue::chain;
use kubecert_engine::ports::PortResult;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::akshci;

/// How many connections to services are tried at the same time: few enough for any machine, and ten thousand ports that do not
/// answer take a quarter of an hour and not a day.
const AT_ONCE: usize = 64;

/// Looks at all of them at the same time, the management cluster's first in the answer, then by name.
pub(super) async fn look(site: &Site) -> Vec<ApiSight> {
    let named = site.clusters.iter().filter(|(_, access)| access.kubeconfig.is_some());
    let clusters = site.management.iter().map(|_| None).chain(named.map(|(name, _)| Some(name.clone())));
    let open = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for (number, cluster) in clusters.enumerate() {
        let client = akshci::kubernetes(site, cluster.as_deref()).await;
        let open = Arc::clone(&open);
        tasks.spawn(async move {
            let looks = match client {
                Ok(client) => Ok(look_at(&client, &open).await),
                Err(why) => Err(why),
            };
            (number, ApiSight { cluster, looks })
        });
    }
    let mut found = tasks.join_all().await;
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, sight)| sight).collect()
}

async fn look_at(client: &KubeClient, open: &Arc<Semaphore>) -> ApiLooks {
    let (requests, workers, services) =
        tokio::join!(client.serving_requests(), client.crashing_renewal_workers(), client.outer_services());
    let services = match services {
        Ok(services) => Ok(tried(services, open).await),
        Err(error) => Err(chain(&error)),
    };
    ApiLooks { serving_requests: told(requests), renewal_workers: told(workers), services }
}

fn told<T>(looked: PortResult<T>) -> Result<T, String> {
    looked.map_err(|error| chain(&error))
}

/// Fills in whether traffic passes.
async fn tried(services: Vec<OuterService>, open: &Arc<Semaphore>) -> Vec<OuterService> {
    let mut tasks = JoinSet::new();
    for (number, mut service) in services.into_iter().enumerate() {
        let open = Arc::clone(open);
        tasks.spawn(async move {
            service.traffic = traffic(&service, &open).await;
            (number, service)
        });
    }
    let mut tried = tasks.join_all().await;
    tried.sort_by_key(|(number, _)| *number);
    tried.into_iter().map(|(_, service)| service).collect()
}

/// One port that answers is enough: the others may have nobody behind them.
async fn traffic(service: &OuterService, open: &Semaphore) -> Result<(), String> {
    let mut refusals = Vec::new();
    for port in &service.ports {
        // It is never closed; without a permit it would only be one more connection at the same time.
        let _permit = open.acquire().await;
        match takes_connections(&service.address, *port).await {
            Ok(()) => return Ok(()),
            Err(error) => refusals.push(chain(&error)),
        }
    }
    Err(refusals.join("; "))
}

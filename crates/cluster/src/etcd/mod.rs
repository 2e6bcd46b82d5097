//! etcd: health, leadership, and the keys of the front proxy.

mod call;
mod message;
mod witness;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use kubecert_core::inventory::EtcdMember;
use kubecert_core::model::NodeName;
use kubecert_engine::ports::{Credentials, Etcd, Fault, Nodes, PortError, PortResult};
use prost::Message;
use rustls::ClientConfig;
use tokio::time::{Instant, sleep};
use zeroize::Zeroizing;

use call::Member;
use message::{
    MemberListRequest, MemberListResponse, MoveLeaderRequest, MoveLeaderResponse, PutRequest, RangeRequest,
    RangeResponse, Request, RequestOp, StatusRequest, StatusResponse, TxnRequest, TxnResponse,
};

const STATUS: &str = "/etcdserverpb.Maintenance/Status";
const RANGE: &str = "/etcdserverpb.KV/Range";

/// The key that is read to see that a member reaches a quorum. It need not exist: a linearizable read of nothing asks
/// the quorum all the same.
const HEALTH_KEY: &str = "health";

/// How long a new leader may take to be elected after the old one was told to yield. etcd does it within one election
/// timeout (1 s by default, 2.5 s as large clusters set it).
const YIELD_LIMIT: Duration = Duration::from_secs(5);

/// How often is looked whether the leadership has moved. etcd offers nothing to wait on for that.
const YIELD_INTERVAL: Duration = Duration::from_millis(50);

/// How many times all members are asked for a read or a write before it fails: a leader that is lost with its node is
/// replaced within three seconds, which is what the pauses of [`ROUND_PAUSE`] add up to.
const ROUNDS: usize = 4;

/// The pause between two rounds.
const ROUND_PAUSE: Duration = Duration::from_secs(1);

/// etcd's members, each through its own node.
pub struct EtcdClient {
    nodes: Arc<dyn Nodes>,
    members: Vec<NodeName>,
    credentials: RwLock<Arc<Vec<Arc<ClientConfig>>>>,
    /// For each member, the position among the credentials that it accepted last. Members are visited one after the
    /// other, so they differ for a while.
    accepted: Vec<AtomicUsize>,
}

impl EtcdClient {
    /// A client for the members on these nodes. It has no credentials yet: see [`Etcd::use_credentials`].
    pub fn new(nodes: Arc<dyn Nodes>, members: Vec<NodeName>) -> Self {
        let accepted = members.iter().map(|_| AtomicUsize::new(0)).collect();
        Self { nodes, members, credentials: RwLock::default(), accepted }
    }

    /// Connects to a member and makes a call, with the credentials that it accepted last or else the others.
    ///
    /// A refusal shows with TLS 1.3 only on the first answer, so connecting alone proves nothing.
    async fn status(&self, position: usize) -> PortResult<(Member, StatusResponse)> {
        let (Some(node), Some(accepted)) = (self.members.get(position), self.accepted.get(position)) else {
            return Err(PortError::new(Fault::Failed, "cannot reach etcd", "there is no such member"));
        };
        let credentials = self.credentials.read().unwrap_or_else(PoisonError::into_inner).clone();
        let first = accepted.load(Ordering::Relaxed);
        let order = (0..credentials.len()).map(|offset| (first + offset) % credentials.len());
        let mut refusal: Option<PortError> = None;
        for index in order {
            let attempt = async {
                let mut member = Member::connect(&self.nodes, node, credentials[index].clone()).await?;
                let status = member.call(STATUS, StatusRequest {}).await?;
                PortResult::Ok((member, status))
            };
            match attempt.await {
                Ok(reached) => {
                    accepted.store(index, Ordering::Relaxed);
                    return Ok(reached);
                }
                // What took its whole time would take it again with any credentials.
                Err(error) if error.fault == Fault::Timeout => return Err(error),
                // The first refusal says more than a broken connection after it.
                Err(error) if refusal.as_ref().is_some_and(|first| first.fault == Fault::Refused) => {
                    tracing::debug!(%error, "other credentials fail too");
                }
                Err(error) => refusal = Some(error),
            }
        }
        Err(refusal.unwrap_or_else(|| {
            PortError::new(
                Fault::Refused,
                format!("cannot reach etcd on {node}"),
                "there are no credentials for it",
            )
        }))
    }

    /// A member's state, and whether it answers a linearizable read.
    async fn look(&self, position: usize) -> PortResult<(Member, StatusResponse, bool)> {
        let (mut member, status) = self.status(position).await?;
        let answer: PortResult<RangeResponse> = member.call(RANGE, range(HEALTH_KEY)).await;
        let healthy = answer.inspect_err(|error| tracing::debug!(%error, "not healthy")).is_ok();
        Ok((member, status, healthy))
    }

    /// Makes a call on whichever member answers. It has to be idempotent: one that was made may be made again.
    async fn anywhere<Q, A>(&self, path: &'static str, request: Q) -> PortResult<A>
    where
        Q: Message + Clone + 'static,
        A: Message + Default + 'static,
    {
        let mut last = PortError::new(Fault::Failed, "cannot reach etcd", "it has no members");
        for round in 0..ROUNDS {
            if round > 0 {
                sleep(ROUND_PAUSE).await;
            }
            for position in 0..self.members.len() {
                let attempt = async {
                    let (mut member, _) = self.status(position).await?;
                    member.call(path, request.clone()).await
                };
                match attempt.await {
                    Ok(answer) => return Ok(answer),
                    Err(error) if matches!(error.fault, Fault::Failed | Fault::Unexpected) => {
                        return Err(error);
                    }
                    Err(error) => last = error,
                }
            }
            if !last.is_transient() {
                break;
            }
        }
        Err(last)
    }

    fn position(&self, node: &NodeName) -> PortResult<usize> {
        self.members.iter().position(|member| member == node).ok_or_else(|| {
            PortError::new(Fault::Failed, format!("cannot reach etcd on {node}"), "no member runs there")
        })
    }
}

#[async_trait]
impl Etcd for EtcdClient {
    async fn use_credentials(&self, credentials: Vec<Credentials>) -> PortResult<()> {
        let configs = credentials.iter().map(call::config).collect::<PortResult<Vec<_>>>()?;
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(configs);
        for accepted in &self.accepted {
            accepted.store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The members on our nodes come first and in their order, then those that etcd lists besides: a member that was
    /// forgotten counts for the quorum all the same.
    async fn members(&self) -> PortResult<Vec<EtcdMember>> {
        let looks = join_all((0..self.members.len()).map(|position| self.look(position))).await;
        let mut listed = Vec::new();
        let mut seen = Vec::with_capacity(looks.len());
        for look in looks {
            match look {
                Ok((mut member, status, healthy)) => {
                    if listed.is_empty() {
                        listed = list(&mut member).await.unwrap_or_default();
                    }
                    seen.push(Some((status, healthy)));
                }
                Err(error) => {
                    tracing::debug!(%error, "an etcd member does not answer");
                    seen.push(None);
                }
            }
        }
        let leaders = seen.iter().flatten().filter(|(status, _)| status.leader == status.member_id());
        let committed_index =
            leaders.chain(seen.iter().flatten()).map(|(status, _)| status.raft_index).max().unwrap_or(0);
        let ours = self.members.iter().zip(&seen).map(|(node, seen)| {
            let Some((status, healthy)) = seen else {
                return silent(
                    node,
                    listed.iter().find(|member| member.name == node.as_str()),
                    committed_index,
                );
            };
            let id = status.member_id();
            let name = listed.iter().find(|member| member.id == id && !member.name.is_empty());
            EtcdMember {
                id: format!("{id:x}"),
                name: name.map_or_else(|| node.as_str().to_owned(), |member| member.name.clone()),
                healthy: *healthy,
                leader: id != 0 && status.leader == id,
                term: status.raft_term,
                applied_index: status.applied_index(),
                committed_index,
            }
        });
        let mut members: Vec<_> = ours.collect();
        for other in &listed {
            let id = format!("{:x}", other.id);
            if !members.iter().any(|member| member.id == id) {
                members.push(silent(&NodeName::new(other.name.clone()), Some(other), committed_index));
            }
        }
        Ok(members)
    }

    async fn yield_leadership(&self, from: &NodeName, to: &NodeName) -> PortResult<()> {
        let (from_position, to_position) = (self.position(from)?, self.position(to)?);
        let (mut leader, status) = self.status(from_position).await?;
        let id = status.member_id();
        if status.leader != id {
            return Ok(());
        }
        let (_, target) = self.status(to_position).await?;
        let request = MoveLeaderRequest { target_id: target.member_id() };
        let moved: PortResult<MoveLeaderResponse> =
            leader.call("/etcdserverpb.Maintenance/MoveLeader", request).await;
        // Whether the call failed because somebody else leads already, or broke after it had worked, shows below.
        let mut cause = moved.err().map_or_else(|| format!("{from} still leads"), |error| error.cause);
        let deadline = Instant::now() + YIELD_LIMIT;
        while Instant::now() < deadline {
            match leader.call::<_, StatusResponse>(STATUS, StatusRequest {}).await {
                Ok(status) if status.leader != id && status.leader != 0 => return Ok(()),
                Ok(_) => {}
                Err(error) => cause = error.cause,
            }
            sleep(YIELD_INTERVAL).await;
        }
        let what = format!("cannot move etcd's leadership from {from} to {to}");
        Err(PortError::new(Fault::Timeout, what, cause)
            .remedy(format!("Check that the etcd member on {to} is healthy and has caught up.")))
    }

    async fn get(&self, key: &str) -> PortResult<Option<Vec<u8>>> {
        Ok(first_value(self.anywhere(RANGE, range(key)).await?))
    }

    async fn put(&self, pairs: &[(String, Zeroizing<Vec<u8>>)]) -> PortResult<()> {
        let put = |(key, value): &(String, Zeroizing<Vec<u8>>)| PutRequest {
            key: key.as_bytes().to_vec(),
            value: value.to_vec(),
        };
        let success = pairs.iter().map(|pair| RequestOp { request: Some(Request::Put(put(pair))) }).collect();
        let answer: TxnResponse = self.anywhere("/etcdserverpb.KV/Txn", TxnRequest { success }).await?;
        if answer.succeeded {
            return Ok(());
        }
        Err(PortError::new(Fault::Unexpected, "cannot write to etcd", "it did not apply the transaction"))
    }
}

/// A member that did not answer.
fn silent(node: &NodeName, listed: Option<&message::Member>, committed_index: u64) -> EtcdMember {
    EtcdMember {
        id: listed.map_or_else(String::new, |member| format!("{:x}", member.id)),
        name: node.as_str().to_owned(),
        healthy: false,
        leader: false,
        term: 0,
        applied_index: 0,
        committed_index,
    }
}

fn range(key: &str) -> RangeRequest {
    RangeRequest { key: key.as_bytes().to_vec() }
}

fn first_value(answer: RangeResponse) -> Option<Vec<u8>> {
    answer.kvs.into_iter().next().map(|pair| pair.value)
}

async fn list(member: &mut Member) -> PortResult<Vec<message::Member>> {
    let answer: MemberListResponse =
        member.call("/etcdserverpb.Cluster/MemberList", MemberListRequest {}).await?;
    Ok(answer.members)
}

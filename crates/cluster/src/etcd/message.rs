//! The few messages of etcd's v3 API that a rotation needs.
//!
//! Written by hand rather than generated. The generated code for etcd's `rpc.proto` has 188 kB, of which we would use
//! these lines, and generating needs a protobuf compiler (etcd-client's build script: `protoc` and Google's well-known
//! types) or a generator in the build. Field numbers are part of etcd's stable API; unknown fields are skipped, so that
//! every 3.x answers. Names and numbers are those of `api/etcdserverpb/rpc.proto` and `api/mvccpb/kv.proto`.

use prost::{Message, Oneof};

/// What heads every answer.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ResponseHeader {
    /// The member that answered.
    #[prost(uint64, tag = "2")]
    pub(super) member_id: u64,
}

/// `Maintenance.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub(super) header: Option<ResponseHeader>,
    /// The leader's member id as this member knows it; 0 while there is none.
    #[prost(uint64, tag = "4")]
    pub(super) leader: u64,
    /// How far this member's log is committed.
    #[prost(uint64, tag = "5")]
    pub(super) raft_index: u64,
    #[prost(uint64, tag = "6")]
    pub(super) raft_term: u64,
    /// How far this member has applied its log. 0 before etcd 3.4.
    #[prost(uint64, tag = "7")]
    pub(super) raft_applied_index: u64,
}

impl StatusResponse {
    /// The member that answered.
    pub(super) fn member_id(&self) -> u64 {
        self.header.as_ref().map_or(0, |header| header.member_id)
    }

    /// How far the log is applied, as well as this version of etcd tells.
    pub(super) const fn applied_index(&self) -> u64 {
        if self.raft_applied_index == 0 { self.raft_index } else { self.raft_applied_index }
    }
}

/// `Maintenance.MoveLeader`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MoveLeaderRequest {
    #[prost(uint64, tag = "1")]
    pub(super) target_id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MoveLeaderResponse {}

/// `Cluster.MemberList`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct MemberListRequest {}

#[derive(Clone, PartialEq, Message)]
pub(super) struct MemberListResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) members: Vec<Member>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Member {
    #[prost(uint64, tag = "1")]
    pub(super) id: u64,
    /// Empty for a member that was added and has never started.
    #[prost(string, tag = "2")]
    pub(super) name: String,
}

/// `KV.Range`. Linearizable, unless asked otherwise by a field that we never set.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RangeRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    pub(super) kvs: Vec<KeyValue>,
}

/// No `Debug` of its own that would print the value: see [`prost::Message`]'s `skip_debug`.
#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct KeyValue {
    #[prost(bytes = "vec", tag = "5")]
    pub(super) value: Vec<u8>,
}

/// `KV.Txn`, without conditions: all that it holds happens, or nothing.
#[derive(Clone, PartialEq, Message)]
pub(super) struct TxnRequest {
    #[prost(message, repeated, tag = "2")]
    pub(super) success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct RequestOp {
    #[prost(oneof = "Request", tags = "2")]
    pub(super) request: Option<Request>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Request {
    #[prost(message, tag = "2")]
    Put(PutRequest),
}

#[derive(Clone, PartialEq, Message)]
#[prost(skip_debug)]
pub(super) struct PutRequest {
    #[prost(bytes = "vec", tag = "1")]
    pub(super) key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct TxnResponse {
    #[prost(bool, tag = "2")]
    pub(super) succeeded: bool,
}

/// Private keys pass through here; what they are shall not show in a log.
macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
opaque!(KeyValue, PutRequest);

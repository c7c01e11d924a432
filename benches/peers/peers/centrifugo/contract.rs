//! As much of Centrifugo's two gRPC contracts as is used here: `CentrifugoApi/Publish`, which
//! it serves, and `CentrifugoProxy/RPC`, which it calls. By hand, so that the build needs no
//! protobuf files of others. Fields that are left out are skipped when they are read.

pub const PUBLISH: &str = "/centrifugal.centrifugo.api.CentrifugoApi/Publish";

pub const RPC: &str = "/centrifugal.centrifugo.proxy.CentrifugoProxy/RPC";

#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishRequest {
    #[prost(string, tag = "1")]
    pub channel: String,
    /// JSON.
    #[prost(bytes = "vec", tag = "2")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishResponse {
    #[prost(message, optional, tag = "1")]
    pub error: Option<Error>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcRequest {
    /// The connection's id.
    #[prost(string, tag = "1")]
    pub client: String,
    #[prost(string, tag = "10")]
    pub user: String,
    #[prost(string, tag = "11")]
    pub method: String,
    /// JSON.
    #[prost(bytes = "vec", tag = "12")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcResponse {
    #[prost(message, optional, tag = "1")]
    pub result: Option<RpcResult>,
    #[prost(message, optional, tag = "2")]
    pub error: Option<Error>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RpcResult {
    /// JSON.
    #[prost(bytes = "vec", tag = "1")]
    pub data: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Error {
    #[prost(uint32, tag = "1")]
    pub code: u32,
    #[prost(string, tag = "2")]
    pub message: String,
}

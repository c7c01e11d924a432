//! What tests, fuzz targets and `examples/echo.rs` reach inside for. Nobody else should: it
//! changes with the code.

pub mod application {
    pub use crate::application::{
        Action, ActionReply, Admission, Application, ApplicationError, AuthUpdate, CheckReason,
        ClientInfo, Decision, SessionSnapshot, SessionUpdate,
    };

    pub mod grpc {
        pub use crate::application::grpc::{
            ApplicationState, CallLimit, GrpcApplication, GrpcConfig, Shared,
        };
    }
}

pub mod bus {
    pub use crate::bus::{
        Answers, AskError, Bindings, BusListener, BusStatus, EventBus, Hold, LogEntry, LogReading,
        NotBound, NotRead, PublishError, Replicas, SharedLog, SkipReason,
    };

    pub mod memory {
        pub use crate::bus::memory::MemoryBus;
    }

    pub mod rabbitmq {
        pub use crate::bus::rabbitmq::{
            BrokerUrl, ExchangeConfig, ExchangeKind, InvalidBrokerUrl, RabbitMqBus, RabbitMqConfig,
            batch,
        };
    }
}

pub mod config {
    pub use crate::config::exchanges;
}

pub mod edge {
    pub use crate::edge::{ClientSocket, serve};

    pub mod forwarded {
        pub use crate::edge::forwarded::TrustedProxies;
    }

    pub mod websocket {
        pub use crate::edge::websocket::{WebSocket, fault};
    }
}

pub mod event {
    pub use crate::event::{
        Entry, Event, EventBody, Exchange, InvalidEvent, OutgoingEvent, Position, PushedAt,
        RawBody, RawEvent, StoredEvent, Topic,
    };
}

pub mod gateway_api {
    pub use crate::gateway_api::{GatewayApi, serve};

    pub mod peers {
        pub use crate::gateway_api::peers::{LocalAnswers, Peers};
    }
}

pub mod hub {
    pub use crate::hub::{Delivery, Expected, Hub, Interest};

    pub mod outbox {
        pub use crate::hub::outbox::{Outbox, Signal};
    }
}

pub mod ids {
    pub use crate::ids::{ReplicaId, SessionId, SessionIds};
}

pub mod metrics {
    pub use crate::metrics::Metrics;
}

pub mod net {
    pub mod dial {
        pub use crate::net::dial::first_to_connect;
    }

    pub mod listener {
        pub use crate::net::listener::Listener;
    }

    pub mod origin {
        pub use crate::net::origin::{Origin, OriginPolicy, OriginRefused};
    }
}

pub mod protocol {
    pub use crate::protocol::{
        ClientError, ClientMessage, Close, Dialect, ErrorCode, Frame, KeyForm, KeySelection,
        NotRecovered, OWN_EVENTS, Past, Recovered, RoutingKey, Tag, TopicRequest, done, error, gap,
        pushed_event, replayed, subscribed, unsubscribed,
    };
}

pub mod ring {
    pub use crate::ring::{
        Cursor, LogReader, Lost, NoReading, NotRead, Place, Ring, RingEvent, Span,
    };
}

pub mod server {
    pub use crate::server::{bounds, edge};
}

pub mod session {
    pub use crate::session::{Services, Session};

    pub mod directory {
        pub use crate::session::directory::{LocalSessions, SessionCommand};
    }

    pub mod socket {
        pub use crate::session::socket::Fault;
    }
}

//! The operator's listener: health, the console and the JSON it lives on, events pushed and
//! sessions closed by hand. What is asked here is cheap: a few readers, each look bounded,
//! nothing kept up for those who do not look but a point of the history every few seconds.

mod access;
mod answer;
mod body;
mod disconnect;
mod history;
mod metrics_page;
mod overview;
mod page;
mod push;
mod query;
mod resumes;
mod sessions;
mod tail;
mod topics;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::{Method, Request, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::{MissedTickBehavior, interval};

pub(crate) use self::{access::Access, history::History, tail::Tail, topics::Topics};
use self::{
    answer::{Answer, Refusal},
    query::Query,
};
use crate::{
    gateway_api::GatewayApi,
    health::Health,
    ids::ReplicaId,
    metrics::Metrics,
    net::{
        listener::Listener,
        small_http::{self, BodyError},
    },
    ring::Ring,
    session::directory::Directory,
};

/// Of a pushed event with its names: the largest that may be configured is larger, and goes
/// by gRPC.
const BODY_MAX: usize = 1 << 20;

pub(crate) struct Admin {
    pub access: Access,
    pub about: About,
    pub health: Arc<Health>,
    pub metrics: Arc<Metrics>,
    pub history: History,
    pub directory: Arc<Directory>,
    pub ring: Arc<Ring>,
    pub topics: Arc<Topics>,
    pub tail: Arc<Tail>,
    pub gateway: GatewayApi,
}

/// What stays as it is while the process runs.
pub(crate) struct About {
    pub replica: ReplicaId,
    pub clients: SocketAddr,
    /// Where the application is asked.
    pub application: String,
    pub max_in_flight: usize,
}

/// Serves until it is dropped, and keeps the history up.
pub(crate) async fn serve(listener: Listener, admin: Admin) {
    let admin = Arc::new(admin);
    let remembering = admin.clone();
    let answer = move |request, peer| {
        let admin = admin.clone();
        async move { admin.answer(request, peer).await.unwrap_or_else(Answer::from) }
    };
    tokio::select! {
        () = small_http::serve(listener, answer) => {}
        () = remember(&remembering) => {}
    }
}

async fn remember(admin: &Admin) {
    let mut ticks = interval(history::INTERVAL);
    // After a pause one point is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        admin.remember().await;
    }
}

impl Admin {
    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> Result<Answer, Refusal> {
        // Probes ask under any name, and older ones under none.
        if let Some(report) = self.health(request.uri().path()) {
            reads(request.method())?;
            return Ok(report);
        }
        self.access.check_host(request.headers())?;
        self.access.check_caller(request.headers(), peer)?;
        if let Some(change) = Change::at(request.uri().path()) {
            return self.carry_out(change, request).await;
        }
        reads(request.method())?;
        self.look_up(&request).await
    }

    fn health(&self, path: &str) -> Option<Answer> {
        match path {
            "/health/live" => Some(answer::ok(&serde_json::json!({"status": "live"}))),
            "/health/ready" => {
                let report = self.health.report();
                Some(answer::json(report.status.http(), &report))
            }
            _ => None,
        }
    }

    async fn look_up(&self, request: &Request<Incoming>) -> Result<Answer, Refusal> {
        let query = Query::read(request.uri().query());
        match request.uri().path() {
            "/metrics" => Ok(self.metrics_page(request.headers()).await),
            "/api/overview" => Ok(answer::ok(&self.overview().await)),
            "/api/history" => Ok(answer::ok(&self.history.columns())),
            "/api/sessions" => Ok(answer::ok(&sessions::list(&self.directory, &query).await?)),
            "/api/topics" => Ok(answer::ok(&self.topics.list(&query)?)),
            "/api/events" => Ok(answer::ok(&self.tail.list(&query)?)),
            path => page::file(path).ok_or_else(|| {
                let text = "nothing here; try / or /health/ready";
                Refusal::new(StatusCode::NOT_FOUND, text)
            }),
        }
    }

    async fn carry_out(
        &self,
        change: Change,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        if request.method() != Method::POST {
            let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only POST");
            return Err(refusal.with(header::ALLOW, "POST"));
        }
        self.access.check_post(request.headers())?;
        let body = small_http::read_body(request.into_body(), BODY_MAX).await?;
        Ok(match change {
            Change::Push => answer::ok(&push::push(&self.gateway, &body).await?),
            Change::Disconnect => answer::ok(&disconnect::disconnect(&self.gateway, &body).await?),
        })
    }
}

/// What is not only looked at.
enum Change {
    Push,
    Disconnect,
}

impl Change {
    fn at(path: &str) -> Option<Self> {
        match path {
            "/api/push" => Some(Self::Push),
            "/api/disconnect" => Some(Self::Disconnect),
            _ => None,
        }
    }
}

fn reads(method: &Method) -> Result<(), Refusal> {
    if matches!(*method, Method::GET | Method::HEAD) {
        return Ok(());
    }
    let refusal = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    Err(refusal.with(header::ALLOW, "GET, HEAD"))
}

impl From<BodyError> for Refusal {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge => {
                let text = format!("{error}; {BODY_MAX} bytes are the most");
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, text)
            }
            BodyError::TooSlow => Self::new(StatusCode::REQUEST_TIMEOUT, error.to_string()),
            BodyError::Broken => Self::new(StatusCode::BAD_REQUEST, error.to_string()),
        }
    }
}

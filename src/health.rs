//! Whether this replica should get clients, and what is wrong with it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::StatusCode;
use serde::Serialize;
use strum::IntoStaticStr;

use crate::{
    application::grpc::ApplicationState,
    bus::{BusStatus, EventBus},
};

/// Asked by probes and people. A broker or an application that is lost later makes the
/// replica degraded, not unready: otherwise one broker's restart takes every application
/// instance out of service.
pub struct Health {
    bus: Arc<dyn EventBus>,
    application: Arc<ApplicationState>,
    ready_requires_bus: bool,
    draining: AtomicBool,
}

/// The body of `/health/ready`.
#[derive(Debug, Serialize)]
pub struct Report {
    pub status: Status,
    pub bus: &'static str,
    pub reasons: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum Status {
    Starting,
    Ready,
    Degraded,
    Draining,
    Unready,
}

impl Health {
    pub fn new(
        bus: Arc<dyn EventBus>,
        application: Arc<ApplicationState>,
        ready_requires_bus: bool,
    ) -> Self {
        Self { bus, application, ready_requires_bus, draining: AtomicBool::new(false) }
    }

    /// From now on no more clients should come.
    pub fn set_draining(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub fn bus(&self) -> BusStatus {
        self.bus.status()
    }

    /// Why actions fail now, if some do.
    pub fn application_problem(&self) -> Option<String> {
        self.application.problem()
    }

    pub fn report(&self) -> Report {
        let bus = self.bus.status();
        let bus_is_well = bus.problems.is_empty();
        let mut reasons = bus.problems;
        let application = self.application.problem();
        reasons.extend(application.map(|reason| format!("the application: {reason}")));
        let status = if self.draining.load(Ordering::Relaxed) {
            Status::Draining
        } else if !bus.attached_once {
            Status::Starting
        } else if self.ready_requires_bus && !bus_is_well {
            Status::Unready
        } else if reasons.is_empty() {
            Status::Ready
        } else {
            Status::Degraded
        };
        Report { status, bus: bus.kind, reasons }
    }
}

impl Status {
    pub fn http(self) -> StatusCode {
        match self {
            Self::Ready | Self::Degraded => StatusCode::OK,
            Self::Starting | Self::Draining | Self::Unready => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

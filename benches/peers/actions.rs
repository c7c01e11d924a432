//! Actions of sessions through servers that ask an application, and the same calls made
//! straight.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use futures_util::future::try_join_all;
use myxi::proto::{HandleActionRequest, Session, action_handler_client::ActionHandlerClient};
use tokio::time::sleep;
use tonic::Request;

use crate::{
    load::{Application, Clients, Pace, Step, payload, step, usage, within},
    peer::{Forwarder, KEY},
};

const WARM_UP: Duration = Duration::from_millis(500);

const DEADLINE: Duration = Duration::from_secs(30);

/// As the gateway's default.
const ACTION_TIMEOUT: Duration = Duration::from_secs(3);

/// CPU in microseconds per call.
pub struct Measured {
    pub per_second: f64,
    pub server_cpu: Option<f64>,
    pub handler_cpu: f64,
    pub load_cpu: f64,
    pub p50: Duration,
}

impl Measured {
    pub fn figures(&self) -> [Option<f64>; 4] {
        [Some(self.per_second), self.server_cpu, Some(self.handler_cpu), Some(self.load_cpu)]
    }

    /// The median of how long a call takes.
    pub fn micros(&self) -> f64 {
        self.p50.as_secs_f64() * 1e6
    }
}

/// Each session's next action follows the answer to the one before it.
pub async fn through(
    forwarder: &dyn Forwarder,
    sessions: usize,
    time: Duration,
    processors: &str,
) -> anyhow::Result<Measured> {
    let server = forwarder.start_forwarding(processors).await?;
    let clients = Clients::new(server.unit, Pace::Sparing)?;
    let script = (server.script)(server.address, KEY);
    clients.open(server.address, sessions, sessions, |_| script.clone()).await?;
    let once: Rc<[Step]> = Rc::new([step(server.action.to_vec(), &payload())]);
    within(DEADLINE, "every session is answered", clients.play(sessions, &once)).await?;
    clients.repeat(&server.action)?;
    sleep(WARM_UP).await;

    let (meter, calls) = (Meter::start(&server.application), clients.received());
    let server_cpu = usage::cpu(server.process);
    clients.take_latencies();
    sleep(time).await;
    let calls = clients.received() - calls;
    let server_cpu = (usage::cpu(server.process) - server_cpu).as_secs_f64() * 1e6 / calls as f64;
    let measured = meter.stop(calls, clients.latencies());
    clients.none_lost()?;
    Ok(Measured { server_cpu: Some(server_cpu), ..measured })
}

/// The same unary call, made by as many tasks over one connection, as the gateway has it.
pub async fn straight(tasks: usize, time: Duration, processors: &str) -> anyhow::Result<Measured> {
    let application = Application::start(processors).await?;
    let handler = ActionHandlerClient::connect(application.url()).await?;
    let (calls, over) = (Cell::new(0), Cell::new(false));
    let latencies = RefCell::new(Vec::new());
    let caller = async || {
        let mut handler = handler.clone();
        while !over.get() {
            let asked = Instant::now();
            let mut request = Request::new(request());
            request.set_timeout(ACTION_TIMEOUT);
            handler.handle_action(request).await?;
            calls.set(calls.get() + 1);
            latencies.borrow_mut().push(asked.elapsed());
        }
        anyhow::Ok(())
    };
    let measuring = async {
        sleep(WARM_UP).await;
        latencies.borrow_mut().clear();
        let (meter, before) = (Meter::start(&application), calls.get());
        sleep(time).await;
        let measured = meter.stop(calls.get() - before, latencies.take());
        over.set(true);
        Ok(measured)
    };
    let calling = try_join_all((0..tasks).map(|_| caller()));
    Ok(tokio::try_join!(measuring, calling)?.0)
}

/// As the gateway makes it of a client's message.
fn request() -> HandleActionRequest {
    let session = Session {
        id: "0123456789abcdef".into(),
        auth: Some("\"somebody\"".into()),
        remote_address: "127.0.1.1".into(),
        path: "/".into(),
        ..Default::default()
    };
    HandleActionRequest {
        session: Some(session),
        action: "Echo".into(),
        payload: payload(),
        tag: Some("1".into()),
    }
}

struct Meter<'a> {
    application: &'a Application,
    handler_cpu: Duration,
    load_cpu: Duration,
    began: Instant,
}

impl<'a> Meter<'a> {
    fn start(application: &'a Application) -> Self {
        let (handler_cpu, load_cpu) = (application.cpu(), usage::own_cpu());
        Self { application, handler_cpu, load_cpu, began: Instant::now() }
    }

    fn stop(self, calls: u64, mut latencies: Vec<Duration>) -> Measured {
        let elapsed = self.began.elapsed();
        let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / calls as f64;
        latencies.sort_unstable();
        Measured {
            per_second: calls as f64 / elapsed.as_secs_f64(),
            server_cpu: None,
            handler_cpu: each(self.application.cpu() - self.handler_cpu),
            load_cpu: each(usage::own_cpu() - self.load_cpu),
            p50: latencies.get(latencies.len() / 2).copied().unwrap_or_default(),
        }
    }
}

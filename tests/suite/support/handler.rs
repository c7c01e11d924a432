//! An application: a real `ActionHandler` server on a real socket, scripted by the test.
//!
//! It runs in a thread of its own with a runtime of its own, so that it can be killed
//! (every socket closes at once, nothing is finished) or frozen (its sockets stay open,
//! nothing answers) as a process can be.
//!
//! ```ignore
//! let app = TestHandler::start().await;
//! app.on("Hello", |request| Ok(reply::events([("Hello", request.payload.as_str())])));
//! let gateway = … .action_handler(app.endpoint()) …;
//! let call = app.next("HandleAction").await;
//! ```
//!
//! Without a script, actions are `UNIMPLEMENTED` and everything else is allowed. What the
//! gateway asks on its own account, with no topics, is answered and no [`Call`].

#![allow(dead_code)]

use std::{
    collections::HashMap,
    future::Future,
    net::{Ipv4Addr, SocketAddr},
    ops::Range,
    path::PathBuf,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc::{self as sync_mpsc, RecvTimeoutError},
    },
    thread::JoinHandle,
    time::Duration,
};

use futures_util::stream;
pub use myxi::proto;
use tokio::{
    net::{TcpListener, UnixListener},
    sync::{Notify, mpsc},
};
use tonic::{Request, Response, Status, metadata::MetadataMap};

use proto::{
    CheckSubscriptionsRequest, CheckSubscriptionsResponse, HandleActionRequest,
    HandleActionResponse, SessionClosedRequest, SessionClosedResponse, SessionOpenedRequest,
    SessionOpenedResponse,
    action_handler_server::{ActionHandler, ActionHandlerServer},
};

use super::{DEADLINE, within};

/// How often a frozen handler looks whether it was killed.
const TICK: Duration = Duration::from_millis(10);

type Answer<T> = Result<T, Status>;
type Answering<T> = Pin<Box<dyn Future<Output = Answer<T>> + Send>>;
type Script<Q, A> = Arc<dyn Fn(Q) -> Answering<A> + Send + Sync>;

/// One call as the application saw it.
#[derive(Debug, Clone)]
pub struct Call {
    /// `HandleAction`, `CheckSubscriptions`, `SessionOpened` or `SessionClosed`.
    pub method: &'static str,
    pub metadata: MetadataMap,
    pub message: Message,
}

#[derive(Debug, Clone)]
pub enum Message {
    Action(HandleActionRequest),
    Check(CheckSubscriptionsRequest),
    Opened(SessionOpenedRequest),
    Closed(SessionClosedRequest),
}

impl Call {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(|value| value.to_str().expect("a header of text"))
    }

    pub fn action(&self) -> &HandleActionRequest {
        match &self.message {
            Message::Action(request) => request,
            other => panic!("not an action: {other:?}"),
        }
    }

    pub fn check(&self) -> &CheckSubscriptionsRequest {
        match &self.message {
            Message::Check(request) => request,
            other => panic!("not a check: {other:?}"),
        }
    }

    pub fn opened(&self) -> &SessionOpenedRequest {
        match &self.message {
            Message::Opened(request) => request,
            other => panic!("not SessionOpened: {other:?}"),
        }
    }

    pub fn closed(&self) -> &SessionClosedRequest {
        match &self.message {
            Message::Closed(request) => request,
            other => panic!("not SessionClosed: {other:?}"),
        }
    }
}

/// The application of a test. Killed on drop.
pub struct TestHandler {
    address: Address,
    app: App,
    calls: tokio::sync::Mutex<mpsc::UnboundedReceiver<Call>>,
    process: Mutex<Option<Process>>,
}

#[derive(Debug, Clone)]
enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// What stands in for the application's process.
struct Process {
    kill: Arc<Notify>,
    killed: Arc<AtomicBool>,
    freeze: mpsc::UnboundedSender<sync_mpsc::Receiver<()>>,
    thread: JoinHandle<()>,
}

/// Thaws the application when dropped.
pub struct Frozen(#[allow(dead_code)] sync_mpsc::Sender<()>);

impl TestHandler {
    /// Listens on a free port of loopback.
    pub async fn start() -> Self {
        let listener = free_listener();
        let address = listener.local_addr().expect("a bound socket has an address");
        Self::serve(Address::Tcp(address), Listener::Tcp(listener))
    }

    pub async fn start_at(address: SocketAddr) -> Self {
        let address = Address::Tcp(address);
        let listener = address.listen();
        Self::serve(address, listener)
    }

    pub async fn start_unix(path: impl Into<PathBuf>) -> Self {
        let address = Address::Unix(path.into());
        let listener = address.listen();
        Self::serve(address, listener)
    }

    fn serve(address: Address, listener: Listener) -> Self {
        let (seen, calls) = mpsc::unbounded_channel();
        let app = App { scripts: Arc::default(), seen, probes: Arc::default() };
        let process = Some(Process::start(listener, app.clone())).into();
        Self { address, app, calls: calls.into(), process }
    }

    /// What `--action-handler` takes.
    pub fn endpoint(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// Scripts one action. A later script replaces an earlier one.
    pub fn on(
        &self,
        action: &str,
        answer: impl Fn(HandleActionRequest) -> Answer<HandleActionResponse> + Send + Sync + 'static,
    ) -> &Self {
        self.on_async(action, move |request| std::future::ready(answer(request)))
    }

    pub fn on_async<F>(
        &self,
        action: &str,
        answer: impl Fn(HandleActionRequest) -> F + Send + Sync + 'static,
    ) -> &Self
    where
        F: Future<Output = Answer<HandleActionResponse>> + Send + 'static,
    {
        self.scripts(|scripts| scripts.actions.insert(action.into(), script(answer)));
        self
    }

    /// The action is taken and never answered.
    pub fn hang_on(&self, action: &str) -> &Self {
        self.on_async(action, |_| std::future::pending())
    }

    pub fn on_check(
        &self,
        answer: impl Fn(CheckSubscriptionsRequest) -> Answer<CheckSubscriptionsResponse>
        + Send
        + Sync
        + 'static,
    ) -> &Self {
        self.on_check_async(move |request| std::future::ready(answer(request)))
    }

    pub fn on_check_async<F>(
        &self,
        answer: impl Fn(CheckSubscriptionsRequest) -> F + Send + Sync + 'static,
    ) -> &Self
    where
        F: Future<Output = Answer<CheckSubscriptionsResponse>> + Send + 'static,
    {
        self.scripts(|scripts| scripts.check = Some(script(answer)));
        self
    }

    /// What the gateway asks on its own account.
    pub fn on_probe(
        &self,
        answer: impl Fn(CheckSubscriptionsRequest) -> Answer<CheckSubscriptionsResponse>
        + Send
        + Sync
        + 'static,
    ) -> &Self {
        self.on_probe_async(move |request| std::future::ready(answer(request)))
    }

    pub fn on_probe_async<F>(
        &self,
        answer: impl Fn(CheckSubscriptionsRequest) -> F + Send + Sync + 'static,
    ) -> &Self
    where
        F: Future<Output = Answer<CheckSubscriptionsResponse>> + Send + 'static,
    {
        self.scripts(|scripts| scripts.probe = Some(script(answer)));
        self
    }

    /// How often the gateway asked on its own account.
    pub fn probes(&self) -> usize {
        self.app.probes.load(Ordering::SeqCst)
    }

    pub fn on_opened(
        &self,
        answer: impl Fn(SessionOpenedRequest) -> Answer<SessionOpenedResponse> + Send + Sync + 'static,
    ) -> &Self {
        self.on_opened_async(move |request| std::future::ready(answer(request)))
    }

    pub fn on_opened_async<F>(
        &self,
        answer: impl Fn(SessionOpenedRequest) -> F + Send + Sync + 'static,
    ) -> &Self
    where
        F: Future<Output = Answer<SessionOpenedResponse>> + Send + 'static,
    {
        self.scripts(|scripts| scripts.opened = Some(script(answer)));
        self
    }

    pub fn on_closed(
        &self,
        answer: impl Fn(SessionClosedRequest) -> Answer<SessionClosedResponse> + Send + Sync + 'static,
    ) -> &Self {
        let answer = script(move |request| std::future::ready(answer(request)));
        self.scripts(|scripts| scripts.closed = Some(answer));
        self
    }

    fn scripts<T>(&self, change: impl FnOnce(&mut Scripts) -> T) {
        change(&mut self.app.scripts.lock().unwrap());
    }

    /// The next call of this method, in the order in which they came; calls of other
    /// methods before it are passed over.
    pub async fn next(&self, method: &str) -> Call {
        let mut calls = self.calls.lock().await;
        within(DEADLINE, method, async {
            loop {
                let call = calls.recv().await.expect("the handler outlives the test");
                if call.method == method {
                    return call;
                }
            }
        })
        .await
    }

    /// Every call that has come and was not looked at.
    pub async fn seen(&self) -> Vec<Call> {
        let mut calls = self.calls.lock().await;
        std::iter::from_fn(|| calls.try_recv().ok()).collect()
    }

    /// As `kill -9`: all of its connections are closed, calls in flight are cut off.
    pub fn kill(&self) {
        if let Some(process) = self.process.lock().unwrap().take() {
            process.killed.store(true, Ordering::SeqCst);
            process.kill.notify_one();
            process.thread.join().expect("the handler does not panic");
        }
    }

    /// Comes back at the same address, after [`TestHandler::kill`].
    pub fn restart(&self) {
        let mut process = self.process.lock().unwrap();
        assert!(process.is_none(), "it is running");
        *process = Some(Process::start(self.address.listen(), self.app.clone()));
    }

    /// As SIGSTOP, until the guard is dropped: its sockets stay open and silent.
    pub fn freeze(&self) -> Frozen {
        let (thaw, thawed) = sync_mpsc::channel();
        let process = self.process.lock().unwrap();
        process.as_ref().expect("it is running").freeze.send(thawed).expect("it is running");
        Frozen(thaw)
    }
}

impl Drop for TestHandler {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Linux gives those from 32768 on.
const PORTS: Range<u16> = 20_000..32_000;

/// An address that was free a moment ago, and that nothing listens on. It is none of those that the
/// system gives to whoever connects: it stays free until somebody listens, and between two who do.
pub fn free_address() -> SocketAddr {
    free_listener().local_addr().expect("a bound socket has an address")
}

fn free_listener() -> std::net::TcpListener {
    loop {
        let address = (Ipv4Addr::LOCALHOST, rand::random_range(PORTS));
        if let Ok(listener) = std::net::TcpListener::bind(address) {
            return listener;
        }
    }
}

enum Listener {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Address {
    fn listen(&self) -> Listener {
        match self {
            Self::Tcp(address) => Listener::Tcp(bind(*address)),
            Self::Unix(path) => {
                let _ = std::fs::remove_file(path);
                let listener = std::os::unix::net::UnixListener::bind(path);
                Listener::Unix(listener.expect("a writable directory"))
            }
        }
    }
}

/// A port that nobody listens on may be a connection's own for a moment.
fn bind(address: SocketAddr) -> std::net::TcpListener {
    let begun = std::time::Instant::now();
    loop {
        match std::net::TcpListener::bind(address) {
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse && begun.elapsed() < DEADLINE =>
            {
                std::thread::sleep(TICK);
            }
            bound => return bound.expect("a free port"),
        }
    }
}

impl Process {
    fn start(listener: Listener, app: App) -> Self {
        let kill = Arc::new(Notify::new());
        let kill_signal = kill.clone();
        let killed = Arc::new(AtomicBool::new(false));
        let dead = killed.clone();
        let (freeze, mut frozen) = mpsc::unbounded_channel::<sync_mpsc::Receiver<()>>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let server = async {
                    match listener {
                        Listener::Tcp(listener) => {
                            listener.set_nonblocking(true).expect("a socket");
                            let listener = TcpListener::from_std(listener).expect("a socket");
                            serve(app, accept_tcp(listener)).await;
                        }
                        Listener::Unix(listener) => {
                            listener.set_nonblocking(true).expect("a socket");
                            let listener = UnixListener::from_std(listener).expect("a socket");
                            serve(app, accept_unix(listener)).await;
                        }
                    }
                };
                let freezer = async {
                    while let Some(thaw) = frozen.recv().await {
                        // Blocks this thread, and with it all that the application does.
                        let frozen = || thaw.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout);
                        while !dead.load(Ordering::SeqCst) && frozen() {}
                    }
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = server => {}
                    () = freezer => {}
                    () = kill_signal.notified() => {}
                }
            });
        });
        Self { kill, killed, freeze, thread }
    }
}

async fn serve<IO>(app: App, connections: impl stream::Stream<Item = std::io::Result<IO>>)
where
    IO: tokio::io::AsyncRead
        + tokio::io::AsyncWrite
        + tonic::transport::server::Connected
        + Unpin
        + Send
        + 'static,
{
    tonic::transport::Server::builder()
        .serve_with_incoming(ActionHandlerServer::new(app), connections)
        .await
        .expect("the handler serves");
}

fn accept_tcp(
    listener: TcpListener,
) -> impl stream::Stream<Item = std::io::Result<tokio::net::TcpStream>> {
    stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.and_then(|(stream, _)| {
            // As tonic's own listener does.
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        Some((accepted, listener))
    })
}

fn accept_unix(
    listener: UnixListener,
) -> impl stream::Stream<Item = std::io::Result<tokio::net::UnixStream>> {
    stream::unfold(listener, |listener| async {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    })
}

#[derive(Clone)]
struct App {
    scripts: Arc<Mutex<Scripts>>,
    seen: mpsc::UnboundedSender<Call>,
    probes: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Scripts {
    actions: HashMap<String, Script<HandleActionRequest, HandleActionResponse>>,
    check: Option<Script<CheckSubscriptionsRequest, CheckSubscriptionsResponse>>,
    probe: Option<Script<CheckSubscriptionsRequest, CheckSubscriptionsResponse>>,
    opened: Option<Script<SessionOpenedRequest, SessionOpenedResponse>>,
    closed: Option<Script<SessionClosedRequest, SessionClosedResponse>>,
}

fn script<Q, A, F>(answer: impl Fn(Q) -> F + Send + Sync + 'static) -> Script<Q, A>
where
    F: Future<Output = Answer<A>> + Send + 'static,
{
    Arc::new(move |request| Box::pin(answer(request)))
}

impl App {
    fn record<Q: Clone>(
        &self,
        method: &'static str,
        request: Request<Q>,
        message: impl FnOnce(Q) -> Message,
    ) -> Q {
        let (metadata, _, request) = request.into_parts();
        let message = message(request.clone());
        // The test may be over.
        let _ = self.seen.send(Call { method, metadata, message });
        request
    }

    async fn probed(
        &self,
        request: CheckSubscriptionsRequest,
    ) -> Answer<Response<CheckSubscriptionsResponse>> {
        self.probes.fetch_add(1, Ordering::SeqCst);
        match self.script(|scripts| scripts.probe.clone()) {
            Some(answer) => answer(request).await.map(Response::new),
            None => Ok(Response::new(CheckSubscriptionsResponse::default())),
        }
    }

    fn script<T>(&self, find: impl FnOnce(&Scripts) -> Option<T>) -> Option<T> {
        find(&self.scripts.lock().unwrap())
    }
}

#[tonic::async_trait]
impl ActionHandler for App {
    async fn handle_action(
        &self,
        request: Request<HandleActionRequest>,
    ) -> Answer<Response<HandleActionResponse>> {
        let request = self.record("HandleAction", request, Message::Action);
        match self.script(|scripts| scripts.actions.get(&request.action).cloned()) {
            Some(answer) => answer(request).await.map(Response::new),
            None => Err(Status::unimplemented("no such action")),
        }
    }

    async fn check_subscriptions(
        &self,
        request: Request<CheckSubscriptionsRequest>,
    ) -> Answer<Response<CheckSubscriptionsResponse>> {
        if request.get_ref().topics.is_empty() {
            return self.probed(request.into_inner()).await;
        }
        let request = self.record("CheckSubscriptions", request, Message::Check);
        match self.script(|scripts| scripts.check.clone()) {
            Some(answer) => answer(request).await.map(Response::new),
            None => Ok(Response::new(reply::allow_all(&request))),
        }
    }

    async fn session_opened(
        &self,
        request: Request<SessionOpenedRequest>,
    ) -> Answer<Response<SessionOpenedResponse>> {
        let request = self.record("SessionOpened", request, Message::Opened);
        match self.script(|scripts| scripts.opened.clone()) {
            Some(answer) => answer(request).await.map(Response::new),
            None => Ok(Response::new(SessionOpenedResponse {
                decision: proto::SessionDecision::Accept.into(),
                ..Default::default()
            })),
        }
    }

    async fn session_closed(
        &self,
        request: Request<SessionClosedRequest>,
    ) -> Answer<Response<SessionClosedResponse>> {
        let request = self.record("SessionClosed", request, Message::Closed);
        match self.script(|scripts| scripts.closed.clone()) {
            Some(answer) => answer(request).await.map(Response::new),
            None => Ok(Response::new(SessionClosedResponse {})),
        }
    }
}

/// Replies that tests often give.
pub mod reply {
    use super::proto::*;

    /// (name, JSON payload) each.
    pub fn events<'a>(
        events: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> HandleActionResponse {
        let event =
            |(event, payload): (&str, &str)| Event { event: event.into(), payload: payload.into() };
        HandleActionResponse {
            events: events.into_iter().map(event).collect(),
            ..Default::default()
        }
    }

    pub fn set_auth(json: &str) -> HandleActionResponse {
        let update = SessionUpdate { set_auth: Some(json.into()), ..Default::default() };
        HandleActionResponse { session_update: Some(update), ..Default::default() }
    }

    pub fn clear_auth() -> HandleActionResponse {
        let update = SessionUpdate { clear_auth: true, ..Default::default() };
        HandleActionResponse { session_update: Some(update), ..Default::default() }
    }

    pub fn error(code: &str, details: &str, retryable: bool) -> HandleActionResponse {
        let error = ActionError { code: code.into(), details: details.into(), retryable };
        HandleActionResponse { error: Some(error), ..Default::default() }
    }

    pub fn decisions(decisions: impl IntoIterator<Item = Decision>) -> CheckSubscriptionsResponse {
        let decisions = decisions.into_iter().map(Into::into).collect();
        CheckSubscriptionsResponse { decisions }
    }

    pub fn allow_all(request: &CheckSubscriptionsRequest) -> CheckSubscriptionsResponse {
        decisions(request.topics.iter().map(|_| Decision::Allow))
    }

    pub fn deny_all(request: &CheckSubscriptionsRequest) -> CheckSubscriptionsResponse {
        decisions(request.topics.iter().map(|_| Decision::Deny))
    }
}

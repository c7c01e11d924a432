//! Listening sockets that this process was handed (`LISTEN_FDS`): by systemd, or by whoever starts
//! the successor of a gateway that still runs. Both then hold the same sockets, and whoever
//! connects is taken by the one or the other: nobody is refused while one ends and the other
//! begins.

use std::{
    collections::BTreeMap,
    env, io, iter,
    net::{SocketAddr, TcpListener},
    sync::Arc,
};

use listenfd::ListenFd;

/// What they are called in `LISTEN_FDNAMES`.
pub(crate) const CLIENTS: &str = "clients";
pub(crate) const GATEWAY: &str = "gateway";
pub(crate) const ADMIN: &str = "admin";

const NAMES: [&str; 3] = [CLIENTS, GATEWAY, ADMIN];

/// By their names.
#[derive(Debug, Clone, Default)]
pub struct Inherited(BTreeMap<&'static str, Arc<TcpListener>>);

/// Everything that is wrong with what was handed over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidSockets(pub Vec<String>);

impl Inherited {
    /// Takes what was handed to this process, once: `LISTEN_FDS` is gone then, so no other thread
    /// may read the environment meanwhile.
    pub fn take() -> Result<Self, InvalidSockets> {
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut handed = ListenFd::from_env();
        let count = handed.len();
        let names = names.split(':').chain(iter::repeat("")).take(count);
        let (mut sockets, mut problems) = (BTreeMap::new(), Vec::new());
        for (at, given) in names.enumerate() {
            let Some(name) = name(given, count) else {
                problems.push(format!(
                    "LISTEN_FDNAMES: socket {at} is called {given:?}; call it clients, gateway \
                     or admin"
                ));
                continue;
            };
            match handed.take_tcp_listener(at).and_then(listens) {
                Err(error) => problems.push(format!("LISTEN_FDS: {name}: {error}")),
                Ok(socket) => {
                    if sockets.insert(name, Arc::new(socket)).is_some() {
                        problems.push(format!("LISTEN_FDNAMES: {name} is there twice"));
                    }
                }
            }
        }
        if problems.is_empty() { Ok(Self(sockets)) } else { Err(InvalidSockets(problems)) }
    }

    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.get(name)?.local_addr().ok()
    }

    pub fn get(&self, name: &str) -> Option<&TcpListener> {
        self.0.get(name).map(|socket| &**socket)
    }
}

/// A single one that nobody gave a name is for clients; systemd then calls it by its unit.
fn name(given: &str, count: usize) -> Option<&'static str> {
    let unnamed = matches!(given, "" | "unknown") || given.ends_with(".socket");
    let known = NAMES.into_iter().find(|name| *name == given);
    known.or_else(|| (unnamed && count == 1).then_some(CLIENTS))
}

/// A connection is a socket, too: systemd hands one over with `Accept=yes`.
fn listens(socket: Option<TcpListener>) -> io::Result<TcpListener> {
    let socket = socket.ok_or_else(|| io::Error::other("it was taken already"))?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if !socket2::SockRef::from(&socket).is_listener()? {
        return Err(io::Error::other("it does not listen"));
    }
    Ok(socket)
}

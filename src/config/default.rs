//! Every default, as `--help` shows it, with its reason.

/// All interfaces: clients come from elsewhere.
pub(super) const LISTEN: &str = "0.0.0.0:5005";

/// Loopback: the demo lets everybody in who knows what is printed in the README.
pub(super) const DEMO_LISTEN: &str = "127.0.0.1:5005";

/// Loopback: the application runs beside the gateway, and whoever reaches this port may
/// push to every client.
pub(super) const GRPC_LISTEN: &str = "127.0.0.1:5006";

/// Loopback: it shows who is connected and what they are told.
pub(super) const ADMIN_LISTEN: &str = "127.0.0.1:5007";

/// Loopback: the demo's page is for whoever started it.
pub(super) const PAGE_LISTEN: &str = "127.0.0.1:5008";

/// A person who waits longer believes that it is broken.
pub(super) const ACTION_TIMEOUT: &str = "3s";

/// Keeps a stalled application from being buried under calls; at 3 s each it still
/// allows more than 80 a second.
pub(super) const MAX_IN_FLIGHT: &str = "256";

/// Most applications decide everything from the first authentication.
pub(super) const SESSION_OPENED: &str = "off";

/// How long a right that was taken away may live on.
pub(super) const RECHECK_INTERVAL: &str = "60s";

/// A broker that restarts must not take every replica out of service.
pub(super) const READY_REQUIRES_BUS: &str = "false";

/// Strangers reach that port.
pub(super) const HEALTH_ON_LISTEN: &str = "false";

/// Far above what a person or a form sends.
pub(super) const MAX_MESSAGE_SIZE: &str = "64KiB";

/// More than any page shows; one check of them all is still a small message.
pub(super) const MAX_SUBSCRIPTIONS: &str = "1000";

/// A slow mobile network needs two; nobody honest needs ten.
pub(super) const HANDSHAKE_TIMEOUT: &str = "5s";

/// Below the 30 s after which the strictest of common proxies drop an idle connection;
/// two missed ones find a dead client within a minute and a half.
pub(super) const PING_INTERVAL: &str = "25s";

/// Thousands of usual events: only a client that does not read fills it.
pub(super) const MAX_OUTBOX: &str = "1MiB";

/// A quarter of an outbox: four events of the largest kind may wait.
pub(super) const MAX_EVENT_SIZE: &str = "256KiB";

/// Minutes of a busy application; its restart takes less.
pub(super) const RESUME_BUFFER: &str = "64MiB";

/// Past this the socket is not read, and TCP slows the sender down.
pub(super) const MAX_UNREAD_ACTIONS: &str = "256";

/// About 100 MB of idle connections.
pub(super) const MAX_CONNECTIONS: &str = "10000";

/// Leaves nine tenths of the connections to clients when somebody opens sockets and
/// says nothing.
pub(super) const MAX_PENDING_HANDSHAKES: &str = "1000";

/// No proxy in front tells it that this replica is leaving: nothing to wait for.
pub(super) const SHUTDOWN_DELAY: &str = "0s";

/// Spreads the returning clients out, and ends well before the 30 s after which
/// Kubernetes kills.
pub(super) const DRAIN_TIME: &str = "10s";

/// What an operator needs to see of a healthy gateway.
pub(super) const LOG: &str = "info";

/// People watch a terminal; programs read everything else.
pub(super) const LOG_FORMAT: &str = "auto";

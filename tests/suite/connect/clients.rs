//! Connect's own clients.

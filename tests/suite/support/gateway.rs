//! A gateway of the test's own, on ports of its own, in the test's process.

use std::net::SocketAddr;

use clap::Parser;
use myxi::{config::Config, server::Server};
use serde_json::Value;
use tonic::{Status, transport::Channel};

//! The servers that can be measured, each in a file that nobody else knows.

mod centrifugo;
pub mod floor;
mod line_publisher;
pub mod myxi;
mod nats;
mod nchan;
mod socket_io;
mod web_stomp;

use crate::{
    args::{Args, Server},
    peer::Peer,
};

impl Args {
    /// The server behind its name on the command line.
    pub fn peer(&self, server: Server) -> Box<dyn Peer> {
        match server {
            Server::Myxi => Box::new(self.myxi(1)),
            Server::Centrifugo => Box::new(centrifugo::Centrifugo),
            Server::Nats => Box::new(nats::Nats),
            Server::Nchan => Box::new(nchan::Nchan),
            Server::Rabbitmq => Box::new(web_stomp::WebStomp),
            Server::SocketIo => Box::new(socket_io::SocketIo),
            Server::Floor => Box::new(floor::BareFloor),
        }
    }

    /// The gateway with so many threads for its sessions.
    pub fn myxi(&self, worker_threads: usize) -> myxi::Myxi {
        myxi::Myxi { worker_threads, flags: self.gateway_flags.clone() }
    }
}

//! One client: plays its script, then counts; or sends the same message again and again.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use mio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};

use super::{
    super::{
        frames::{self, Frames},
        script::{self, Step},
    },
    Tally, Unit,
};

/// Source addresses that clients are spread over: each has 28,000 ports.
const SOURCES: usize = 16;

pub struct Client {
    stream: TcpStream,
    frames: Frames,
    script: Option<Box<script::Progress>>,
    repeat: Option<Rc<[u8]>>,
    /// When it was repeated, once somebody wants to know.
    repeated: Option<Instant>,
    pub tally: Tally,
}

impl Client {
    /// Begins to.
    pub fn connect(
        server: SocketAddr,
        number: usize,
        script: script::Progress,
    ) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        let source = Ipv4Addr::new(127, 0, 1, (number % SOURCES) as u8 + 1);
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        // Closing leaves nothing behind that the next round would find.
        socket.set_linger(Some(Duration::ZERO))?;
        match socket.connect(&server.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
            _ => {}
        }
        Ok(Self {
            stream: TcpStream::from_std(socket.into()),
            frames: Frames::default(),
            script: Some(Box::new(script)),
            repeat: None,
            repeated: None,
            tally: Tally::default(),
        })
    }

    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    pub fn is_playing(&self) -> bool {
        self.script.is_some()
    }

    pub fn play(&mut self, steps: Rc<[Step]>) -> io::Result<()> {
        self.script = Some(Box::new(script::Progress::new(steps)));
        self.send()
    }

    pub fn repeat(&mut self, message: Rc<[u8]>) -> io::Result<()> {
        self.stream.write_all(&message)?;
        self.repeat = Some(message);
        Ok(())
    }

    pub fn say(&mut self, message: &[u8]) -> io::Result<()> {
        self.stream.write_all(message)
    }

    pub fn restart_count(&mut self) {
        (self.tally, self.repeated) = (Tally::default(), None);
    }

    /// How long the answer took that came now. Of the first one it is not known.
    pub fn answered(&mut self, now: Instant) -> Option<Duration> {
        self.repeat.as_ref()?;
        self.repeated.replace(now).map(|repeated| now - repeated)
    }

    /// Writes and reads what can be.
    pub fn serve(&mut self, buffer: &mut [u8], unit: Unit) -> io::Result<()> {
        self.send()?;
        loop {
            let bytes = match self.stream.read(buffer) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(bytes) => bytes,
                Err(error) if not_now(&error) => return Ok(()),
                Err(error) => return Err(error),
            };
            self.read(&buffer[..bytes], unit)?;
            // Less than asked for: there is no more, and the next byte is a new event.
            if bytes < buffer.len() {
                return Ok(());
            }
        }
    }

    fn send(&mut self) -> io::Result<()> {
        let Some(script) = &mut self.script else { return Ok(()) };
        while !script.unsent().is_empty() {
            match self.stream.write(script.unsent()) {
                Ok(bytes) => script.sent(bytes),
                Err(error) if not_now(&error) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read(&mut self, bytes: &[u8], unit: Unit) -> io::Result<()> {
        let tally = &mut self.tally;
        if let Some(script) = &mut self.script {
            let heard = |message: &[u8], awaits: bool| {
                if !awaits || unit.looks_inside() {
                    tally.add(unit, message, true);
                }
            };
            script.read(&mut self.frames, bytes, heard).map_err(io::Error::other)?;
            if script.is_over() {
                self.script = None;
                return Ok(());
            }
            return self.send();
        }
        let before = tally.received;
        let mut pings = 0;
        self.frames.read(bytes, |part| match part.opcode {
            frames::PING => pings += usize::from(part.ends),
            opcode if frames::is_data(opcode) => tally.add(unit, part.bytes, part.ends),
            _ => {}
        });
        for _ in 0..pings {
            self.stream.write_all(&frames::frame(frames::PONG, b""))?;
        }
        if let Some(message) = &self.repeat {
            for _ in before..self.tally.received {
                self.stream.write_all(message)?;
            }
        }
        Ok(())
    }
}

const EINPROGRESS: i32 = 115;

fn not_now(error: &io::Error) -> bool {
    // Writing before the connection stands is ENOTCONN; an event tells when it does.
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}

//! Makes a command of its flags. Where nothing says where a gateway is, it is where `myxi serve`
//! would listen with these variables: so the commands find it from within its own container.

use std::net::SocketAddr;

use super::{
    AdminAt, DisconnectConfig, Events, From, GatewayAt, HandCommand, HealthConfig, Login,
    NamedEvent, PushConfig, SendConfig, SessionsConfig, TailConfig, TailSource,
};
use crate::{
    config::{
        ConfigErrors, default,
        flags::{
            AdminFlags, DisconnectFlags, GatewayFlags, HandFlags, HealthFlags, PushFlags,
            SendFlags, SessionsFlags, TailFlags,
        },
        given::Given,
        listen::{self, Variables},
        problems::Problems,
        units, values,
    },
    net::{listener::from_this_machine, remote::Remote},
    protocol::LAST_MAX,
};

/// The admin listener keeps no more.
const OPERATOR_LAST_MAX: u32 = 200;

const NAMED_TOGETHER: &str = "EXCHANGE, ROUTING_KEY and EVENT belong together: name all three, or \
                              none of them where each line of standard input says them";

/// Reads flags; every problem is told at once.
pub(in crate::config) struct Reader<'a> {
    variables: &'a Variables<'a>,
    problems: Problems,
}

impl<'a> Reader<'a> {
    pub(in crate::config) fn new(variables: &'a Variables<'a>) -> Self {
        Self { variables, problems: Problems::default() }
    }

    pub(in crate::config) fn read(self, flags: HandFlags) -> Result<HandCommand, ConfigErrors> {
        match flags {
            HandFlags::Push(flags) => self.push(*flags),
            HandFlags::Tail(flags) => self.tail(*flags),
            HandFlags::Sessions(flags) => self.sessions(*flags),
            HandFlags::Send(flags) => self.send(*flags),
            HandFlags::Disconnect(flags) => self.disconnect(*flags),
            HandFlags::Health(flags) => self.health(*flags),
        }
    }

    fn push(mut self, flags: PushFlags) -> Result<HandCommand, ConfigErrors> {
        let gateway = self.gateway(&flags.gateway);
        let id = flags.event_id.map(|id| id.text);
        let named = [flags.exchange, flags.routing_key, flags.event];
        let [exchange, routing_key, event] = named.map(|given| given.map(|given| given.text));
        let payload = flags.payload.map(|payload| payload.text);
        let events = match (exchange, routing_key, event, payload.as_deref()) {
            // Its key was forgotten.
            (_, _, Some(event), None) if event == "-" => self.problems.missing(NAMED_TOGETHER),
            (Some(exchange), Some(routing_key), Some(event), payload) => {
                let topic = NamedEvent { exchange, routing_key, event };
                Some(match payload {
                    Some("-") => Events::Payloads(topic),
                    payload => Events::One {
                        topic,
                        payload: payload.unwrap_or("{}").into(),
                        id: id.clone(),
                    },
                })
            }
            (None, ..) => Some(Events::Lines),
            (Some(dash), None, ..) if dash == "-" => Some(Events::Lines),
            _ => self.problems.missing(NAMED_TOGETHER),
        };
        if id.is_some() && !matches!(events, Some(Events::One { .. }) | None) {
            let problem = "--event-id is for one event; of several, each line has its own";
            self.problems.missing::<()>(problem);
        }
        let command = || Some(HandCommand::Push(PushConfig { gateway: gateway?, events: events? }));
        self.problems.finish(command())
    }

    fn tail(mut self, flags: TailFlags) -> Result<HandCommand, ConfigErrors> {
        let source = match flags.keys.is_empty() {
            true => self.operator(&flags),
            false => self.client(&flags),
        };
        let count = self
            .problems
            .parse_optional(flags.count.as_ref(), |text| units::count_within(text, 1..=u32::MAX));
        let tail = |source, count| TailConfig {
            exchange: flags.exchange.text,
            source,
            count,
            json: flags.json,
        };
        let command = source.zip(count).map(|(source, count)| tail(source, count));
        self.problems.finish(command.map(HandCommand::Tail))
    }

    fn client(&mut self, flags: &TailFlags) -> Option<TailSource> {
        let url = self.url(flags.url.as_ref());
        let login = self.problems.parse_optional(flags.login.as_ref(), login);
        let last = self.problems.parse_optional(flags.last.as_ref(), |text| {
            units::count_within(text, 1..=LAST_MAX as u32)
        })?;
        let from = match (&flags.after, last) {
            (Some(after), _) => From::After(after.text.clone()),
            (None, Some(last)) => From::Last(last),
            (None, None) => From::Now,
        };
        let mut keys: Vec<String> = Vec::new();
        for key in &flags.keys {
            if !keys.contains(&key.text) {
                keys.push(key.text.clone());
            }
        }
        Some(TailSource::Client { url: url?, keys, login: login?, from })
    }

    /// What is of no use there and stands in a variable may be for another call.
    fn operator(&mut self, flags: &TailFlags) -> Option<TailSource> {
        let unused = [&flags.url, &flags.login, &flags.after].into_iter().flatten();
        for given in unused.filter(|given| given.name.starts_with("--")) {
            self.problems.add(given, "this is for a client; name the keys to subscribe to");
        }
        let admin = self.admin(&flags.admin);
        let last = self.problems.parse_optional(flags.last.as_ref(), |text| {
            units::count_within(text, 1..=OPERATOR_LAST_MAX)
        })?;
        Some(TailSource::Operator { admin: admin?, last: last.unwrap_or_default() })
    }

    fn sessions(mut self, flags: SessionsFlags) -> Result<HandCommand, ConfigErrors> {
        let admin = self.admin(&flags.admin);
        let sort = self.problems.parse(&flags.sort, |text| match text {
            "age" | "subscriptions" | "outbox" => Ok(text.to_owned()),
            _ => Err(format!("{text:?} is unknown; write age, subscriptions or outbox")),
        });
        let limit = self.problems.parse(&flags.limit, |text| units::count_within(text, 1..=200));
        let offset =
            self.problems.parse(&flags.offset, |text| units::count_within(text, 0..=u32::MAX));
        let search = flags.search.map_or_else(String::new, |search| search.text);
        let command = || {
            let (sort, limit, offset) = (sort?, limit?, offset?);
            Some(SessionsConfig { admin: admin?, search, sort, limit, offset, json: flags.json })
        };
        self.problems.finish(command().map(HandCommand::Sessions))
    }

    fn send(mut self, flags: SendFlags) -> Result<HandCommand, ConfigErrors> {
        let gateway = self.gateway(&flags.gateway);
        let SendFlags { session, event, payload, .. } = flags;
        let config = gateway.map(|gateway| SendConfig { gateway, session, event, payload });
        self.problems.finish(config.map(HandCommand::Send))
    }

    fn disconnect(mut self, flags: DisconnectFlags) -> Result<HandCommand, ConfigErrors> {
        let gateway = self.gateway(&flags.gateway);
        let code = self.problems.parse(&flags.code, |text| match text.parse() {
            Ok(code @ (1000 | 4000..=4999)) => Ok(code),
            _ => Err(format!("{text:?} is no code for this; write 4000 to 4999, or 1000")),
        });
        let DisconnectFlags { session, reason, .. } = flags;
        let config = gateway.zip(code);
        let config =
            config.map(|(gateway, code)| DisconnectConfig { gateway, session, code, reason });
        self.problems.finish(config.map(HandCommand::Disconnect))
    }

    fn health(mut self, flags: HealthFlags) -> Result<HandCommand, ConfigErrors> {
        let admin = self.admin_listener(flags.admin.as_ref());
        let HealthFlags { live, strict, .. } = flags;
        let config = admin.map(|admin| HealthConfig { admin, live, strict });
        self.problems.finish(config.map(HandCommand::Health))
    }

    fn gateway(&mut self, flags: &GatewayFlags) -> Option<GatewayAt> {
        let remote = match &flags.gateway {
            Some(given) => self.problems.parse(given, http),
            None => self.own("MYXI_GRPC_LISTEN", default::GRPC_LISTEN, "--gateway"),
        };
        let token = self.problems.parse_optional(flags.grpc_token.as_ref(), values::token);
        Some(GatewayAt { remote: remote?, token: token? })
    }

    fn admin(&mut self, flags: &AdminFlags) -> Option<AdminAt> {
        let remote = self.admin_listener(flags.admin.as_ref());
        let token = self.problems.parse_optional(flags.admin_token.as_ref(), values::token);
        Some(AdminAt { remote: remote?, token: token? })
    }

    fn admin_listener(&mut self, given: Option<&Given>) -> Option<Remote> {
        match given {
            Some(given) => self.problems.parse(given, http),
            None => self.own("MYXI_ADMIN_LISTEN", default::ADMIN_LISTEN, "--admin"),
        }
    }

    fn url(&mut self, given: Option<&Given>) -> Option<Remote> {
        if let Some(given) = given {
            return self.problems.parse(given, websocket);
        }
        let listen = self.variable("MYXI_LISTEN", default::LISTEN);
        let address = listen::listen(&listen, self.variables, &mut self.problems)?;
        self.reach("ws", address, &listen, "--url")
    }

    /// Where one of the gateway's own listeners is.
    fn own(&mut self, variable: &str, default: &str, flag: &str) -> Option<Remote> {
        let listen = self.variable(variable, default);
        let address = self.problems.parse(&listen, listen::socket_address)?;
        self.reach("http", address, &listen, flag)
    }

    fn variable(&self, name: &str, default: &str) -> Given {
        let text = (self.variables)(name).filter(|text| !text.is_empty());
        let is_default = text.is_none();
        Given { name: name.into(), text: text.unwrap_or_else(|| default.into()), is_default }
    }

    /// How somebody on this machine connects to a listener.
    fn reach(
        &mut self,
        scheme: &str,
        address: SocketAddr,
        listen: &Given,
        flag: &str,
    ) -> Option<Remote> {
        if address.port() == 0 {
            let problem = format!("with port 0 it can be anywhere; say where it is with {flag}");
            self.problems.add(listen, &problem);
            return None;
        }
        format!("{scheme}://{}", from_this_machine(address)).parse().ok()
    }
}

/// Neither of these repeats what it refuses: there may be a password in it.
fn http(text: &str) -> Result<Remote, String> {
    let schemes = ["http", "https"];
    // As handlers are told of it: host:port.
    let bare = || {
        let (_, port) = text.rsplit_once(':')?;
        port.parse::<u16>().ok()?;
        remote(&format!("http://{text}"), &schemes)
    };
    remote(text, &schemes).or_else(bare).ok_or_else(|| {
        "not a URL to call; write for example http://127.0.0.1:5006 or https://myxi.internal".into()
    })
}

fn websocket(text: &str) -> Result<Remote, String> {
    remote(text, &["ws", "wss"]).ok_or_else(|| {
        "not the URL of a WebSocket; write for example ws://127.0.0.1:5005/ or \
         wss://app.example.com/"
            .into()
    })
}

fn remote(text: &str, schemes: &[&str]) -> Option<Remote> {
    text.parse().ok().filter(|remote: &Remote| schemes.contains(&remote.scheme()))
}

/// Does not repeat what it refuses.
fn login(text: &str) -> Result<Login, String> {
    let (action, payload) = text.split_once('=').unwrap_or((text, "{}"));
    let payload = serde_json::from_str(payload).map_err(|error| {
        format!(
            "what follows = is not JSON (column {}); write for example \
             'Authenticate={{\"password\":\"…\"}}'",
            error.column()
        )
    })?;
    Ok(Login { action: action.into(), payload })
}

//! Where the gateway listens: flags, and for clients also the pieces that platforms hand
//! out in variables.

use std::net::{IpAddr, SocketAddr};

use super::{
    AdminConfig, GrpcConfig, Note, flags::ListenerFlags, given::Given, problems::Problems, values,
};
use crate::net::{
    host,
    inherited::{ADMIN, CLIENTS, GATEWAY, Inherited},
};

/// Looks a variable of the environment up.
pub(super) type Variables<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Looked at in this order; `PORT` last, because other programs use it too.
const PORT_VARIABLES: [&str; 3] = ["MYXI_PORT", "MIXI_PORT", "PORT"];

const ADDRESS_VARIABLE: &str = "MYXI_BIND_ADDRESS";

pub(super) struct Listeners {
    pub clients: SocketAddr,
    pub grpc: GrpcConfig,
    pub admin: AdminConfig,
}

/// `page` is a listener that stands beside them; `inherited` go before all that was given.
pub(super) fn listeners(
    flags: &ListenerFlags,
    page: Option<(&Given, SocketAddr)>,
    variables: &Variables,
    inherited: &Inherited,
    problems: &mut Problems,
) -> Option<Listeners> {
    let listen = match handed(inherited, CLIENTS, &flags.listen, problems) {
        None => listen(&flags.listen, variables, problems),
        handed => handed,
    };
    let grpc_listen = address(inherited, GATEWAY, &flags.grpc_listen, problems);
    let token = problems.parse_optional(flags.grpc_token.as_ref(), values::token);
    let admin_listen = address(inherited, ADMIN, &flags.admin_listen, problems);
    let admin_token = problems.parse_optional(flags.admin_token.as_ref(), values::token);
    if let Some(address) = grpc_listen
        && flags.grpc_token.is_none()
        && !address.ip().to_canonical().is_loopback()
    {
        let problem = format!(
            "{address} can be reached from other machines, so callers must know a token; set \
             MYXI_GRPC_TOKEN (--grpc-token), or write 127.0.0.1:{}",
            address.port()
        );
        problems.add(&flags.grpc_listen, &problem);
    }
    let own = [
        (&flags.listen, listen),
        (&flags.grpc_listen, grpc_listen),
        (&flags.admin_listen, admin_listen),
    ];
    let own = own.into_iter().filter_map(|(flag, address)| Some((flag, address?)));
    no_shared_ports(own.chain(page), problems);
    Some(Listeners {
        clients: listen?,
        grpc: GrpcConfig { listen: grpc_listen?, token: token? },
        admin: AdminConfig { listen: admin_listen?, token: admin_token? },
    })
}

/// What the flag says, unless there is a socket already.
fn address(
    inherited: &Inherited,
    name: &str,
    flag: &Given,
    problems: &mut Problems,
) -> Option<SocketAddr> {
    match handed(inherited, name, flag, problems) {
        None => problems.parse(flag, socket_address),
        handed => handed,
    }
}

/// Where the socket of this name is. It is there whatever the flag says.
fn handed(
    inherited: &Inherited,
    name: &str,
    flag: &Given,
    problems: &mut Problems,
) -> Option<SocketAddr> {
    let address = inherited.address(name)?;
    if !flag.is_default {
        let Given { name: flag, text, .. } = flag;
        let note = format!("{flag} {text} is not used: a socket was handed over, {address}");
        problems.note(Note::Info(note));
    }
    Some(address)
}

/// The system would refuse the second of two such listeners, but less clearly.
fn no_shared_ports<'a>(
    listeners: impl Iterator<Item = (&'a Given, SocketAddr)>,
    problems: &mut Problems,
) {
    let mut seen: Vec<(&Given, SocketAddr)> = Vec::new();
    for (flag, address) in listeners {
        if let Some((other, _)) = seen.iter().find(|(_, other)| overlap(*other, address)) {
            let problem =
                format!("port {} is also that of {}; write another", address.port(), other.name);
            problems.add(flag, &problem);
        }
        seen.push((flag, address));
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() != 0 && a.port() == b.port() && (any || a.ip() == b.ip())
}

pub(super) fn socket_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        format!(
            "{text:?} is not an IP address and a port; write for example 127.0.0.1:5005, \
             0.0.0.0:5005 or [::]:5005"
        )
    })
}

/// `--listen` whole where it is given; otherwise its default with the address and the
/// port of the other variables put in.
pub(super) fn listen(
    flag: &Given,
    variables: &Variables,
    problems: &mut Problems,
) -> Option<SocketAddr> {
    let mut address = problems.parse(flag, socket_address)?;
    if !flag.is_default {
        return Some(address);
    }
    let variable = |name: &str| {
        let text = variables(name).filter(|text| !text.is_empty())?;
        Some(Given { name: name.into(), text, is_default: false })
    };
    let ip = variable(ADDRESS_VARIABLE);
    let ip = problems.parse_optional(ip.as_ref(), ip_address);
    let port = PORT_VARIABLES.iter().filter_map(|name| variable(name)).find(|port| {
        let by_kubernetes = port.name == "MYXI_PORT" && port.text.starts_with("tcp://");
        if by_kubernetes {
            problems.note(Note::Warning(
                "MYXI_PORT is ignored: it begins with tcp://, as Kubernetes sets it for a \
                 service named myxi (enableServiceLinks: false stops that)"
                    .into(),
            ));
        }
        !by_kubernetes
    });
    let number = problems.parse_optional(port.as_ref(), port_number)?;
    if let (Some(Given { name, .. }), Some(number)) = (&port, number)
        && name == "PORT"
    {
        problems.note(Note::Info(format!("port {number} is taken from the variable PORT")));
    }
    address.set_ip(ip?.unwrap_or(address.ip()));
    address.set_port(number.unwrap_or(address.port()));
    Some(address)
}

fn ip_address(text: &str) -> Result<IpAddr, String> {
    host::without_brackets(text).parse().map_err(|_| {
        format!("{text:?} is not an IP address; write for example 127.0.0.1, 0.0.0.0 or ::")
    })
}

fn port_number(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| {
        format!("{text:?} is not a port; write a number from 0 to 65535, for example 5005")
    })
}

#[cfg(test)]
mod tests {
    use super::{super::ConfigErrors, *};

    fn with(
        flag: Option<&str>,
        variables: &[(&str, &str)],
    ) -> (Result<SocketAddr, ConfigErrors>, Vec<Note>) {
        let flag = Given {
            name: "--listen".into(),
            text: flag.unwrap_or("0.0.0.0:5005").into(),
            is_default: flag.is_none(),
        };
        let variable = |name: &str| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.to_string())
        };
        let mut problems = Problems::default();
        let address = listen(&flag, &variable, &mut problems);
        let notes = problems.take_notes();
        (problems.finish(address), notes)
    }

    fn address(flag: Option<&str>, variables: &[(&str, &str)]) -> String {
        with(flag, variables).0.expect("valid").to_string()
    }

    #[test]
    fn the_flag_wins_then_each_port_variable_in_turn() {
        let variables = [("MYXI_PORT", "1"), ("MIXI_PORT", "2"), ("PORT", "3")];
        assert_eq!(address(Some("127.0.0.1:0"), &variables), "127.0.0.1:0");
        assert_eq!(address(None, &variables), "0.0.0.0:1");
        assert_eq!(address(None, &variables[1..]), "0.0.0.0:2");
        assert_eq!(address(None, &variables[2..]), "0.0.0.0:3");
        assert_eq!(address(None, &[("MYXI_PORT", ""), ("PORT", "")]), "0.0.0.0:5005");
    }

    #[test]
    fn the_address_comes_from_its_own_variable() {
        assert_eq!(address(None, &[("MYXI_BIND_ADDRESS", "::1")]), "[::1]:5005");
        let both = [("MYXI_BIND_ADDRESS", "[::]"), ("MIXI_PORT", "80")];
        assert_eq!(address(None, &both), "[::]:80");
    }

    #[test]
    fn a_port_from_kubernetes_is_ignored_with_a_warning() {
        let (listen, notes) =
            with(None, &[("MYXI_PORT", "tcp://10.0.0.1:5005"), ("MIXI_PORT", "81")]);
        assert_eq!(listen.expect("valid").port(), 81);
        assert!(matches!(&notes[..], [Note::Warning(text)] if text.contains("Kubernetes")));
    }

    #[test]
    fn a_port_taken_from_port_is_noted() {
        let (_, notes) = with(None, &[("PORT", "8080")]);
        assert!(matches!(&notes[..], [Note::Info(text)] if text.contains("8080")));
        assert!(with(None, &[("MYXI_PORT", "8080")]).1.is_empty());
    }

    #[test]
    fn both_pieces_are_checked_at_once() {
        let variables = [("MYXI_BIND_ADDRESS", "here"), ("MYXI_PORT", "70000"), ("PORT", "x")];
        let ConfigErrors(problems) = with(None, &variables).0.expect_err("invalid");
        assert!(problems[0].starts_with("MYXI_BIND_ADDRESS: \"here\""), "{problems:?}");
        assert!(problems[1].starts_with("MYXI_PORT: \"70000\""), "{problems:?}");
        assert_eq!(problems.len(), 2);
    }
}

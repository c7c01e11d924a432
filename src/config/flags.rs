//! The command line: its commands, each with its flags in a file of its own. What is given
//! arrives here as text; `check` makes sense of it.

mod check;
mod hand;
mod paper;
mod serve;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

pub(super) use self::{
    check::{CheckFlags, HandlerFlags},
    hand::{
        AdminFlags, DisconnectFlags, GatewayFlags, HandFlags, HealthFlags, PushFlags, SendFlags,
        SessionsFlags, TailFlags,
    },
    paper::{CompletionsFlags, ManFlags, Paper},
    serve::{
        ApplicationFlags, BusFlags, ClientFlags, DemoFlags, LimitFlags, ListenerFlags, LogFlags,
        ProcessFlags, ServeFlags,
    },
};

/// A WebSocket gateway that an application controls over gRPC
#[derive(Parser)]
#[command(name = "myxi", version, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Flags {
    #[command(subcommand)]
    pub command: CommandFlags,
}

#[derive(Subcommand)]
pub(super) enum CommandFlags {
    /// Run the gateway
    Serve(Box<ServeFlags>),
    /// Run the gateway with a bundled example application and a page to try it
    Demo(Box<DemoFlags>),
    /// Check a handler, a broker or a configuration, as a gateway would meet it
    Check(Box<CheckFlags>),
    #[command(flatten)]
    Hand(HandFlags),
    /// Print what completes these commands in a shell
    Completions(CompletionsFlags),
    /// Print the manual page of myxi, or of one of its commands
    Man(ManFlags),
}

impl Flags {
    /// What is printed of the command line itself.
    pub(super) fn paper() -> Paper {
        Paper::of(Self::command())
    }

    /// Reads the process's arguments and variables. Prints and exits where that is all
    /// there is to do: help, the version, a flag that does not exist.
    pub(super) fn from_process() -> Self {
        let mut command = Self::command().mut_subcommands(|command| {
            command.mut_args(|arg| match set_but_empty(&arg) {
                true => arg.env(None::<&str>),
                false => arg.hide_env_values(true),
            })
        });
        let matches = command.get_matches_mut();
        Self::from_arg_matches(&matches).unwrap_or_else(|error| error.format(&mut command).exit())
    }

    /// Reads these arguments alone, whatever the environment says.
    pub(super) fn from_args<'a>(
        args: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, clap::Error> {
        let command = Self::command()
            .mut_subcommands(|command| command.mut_args(|arg| arg.env(None::<&str>)));
        let args = std::iter::once("myxi").chain(args);
        Self::from_arg_matches(&command.try_get_matches_from(args)?)
    }
}

/// `MYXI_GRPC_TOKEN=` is how many a tool says "not set".
fn set_but_empty(arg: &clap::Arg) -> bool {
    let value = arg.get_env().and_then(std::env::var_os);
    value.is_some_and(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const PAGE: &str = include_str!("../../docs/configuration.md");

    /// `| flag | variable | default |`, as a row of the page begins.
    fn row(arg: &clap::Arg) -> Option<String> {
        let flag = arg.get_long().filter(|flag| *flag != "help")?;
        let variable = arg.get_env()?.to_str()?;
        let default = match arg.get_default_values().first() {
            Some(default) => format!("`{}`", default.to_str()?),
            None => "–".into(),
        };
        Some(format!("| `--{flag}` | `{variable}` | {default} |"))
    }

    #[test]
    fn the_page_and_the_help_agree_on_every_flag_variable_and_default() {
        let command = Flags::command();
        let args = command.get_subcommands().flat_map(|command| command.get_arguments());
        let in_help: BTreeSet<String> = args.filter_map(row).collect();
        let in_page: BTreeSet<String> = PAGE
            .lines()
            .filter(|line| line.starts_with("| `--"))
            .map(|line| line.split_inclusive('|').take(4).collect())
            .collect();
        assert!(in_help.len() > 25, "{in_help:#?}");
        assert_eq!(in_help, in_page);
    }

    #[test]
    fn every_flag_has_a_variable_a_heading_and_a_meaning() {
        let command = Flags::command();
        let runs = ["serve", "demo"].map(|name| command.find_subcommand(name).expect(name));
        for command in runs {
            for arg in command.get_arguments() {
                let flag = arg.get_long().expect("no positional arguments");
                let variable = arg.get_env().and_then(|name| name.to_str());
                let fixed =
                    variable.is_some_and(|name| name == "RABBITMQ_URL" || name == "MYXI_EXCHANGES");
                let usual = format!("MYXI_{}", flag.to_uppercase().replace('-', "_"));
                // What is asked for once needs none.
                let once = command.get_name() == "check" && variable.is_none();
                assert!(fixed || once || variable == Some(&usual), "{flag}: {variable:?}");
                assert!(arg.get_help().is_some() && arg.get_help_heading().is_some(), "{flag}");
            }
        }
    }
}

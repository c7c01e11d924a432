//! What is made of the command line itself: completions for shells, manual pages.

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::config::ConfigErrors;

const COMPLETIONS_EXAMPLE: &str = "\
Example:
  myxi completions bash > /etc/bash_completion.d/myxi";

const MAN_EXAMPLE: &str = "\
Example:
  myxi man tail | man -l -";

#[derive(Args)]
#[command(after_help = COMPLETIONS_EXAMPLE)]
pub(in crate::config) struct CompletionsFlags {
    /// Whose
    shell: Shell,
}

#[derive(Args)]
#[command(after_help = MAN_EXAMPLE)]
pub(in crate::config) struct ManFlags {
    /// Of myxi itself where none is named
    command: Option<String>,
}

pub(in crate::config) struct Paper(Command);

impl Paper {
    pub(super) fn of(mut command: Command) -> Self {
        command.build();
        Self(command)
    }

    pub(in crate::config) fn completions(mut self, flags: CompletionsFlags) -> Vec<u8> {
        let mut script = Vec::new();
        clap_complete::generate(flags.shell, &mut self.0, "myxi", &mut script);
        script
    }

    pub(in crate::config) fn man(self, flags: ManFlags) -> Result<Vec<u8>, ConfigErrors> {
        let command = match &flags.command {
            None => Some(&self.0),
            Some(name) => self.0.find_subcommand(name),
        };
        let names = || self.0.get_subcommands().map(Command::get_name).collect::<Vec<_>>();
        let unknown = || {
            ConfigErrors(vec![format!(
                "COMMAND: there is none of this name; write one of {}",
                names().join(", ")
            )])
        };
        let mut page = Vec::new();
        Man::new(command.ok_or_else(unknown)?.clone())
            .render(&mut page)
            .map_err(|error| ConfigErrors(vec![error.to_string()]))?;
        Ok(page)
    }
}

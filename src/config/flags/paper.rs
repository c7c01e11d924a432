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
            None => &self.0,
            Some(name) => self.0.find_subcommand(name).ok_or_else(|| self.unknown(name))?,
        };
        page(command).map_err(|error| ConfigErrors(vec![error.to_string()]))
    }

    fn unknown(&self, name: &str) -> ConfigErrors {
        let names: Vec<_> = self.0.get_subcommands().map(Command::get_name).collect();
        let names = names.join(", ");
        ConfigErrors(vec![format!("COMMAND: there is no {name:?}; write one of {names}")])
    }
}

fn page(command: &Command) -> std::io::Result<Vec<u8>> {
    let examples = command.get_after_help().map(ToString::to_string);
    let mut page = Vec::new();
    // The lines of examples would be run together.
    Man::new(command.clone().after_help(None::<&str>)).render(&mut page)?;
    if let Some(examples) = examples {
        page.extend(verbatim("EXAMPLES", &examples).into_bytes());
    }
    Ok(page)
}

/// A section whose lines stay as they are.
fn verbatim(title: &str, text: &str) -> String {
    let lines = text.lines().map(|line| {
        let line = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        // A dot at the beginning would be a request.
        format!("\\&{line}\n")
    });
    format!(".SH {title}\n.nf\n{}.fi\n", lines.collect::<String>())
}

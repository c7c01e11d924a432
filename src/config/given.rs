//! A value as it was given, and by what name: so that a problem can name the flag or
//! the variable that somebody really wrote.

use std::ffi::OsStr;

use clap::{
    Arg, Command, Error,
    builder::{TypedValueParser, ValueParserFactory},
    error::ErrorKind,
    parser::ValueSource,
};

/// One raw value. It may be a secret, hence no `Debug`.
#[derive(Clone)]
pub(super) struct Given {
    /// `--listen` or `MYXI_LISTEN`.
    pub name: String,
    pub text: String,
    /// Nobody wrote it: it is the flag's default.
    pub is_default: bool,
}

#[derive(Clone)]
pub(super) struct GivenParser;

impl ValueParserFactory for Given {
    type Parser = GivenParser;

    fn value_parser() -> GivenParser {
        GivenParser
    }
}

impl TypedValueParser for GivenParser {
    type Value = Given;

    fn parse_ref(&self, cmd: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<Given, Error> {
        self.parse_ref_(cmd, arg, value, ValueSource::CommandLine)
    }

    fn parse_ref_(
        &self,
        cmd: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
        source: ValueSource,
    ) -> Result<Given, Error> {
        let text =
            value.to_str().ok_or_else(|| Error::new(ErrorKind::InvalidUtf8).with_cmd(cmd))?;
        let variable = arg.and_then(Arg::get_env).filter(|_| source == ValueSource::EnvVariable);
        let name = match variable {
            Some(variable) => variable.to_string_lossy().into_owned(),
            None => arg.map(written).unwrap_or_default(),
        };
        let is_default = source == ValueSource::DefaultValue;
        Ok(Given { name, text: text.to_owned(), is_default })
    }
}

/// `--flag`, or what stands in its place on the command line.
fn written(arg: &Arg) -> String {
    match arg.get_long() {
        Some(flag) => format!("--{flag}"),
        None => arg.get_id().as_str().to_uppercase(),
    }
}

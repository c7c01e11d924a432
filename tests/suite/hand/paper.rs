//! What is printed of the command line itself: help, completions, manual pages.

use std::process::Stdio;

use tokio::process::Command;

use super::{bare, end, end_with};

/// Every command, as the help lists them.
async fn commands() -> Vec<String> {
    let help = end(bare(&["--help"])).await.well();
    let (_, list) = help.split_once("Commands:\n").expect("a list of commands");
    let names = list.lines().map_while(|line| line.split_whitespace().next());
    names.filter(|name| *name != "help").map(Into::into).collect()
}

/// Another program, with all of its output.
fn program(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(args).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[tokio::test]
async fn the_help_of_each_command_has_an_example() {
    let commands = commands().await;
    assert!(commands.len() >= 10, "{commands:?}");
    for command in commands {
        let help = end(bare(&[&command, "--help"])).await.well();
        assert!(help.contains("Example") && help.contains("  myxi "), "{command}: {help}");
    }
}

#[tokio::test]
async fn completions_are_valid_and_complete() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(end(bare(&["completions", shell])).await.well().contains("myxi"), "{shell}");
    }
    let completions = end(bare(&["completions", "bash"])).await.well();
    end_with(program("bash", &["-n"]), completions.clone()).await.well();
    // As bash calls it when somebody presses Tab.
    let complete = |words: &str, at: usize| {
        let script = format!(
            "COMP_WORDS=({words})\nCOMP_CWORD={at}\n_myxi myxi \"${{COMP_WORDS[{at}]}}\" x\n\
             echo \"${{COMPREPLY[@]}}\"\n"
        );
        end_with(program("bash", &[]), completions.clone() + &script)
    };
    assert_eq!(complete("myxi ta", 1).await.well(), "tail\n");
    assert_eq!(complete("myxi tail --lo", 2).await.well(), "--login\n");
    assert_eq!(complete("myxi completions z", 2).await.well(), "zsh\n");
}

#[tokio::test]
async fn manual_pages_are_free_of_warnings_and_keep_their_examples() {
    for command in commands().await.iter().map(String::as_str).chain([""]) {
        let args: Vec<_> = ["man", command].into_iter().filter(|arg| !arg.is_empty()).collect();
        let page = end(bare(&args)).await.well();
        let groff = ["-K", "utf8", "-man", "-Tutf8", "-ww", "-P-c", "-P-b", "-P-u"];
        let text = end_with(program("groff", &groff), page).await.well();
        assert!(text.contains("SYNOPSIS"), "{command}: {text}");
        let example = format!("\n         myxi {command} ");
        assert!(command.is_empty() || text.contains("EXAMPLES"), "{command}: {text}");
        assert!(command != "push" || text.contains(&example), "{command}: {text}");
    }
}

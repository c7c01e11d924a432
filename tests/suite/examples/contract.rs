//! The chat as `myxi check` finds it.

use std::{path::Path, process::Stdio};

use tokio::process::Command;

use crate::{
    check::check,
    support::{
        DEADLINE,
        example::{Example, HANDLER_TOKEN, Language, Place},
        within,
    },
};

pub async fn keeps_the_contract(language: Language, place: Place) {
    let example = Example::start(language, place, None).await;
    let checked = check(&[
        &format!("--action-handler={}", example.endpoint()),
        &format!("--action-handler-token={HANDLER_TOKEN}"),
        // The contract is asked for here, and not how fast this machine is.
        "--action-timeout=30s",
        "--wait=30s",
        "--session-opened=required",
        "--exchange=rooms,elsewhere",
        r#"--action=Authenticate={"token":"eve-secret"}"#,
        r#"--action=Join={"room":"lobby"}"#,
        r#"--action=Say={"room":"lobby","text":"hi"}"#,
        r#"--action=Roll={"dice":2}"#,
        "--allow=rooms:lobby",
        "--deny=rooms:staff",
        "--deny=elsewhere:lobby",
        "--full",
    ])
    .await;
    assert_eq!(checked.of("failed"), [""; 0], "{language:?}\n{}", checked.text);
    assert_eq!(checked.code, Some(0), "{language:?}\n{}", checked.text);
    // None of its actions answers text of every kind, which is no name of a room.
    let silent = ["Authenticate", "Join", "Say", "Roll"].map(|action| format!("unicode {action}"));
    assert_eq!(checked.of("not_checked"), silent, "{language:?}\n{}", checked.text);
    // Ruby's server turns away what its threads have no time for, and ends the connection at times
    // where a call comes whose deadline has passed.
    let ruby = ["hundred-at-once", "short-deadline"];
    let known: &[&str] = if language == Language::Ruby { &ruby } else { &[] };
    assert!(
        checked.of("warning").iter().all(|name| known.contains(name)),
        "{language:?}\n{}",
        checked.text
    );
}

/// What the pages say to type against an example.
#[tokio::test]
async fn the_commands_of_the_pages_find_it_well() {
    let example = Example::start(Language::Python, Place::Tcp, None).await;
    let pages = [
        (include_str!("../../../docs/check.md"), "--full\n"),
        (include_str!("../../../docs/check.md"), "--junit myxi.xml\n"),
        (include_str!("../../../examples/README.md"), "elsewhere:lobby\n"),
    ];
    for (page, end) in pages {
        let whole = page.split_inclusive(end).next().expect("its end");
        let start = whole.rfind("myxi check --action-handler").expect("a command");
        // In YAML lines are folded.
        let command = whole[start..].replace("\\\n", " ").replace('\n', " ");
        let command = command.replace("http://127.0.0.1:50051", &example.endpoint());
        let folder = Path::new(env!("CARGO_BIN_EXE_myxi")).parent().expect("a folder");
        let mut shell = Command::new("/bin/sh");
        shell.args(["-euc", &command]).current_dir(example.directory()).env_clear();
        shell.env("PATH", folder).env("MYXI_ACTION_HANDLER_TOKEN", HANDLER_TOKEN);
        shell.env("MYXI_ACTION_TIMEOUT", "30s").stdin(Stdio::null()).kill_on_drop(true);
        let output = within(DEADLINE, &command, shell.output()).await.expect("a shell");
        assert!(output.status.success(), "{command}\n{output:?}");
    }
}

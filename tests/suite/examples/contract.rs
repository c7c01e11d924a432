//! The chat as `myxi check` finds it.

use crate::{
    check::check,
    support::example::{Example, HANDLER_TOKEN, Language, Place},
};

pub async fn keeps_the_contract(language: Language, place: Place) {
    let example = Example::start(language, place, None).await;
    let checked = check(&[
        &format!("--action-handler={}", example.endpoint()),
        &format!("--action-handler-token={HANDLER_TOKEN}"),
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
    assert_eq!(checked.of("not_checked"), [""; 0], "{language:?}\n{}", checked.text);
    // Whoever names a room oddly is told by the gateway that it is none: an exception. And Ruby's
    // server turns away what its threads have no time for, and ends the connection at times where a
    // call comes whose deadline has passed.
    for name in checked.of("warning") {
        let known = match name {
            "unicode Join" | "unicode Say" => true,
            "hundred-at-once" | "short-deadline" => language == Language::Ruby,
            _ => false,
        };
        assert!(known, "{language:?}\n{}", checked.text);
    }
}

//! For people: a line for each check, and below it what there is to say of it.

use super::{Finding, Outcome, Report};

impl Report {
    pub(in super::super) fn text(&self) -> String {
        let mut text = String::new();
        for (face, findings) in self.faces() {
            text.push_str(&format!("{face}\n"));
            findings.iter().for_each(|finding| text.push_str(&finding.text()));
            text.push('\n');
        }
        let count = |outcome| format!("{} {}", self.count(outcome), outcome.word());
        let counts =
            [Outcome::Ok, Outcome::Warning, Outcome::Failed, Outcome::NotChecked].map(count);
        text + &counts.join(", ") + "\n"
    }
}

impl Finding {
    fn text(&self) -> String {
        let mut text = format!("  {:15}  {}\n", self.outcome.word(), self.name);
        let mut say = |what: &str, words: &str| {
            text.push_str(&format!("{:21}{what:14} {words}\n", ""));
        };
        say("asked:", &self.asked);
        say("came:", &self.came);
        if let Some(client) = &self.client {
            say("a client sees:", client);
        }
        if let Some(advice) = &self.advice {
            say("to do:", advice);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use crate::check::report::tests::report;

    #[test]
    fn each_check_has_its_lines_and_the_end_says_how_many() {
        let text = report().text();
        assert!(text.contains("  failed           bad\n"), "{text}");
        assert!(text.contains("a client sees: <>\n"), "{text}");
        assert!(text.ends_with("\n1 ok, 1 warning, 1 failed, 2 could not check\n"), "{text}");
    }
}

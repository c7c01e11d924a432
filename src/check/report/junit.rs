//! For CI servers: JUnit's XML. A suite for each face; what could not be checked is skipped, and a
//! warning is a test that passed and has something to say.

use super::{Finding, Outcome, Report};

impl Report {
    pub(in super::super) fn junit(&self) -> String {
        let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n");
        for (face, findings) in self.faces() {
            let count = |outcome| findings.iter().filter(|found| found.outcome == outcome).count();
            xml.push_str(&format!(
                "  <testsuite name=\"myxi check {face}\" tests=\"{}\" failures=\"{}\" \
                 errors=\"0\" skipped=\"{}\">\n",
                findings.len(),
                count(Outcome::Failed),
                count(Outcome::NotChecked),
            ));
            findings.iter().for_each(|finding| xml.push_str(&finding.test_case()));
            xml.push_str("  </testsuite>\n");
        }
        xml + "</testsuites>\n"
    }
}

impl Finding {
    fn test_case(&self) -> String {
        let (name, face, said) = (escaped(&self.name), self.face, escaped(&self.said()));
        let came = escaped(&self.came);
        let body = match self.outcome {
            Outcome::Failed => format!("<failure message=\"{came}\">{said}</failure>"),
            Outcome::NotChecked => format!("<skipped message=\"{came}\"/>"),
            Outcome::Warning => format!("<system-out>warning: {said}</system-out>"),
            Outcome::Ok => format!("<system-out>{said}</system-out>"),
        };
        format!("    <testcase classname=\"myxi.check.{face}\" name=\"{name}\">{body}</testcase>\n")
    }

    fn said(&self) -> String {
        let mut lines = vec![format!("asked: {}", self.asked), format!("came: {}", self.came)];
        lines.extend(self.client.iter().map(|client| format!("a client sees: {client}")));
        lines.extend(self.advice.iter().map(|advice| format!("to do: {advice}")));
        lines.join("\n")
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use crate::check::report::tests::report;

    #[test]
    fn what_was_said_is_escaped_and_what_was_not_checked_is_skipped() {
        let xml = report().junit();
        assert!(xml.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\""), "{xml}");
        assert!(xml.contains("asked: an &lt;action&gt;\ncame: nothing"), "{xml}");
        assert!(xml.contains("\\u{1b}[31m &amp; &quot;\\u{202e}"), "{xml}");
        assert!(xml.contains("<skipped message=\"no --auth\"/>"), "{xml}");
    }
}

//! Which complaints are the same: of the same trouble, whoever had it, whatever its numbers
//! and ids.

use super::complaint::{Complaint, NAME_MAX, Name};
use crate::text::{cut, gist};

/// A shorter name is found in words that do not mean it.
const QUOTED_MIN: usize = 3;

/// Of what the other side says, in characters.
const PROBLEM_MAX: usize = 1_000;

/// A complaint, and what the words of its problem come to.
#[derive(Debug, Clone)]
pub(super) struct Heard {
    pub(super) complaint: Complaint,
    shape: Option<String>,
}

impl Heard {
    pub(super) fn new(mut complaint: Complaint) -> Self {
        complaint.rpc = complaint.rpc.map(|rpc| cut(&rpc, NAME_MAX));
        complaint.problem = complaint.problem.map(|problem| cut(&problem, PROBLEM_MAX));
        let said = complaint.problem.as_deref().map(|problem| match &complaint.action {
            // Quoted, it would make the same trouble another one for each name.
            Some(Name(name)) if name.len() >= QUOTED_MIN => shape(&problem.replace(&**name, "0")),
            _ => shape(problem),
        });
        Self { shape: said, complaint }
    }

    /// Whether it is the same trouble, whoever has it.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        let (one, other_one) = (&self.complaint, &other.complaint);
        one.what == other_one.what
            && one.rpc == other_one.rpc
            && one.status == other_one.status
            && self.shape == other.shape
    }

    pub(super) fn is_of_the_same(&self, other: &Self) -> bool {
        let (one, other) = (&self.complaint, &other.complaint);
        one.action == other.action && one.peer == other.peer
    }
}

/// What a problem reads like whatever its numbers and ids: `user_17 in 5 ms` is as
/// `user_0 in ms`.
fn shape(problem: &str) -> String {
    let mut shape = String::new();
    for part in problem.split_inclusive(|c: char| !c.is_alphanumeric()) {
        let word = part.trim_end_matches(|c: char| !c.is_alphanumeric());
        shape.push_str(if word.contains(char::is_numeric) { "0" } else { word });
        shape.push_str(&part[word.len()..]);
    }
    gist(&shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_strangers_write_is_cut() {
        let long = "é".repeat(5_000);
        let complaint = Heard::new(Complaint {
            action: Some((&*long).into()),
            problem: Some(long),
            ..Complaint::new("failed")
        })
        .complaint;
        assert_eq!(complaint.action, Some(Name(format!("{}…", "é".repeat(NAME_MAX)))));
        assert_eq!(complaint.problem.map(|problem| problem.chars().count()), Some(PROBLEM_MAX + 1));
    }
}

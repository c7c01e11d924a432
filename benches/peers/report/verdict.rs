//! Whether the gateway's figure reaches what it should.

use super::{
    figures::{Samples, middle, ratios, spread},
    layout::{
        Column,
        Goal::{self, AtLeast, AtMost, Shown, TimesAtLeast, TimesAtMost},
        Whose,
    },
};

pub fn verdict(column: &Column, ours: &Samples, peers: &[(&str, &Samples)]) -> String {
    let Some(own) = middle(ours) else { return "–".into() };
    let said = |reached: bool| if reached { "reached" } else { "**short**" };
    let against = |sign: &str, times: f64, whose: Whose, meets: fn(f64, f64) -> bool| {
        let Some((name, theirs)) = peer(column.goal, whose, peers) else {
            return "no peer".into();
        };
        let (ratios, whom) = match whose {
            Whose::FloorOver(events) => {
                let share = theirs.iter().map(|figure| figure.map(|all| all / events)).collect();
                (ratios(ours, &share), format!("{name} ÷ {events}"))
            }
            _ => (ratios(ours, theirs), name.to_owned()),
        };
        let reached = middle(&ratios).is_some_and(|ratio| meets(ratio, times));
        format!("{sign} {times} × {whom}: {} {}", spread(&ratios, 2), said(reached))
    };
    match column.goal {
        Shown => "–".into(),
        AtLeast(goal) => format!("≥ {goal}: {}", said(own >= goal)),
        AtMost(goal) => format!("≤ {goal}: {}", said(own <= goal)),
        TimesAtLeast(times, whose) => against("≥", times, whose, |ratio, times| ratio >= times),
        TimesAtMost(times, whose) => against("≤", times, whose, |ratio, times| ratio <= times),
    }
}

/// Whom the gateway is compared with.
fn peer<'a>(
    goal: Goal,
    whose: Whose,
    peers: &[(&'a str, &'a Samples)],
) -> Option<(&'a str, &'a Samples)> {
    let measured = || peers.iter().copied().filter(|(_, all)| middle(all).is_some());
    let named = |wanted: &&str| measured().find(|(name, _)| name == wanted);
    if let Whose::Best = whose {
        let order = |figure: f64| if matches!(goal, TimesAtLeast(..)) { figure } else { -figure };
        let figure = |all| order(middle(all).unwrap_or_default());
        return measured().max_by(|a, b| figure(a.1).total_cmp(&figure(b.1)));
    }
    whose.names().iter().find_map(named)
}

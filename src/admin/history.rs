//! The last quarter of an hour, as the gateway itself saw it: a console that is opened when
//! something is wrong already shows how that began.

use std::{collections::VecDeque, time::Duration};

use parking_lot::{Mutex, MutexGuard};
use serde::Serialize;
use tokio::time::Instant;

use crate::{metrics::Totals, time::UnixTime};

pub(super) const INTERVAL: Duration = Duration::from_secs(5);

const POINTS_MAX: usize = 180;

/// Rates are not told of less time than this: a second more or less makes a great difference.
const RATE_TIME_MIN: Duration = Duration::from_secs(2);

pub(crate) struct History(Mutex<State>);

struct State {
    points: VecDeque<Point>,
    last_taken: UnixTime,
    /// The last two looks, the newer one last.
    looks: [Look; 2],
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    totals: Totals,
}

/// What is looked at beside the totals.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gauges {
    pub outbox_bytes: u64,
    pub bus_lag: Option<Duration>,
    pub action_p99: Option<Duration>,
    pub application_p99: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Point {
    totals: Totals,
    rates: Rates,
    gauges: Gauges,
}

/// Per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Rates {
    events: f64,
    deliveries: f64,
    actions: f64,
    errors: f64,
    bytes_out: f64,
}

/// All points, column by column, the oldest first.
#[derive(Debug, Serialize)]
pub(crate) struct Columns {
    interval_ms: u64,
    /// When the last point was taken.
    end_ms: u64,
    series: Series,
}

#[derive(Debug, Serialize)]
struct Series {
    connections: Vec<u64>,
    sessions: Vec<u64>,
    events: Vec<f64>,
    deliveries: Vec<f64>,
    actions: Vec<f64>,
    errors: Vec<f64>,
    action_p99_ms: Vec<Option<f64>>,
    application_p99_ms: Vec<Option<f64>>,
    in_flight: Vec<u64>,
    outbox_bytes: Vec<u64>,
    bus_lag_ms: Vec<Option<f64>>,
    bytes_out: Vec<f64>,
}

impl History {
    /// Begins with the totals as they are.
    pub(crate) fn new(totals: Totals) -> Self {
        let look = Look { at: Instant::now(), totals };
        Self(Mutex::new(State {
            points: VecDeque::new(),
            last_taken: UnixTime::now(),
            looks: [look; 2],
        }))
    }

    /// Takes a point: to be done once in an [`INTERVAL`].
    pub(crate) fn take(&self, totals: Totals, gauges: Gauges) {
        let mut state = self.lock();
        let [_, last] = state.looks;
        let look = Look { at: Instant::now(), totals };
        let point = Point { totals, rates: Rates::between(&last, &look), gauges };
        if state.points.len() == POINTS_MAX {
            state.points.pop_front();
        }
        state.points.push_back(point);
        state.last_taken = UnixTime::now();
        state.looks = [last, look];
    }

    /// Of the last few seconds.
    pub(crate) fn rates(&self, totals: Totals) -> Rates {
        let [before, last] = self.lock().looks;
        let now = Look { at: Instant::now(), totals };
        let since = if now.at - last.at < RATE_TIME_MIN { before } else { last };
        Rates::between(&since, &now)
    }

    pub(crate) fn columns(&self) -> Columns {
        let state = self.lock();
        let interval_ms = u64::try_from(INTERVAL.as_millis()).unwrap_or(u64::MAX);
        Columns {
            interval_ms,
            end_ms: state.last_taken.millis(),
            series: Series::of(&state.points),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock()
    }
}

impl Rates {
    fn between(since: &Look, now: &Look) -> Self {
        let seconds = (now.at - since.at).as_secs_f64();
        let rate = |count: fn(&Totals) -> u64| {
            let counted = count(&now.totals).saturating_sub(count(&since.totals)) as f64;
            if seconds > 0.0 { thousandths(counted / seconds) } else { 0.0 }
        };
        Self {
            events: rate(|totals| totals.events),
            deliveries: rate(|totals| totals.deliveries),
            actions: rate(|totals| totals.actions),
            errors: rate(|totals| totals.errors),
            bytes_out: rate(|totals| totals.sent_bytes),
        }
    }
}

impl Series {
    fn of(points: &VecDeque<Point>) -> Self {
        fn column<T>(points: &VecDeque<Point>, value: impl Fn(&Point) -> T) -> Vec<T> {
            points.iter().map(value).collect()
        }
        Self {
            connections: column(points, |point| point.totals.connections),
            sessions: column(points, |point| point.totals.sessions),
            events: column(points, |point| point.rates.events),
            deliveries: column(points, |point| point.rates.deliveries),
            actions: column(points, |point| point.rates.actions),
            errors: column(points, |point| point.rates.errors),
            action_p99_ms: column(points, |point| point.gauges.action_p99.map(ms)),
            application_p99_ms: column(points, |point| point.gauges.application_p99.map(ms)),
            in_flight: column(points, |point| point.totals.in_flight),
            outbox_bytes: column(points, |point| point.gauges.outbox_bytes),
            bus_lag_ms: column(points, |point| point.gauges.bus_lag.map(ms)),
            bytes_out: column(points, |point| point.rates.bytes_out),
        }
    }
}

/// Milliseconds, to the microsecond.
pub(super) fn ms(duration: Duration) -> f64 {
    thousandths(duration.as_secs_f64() * 1e3)
}

fn thousandths(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn events(events: u64) -> Totals {
        Totals { events, ..Totals::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_quarter_of_an_hour_is_kept() {
        let history = History::new(events(0));
        for taken in 1..=200 {
            advance(INTERVAL).await;
            history.take(events(taken * taken), Gauges::default());
        }
        let Columns { series, .. } = history.columns();
        let rate = |taken: u64| (2 * taken - 1) as f64 / INTERVAL.as_secs_f64();
        let rates: Vec<_> = (21..=200).map(rate).collect();
        assert_eq!(series.events, rates);
        assert_eq!(series.bus_lag_ms, vec![None; POINTS_MAX]);
    }

    #[tokio::test(start_paused = true)]
    async fn rates_are_of_more_than_a_moment() {
        let history = History::new(events(100));
        assert_eq!(history.rates(events(100)).events, 0.0);
        advance(INTERVAL).await;
        history.take(events(110), Gauges::default());
        assert_eq!(history.rates(events(110)).events, 2.0);
        advance(RATE_TIME_MIN).await;
        assert_eq!(history.rates(events(120)).events, 5.0);
    }
}

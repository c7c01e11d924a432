//! Clients that come back: what became of their wishes for what they missed. Each is counted once,
//! when it is over.

use prometheus_client::metrics::counter::Counter;

use super::{
    by_label::ByLabel,
    label::{Asked, Resumed, Source},
    number::{Gauge, Raised},
};

#[derive(Debug)]
pub struct Resumes {
    pub(super) under_way: Gauge,
    pub(super) over: ByLabel<(Asked, Resumed), Counter>,
    /// Events that were queued for those who had missed them.
    pub events: ByLabel<Source, Counter>,
    /// Sessions that wait for what only a log has,
    pub log_waiting: Gauge,
    /// and times that one had waited for as long as it may.
    pub log_refused: Counter,
}

/// One wish, until it is dropped.
#[derive(Debug)]
pub struct Resume {
    over: ByLabel<(Asked, Resumed), Counter>,
    asked: Asked,
    /// What became of it as far as is known.
    result: Resumed,
    _under_way: Raised,
}

impl Resumes {
    pub fn begin(&self, asked: Asked) -> Resume {
        let under_way = Raised::on(&self.under_way);
        Resume { over: self.over.clone(), asked, result: Resumed::CutOff, _under_way: under_way }
    }

    pub fn under_way(&self) -> u64 {
        self.under_way.get()
    }

    /// Those that are over: what was asked and what came of it, where there were any.
    pub fn over(&self) -> Vec<([&'static str; 2], u64)> {
        let counts = self.over.iter_pairs().map(|(texts, counter)| (texts, counter.get()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Resume {
    /// Where nothing is said, its session's end cut it off.
    pub fn ended(&mut self, result: Resumed) {
        self.result = result;
    }
}

impl Drop for Resume {
    fn drop(&mut self) {
        self.over[(self.asked, self.result)].inc();
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Metrics, *};

    #[test]
    fn each_is_under_way_until_it_is_over_and_cut_off_where_nothing_is_said() {
        let Metrics { resumes, .. } = Metrics::new(&[]);
        let (mut one, other) = (resumes.begin(Asked::Last), resumes.begin(Asked::After));
        one.ended(Resumed::Gap);
        assert_eq!((resumes.under_way(), resumes.over()), (2, vec![]));
        drop(one);
        assert_eq!((resumes.under_way(), resumes.over()), (1, vec![(["last", "gap"], 1)]));
        drop(other);
        let over = vec![(["after", "cut_off"], 1), (["last", "gap"], 1)];
        assert_eq!((resumes.under_way(), resumes.over()), (0, over));
    }
}

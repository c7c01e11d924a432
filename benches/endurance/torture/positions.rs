//! Where a client that comes back stands in the logs: the rule of the library's `positions.ts`.
//! Keys that are live share one place for each exchange; keys whose missed events are on their way
//! share the place of their `Subscribe`, and join the live one with `Replayed`.

use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

use super::topics::Topic;

/// As the gateway wrote it; nobody here compares two of them.
pub type Position = Box<str>;

/// Shared by those who stand there.
#[derive(Clone, Debug, Default)]
pub struct Place(Rc<RefCell<Option<Position>>>);

#[derive(Default)]
pub struct Positions {
    /// On this connection, by exchange.
    live: BTreeMap<&'static str, Place>,
    places: BTreeMap<Topic, Place>,
}

impl Place {
    fn at(position: Option<&Position>) -> Self {
        Self(Rc::new(RefCell::new(position.cloned())))
    }

    fn moves(&self, position: &str) {
        self.0.replace(Some(position.into()));
    }
}

impl Positions {
    /// The topics, by exchange and position, with a place that is theirs alone.
    pub fn requests(
        &self,
        topics: impl IntoIterator<Item = Topic>,
    ) -> Vec<(&'static str, Option<Position>, Place, Vec<Topic>)> {
        let mut together = BTreeMap::<_, Vec<_>>::new();
        for topic in topics {
            together.entry((topic.exchange(), self.of(topic))).or_default().push(topic);
        }
        let request = |((exchange, after), topics): ((_, Option<Position>), _)| {
            let place = Place::at(after.as_ref());
            (exchange, after, place, topics)
        };
        together.into_iter().map(request).collect()
    }

    pub fn of(&self, topic: Topic) -> Option<Position> {
        self.places.get(&topic)?.0.borrow().clone()
    }

    /// What it missed is on its way.
    pub fn stands(&mut self, topic: Topic, place: &Place) {
        self.places.insert(topic, place.clone());
    }

    pub fn goes_live(&mut self, topic: Topic) {
        let live = self.live.entry(topic.exchange()).or_default().clone();
        self.places.insert(topic, live);
    }

    /// An event of the topic was heard.
    pub fn heard(&self, topic: Topic, position: &str) {
        if let Some(place) = self.places.get(&topic) {
            place.moves(position);
        }
    }

    /// Up to there live keys have heard all there is.
    pub fn says(&mut self, exchange: &'static str, position: &str) {
        self.live.entry(exchange).or_default().moves(position);
    }

    pub fn forget(&mut self, topic: Topic) {
        self.places.remove(&topic);
    }

    /// The connection is: whoever stood at a live place stays there.
    pub fn lost(&mut self) {
        self.live.clear();
    }
}

/// Which entry, and how many of its events lie behind: for whoever looks for a fault.
pub fn read(position: &str) -> Option<(u64, u16)> {
    let bytes = URL_SAFE_NO_PAD.decode(position).ok()?;
    let (offset, rest) = bytes.split_first_chunk()?;
    Some((u64::from_be_bytes(*offset), u16::from_be_bytes(*rest.first_chunk()?)))
}

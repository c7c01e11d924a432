use futures_util::FutureExt;
use tokio::time::Instant;

use super::{keys::UNBIND_AFTER, *};
use crate::event::Entry;

struct World {
    bindings: Arc<Bindings>,
    keys: Arc<Keys>,
}

impl World {
    fn new() -> Self {
        let exchange = Exchange::new("widgets").expect("valid");
        let bindings = Bindings::new([exchange.clone()]);
        let keys = bindings.of(&exchange).expect("it has some").clone();
        keys.begin_anew();
        keys.open();
        Self { bindings, keys }
    }

    /// What a reader does.
    fn bind(&self) -> Vec<Arc<str>> {
        let wanted = self.keys.take_wanted(usize::MAX);
        self.keys.bound(&wanted);
        let mut names: Vec<_> = wanted.into_iter().map(|(name, _)| name).collect();
        names.sort();
        names
    }

    fn unbind_idle(&self) -> Vec<Arc<str>> {
        let idle = self.keys.idle(9);
        self.keys.unbound(idle.len());
        idle.into_iter().map(|(name, _)| name).collect()
    }

    /// Of keys that are bound already.
    fn hold(&self, names: &[&str]) -> Vec<Hold> {
        let held = self.bindings.hold(&topics(names)).now_or_never();
        held.expect("at once").expect("bound")
    }
}

fn topics(names: &[&str]) -> Vec<Topic> {
    let topic = |name: &&str| Topic::new(Exchange::new("widgets").expect("valid"), name);
    names.iter().map(|name| topic(name).expect("valid")).collect()
}

fn names(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| (*name).into()).collect()
}

#[tokio::test(start_paused = true)]
async fn who_holds_a_key_waits_until_it_is_bound_and_not_for_ever() {
    let world = World::new();
    let asked = topics(&["1", "2"]);
    let mut holding = std::pin::pin!(world.bindings.hold(&asked));
    assert!(holding.as_mut().now_or_never().is_none());
    assert_eq!(world.bind(), names(&["1", "2"]));
    assert_eq!(holding.await.expect("bound").len(), 2);

    let began = Instant::now();
    let other = world.bindings.hold(&topics(&["1", "3"])).await;
    assert_eq!((other.err(), began.elapsed()), (Some(NotBound), BIND_DEADLINE));
}

#[tokio::test(start_paused = true)]
async fn what_nobody_holds_any_more_is_not_bound_before_what_somebody_does() {
    let world = World::new();
    let (asked, under_way) = (topics(&["1", "2", "3"]), async {
        tokio::task::yield_now().await;
        world.keys.take_wanted(1)
    });
    let (given_up, under_way) = tokio::join!(world.bindings.hold(&asked), under_way);
    assert_eq!(given_up.err(), Some(NotBound));
    let waits = topics(&["3", "4"]);
    let (held, bound) = tokio::join!(world.bindings.hold(&waits), async {
        tokio::task::yield_now().await;
        let wanted = world.keys.take_wanted(2);
        world.keys.bound(&wanted);
        wanted.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    });
    assert_eq!((held.expect("bound").len(), bound), (2, names(&["3", "4"])));
    // It was asked for already, and somebody may ask again.
    world.keys.bound(&under_way);
    world.hold(&["1"]);
    // Each that was forgotten may be held again.
    let (held, _) = tokio::join!(world.bindings.hold(&asked), async {
        tokio::task::yield_now().await;
        assert_eq!(world.bind(), names(&["2"]));
    });
    assert_eq!(held.expect("bound").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_key_is_bound_once_and_unbound_when_nobody_has_held_it_for_a_while() {
    let world = World::new();
    let asked = topics(&["1"]);
    let holding = (world.bindings.hold(&asked), world.bindings.hold(&asked));
    let both = async { tokio::join!(holding.0, holding.1) };
    let (first, second) = tokio::join!(both, async {
        tokio::task::yield_now().await;
        assert_eq!(world.bind(), names(&["1"]));
    })
    .0;
    drop(first);
    tokio::time::advance(2 * UNBIND_AFTER).await;
    assert_eq!(world.unbind_idle(), names(&[]));
    drop(second);
    assert_eq!(world.unbind_idle(), names(&[]));
    tokio::time::advance(UNBIND_AFTER / 2).await;
    drop(world.hold(&["1"]));
    tokio::time::advance(UNBIND_AFTER / 2).await;
    assert_eq!(world.unbind_idle(), names(&[]));
    tokio::time::advance(UNBIND_AFTER / 2).await;
    assert_eq!(world.unbind_idle(), names(&["1"]));
    // Whoever comes now needs another binding.
    let mut again = std::pin::pin!(world.bindings.hold(&asked));
    assert!(again.as_mut().now_or_never().is_none());
    assert_eq!(world.bind(), names(&["1"]));
    again.await.expect("bound");
}

/// A broker that was asked to unbind may do it late.
#[tokio::test(start_paused = true)]
async fn a_key_that_is_bound_again_is_bound_otherwise() {
    let world = World::new();
    let asked = topics(&["1"]);
    let mut before = 0;
    for _ in 0..3 {
        let (held, bound) = tokio::join!(world.bindings.hold(&asked), async {
            tokio::task::yield_now().await;
            // What failed is tried again as it was, and so is what may be forgotten.
            let failed = world.keys.take_wanted(9);
            world.keys.go_on();
            assert_eq!(world.keys.take_wanted(9), failed);
            world.keys.begin_anew();
            world.keys.open();
            assert_eq!(world.keys.take_wanted(9), failed);
            world.keys.bound(&failed);
            failed
        });
        let binding = bound[0].1;
        assert!(binding > before);
        drop(held);
        tokio::time::advance(UNBIND_AFTER).await;
        assert_eq!(world.keys.idle(9), bound);
        world.keys.unbound(1);
        before = binding;
    }
}

/// Whatever became of it: its holders gave up, or nobody answered.
#[tokio::test(start_paused = true)]
async fn what_the_broker_may_have_bound_is_unbound_some_time() {
    let world = World::new();
    let (asked, under_way) = (topics(&["1", "2"]), async {
        tokio::task::yield_now().await;
        world.keys.take_wanted(1)
    });
    let (given_up, under_way) = tokio::join!(world.bindings.hold(&asked), under_way);
    assert_eq!(given_up.err(), Some(NotBound));
    world.keys.begin_anew();
    world.keys.open();
    assert_eq!(world.keys.take_wanted(9), []);
    tokio::time::advance(UNBIND_AFTER).await;
    assert_eq!(world.keys.idle(9), under_way);
    // Until it is answered.
    assert_eq!(world.keys.idle(9), under_way);
    world.keys.unbound(1);
    assert_eq!(world.keys.idle(9), []);
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_all_away_and_holds_nothing_any_more() {
    let world = World::new();
    let asked = topics(&["1", "2"]);
    let (held, ()) = tokio::join!(world.bindings.hold(&asked), async {
        tokio::task::yield_now().await;
        world.keys.bound(&world.keys.take_wanted(1));
        world.keys.take_wanted(1);
        assert_eq!(world.keys.any(9).len(), 2);
    });
    assert_eq!(held.err(), Some(NotBound));
    assert_eq!(world.bindings.hold(&asked).await.err(), Some(NotBound));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_is_bound_anew_and_nobody_waits_meanwhile() {
    let world = World::new();
    let asked = topics(&["1", "2"]);
    let (held, _) = tokio::join!(world.bindings.hold(&asked), async {
        tokio::task::yield_now().await;
        world.bind()
    });
    let mut held = held.expect("bound");
    drop(held.pop());
    let waits = topics(&["3"]);
    let (refused, ()) = tokio::join!(world.bindings.hold(&waits), async {
        world.keys.begin_anew();
    });
    assert_eq!(refused.err(), Some(NotBound));
    let refused = world.bindings.hold(&asked).now_or_never();
    assert_eq!(refused.expect("at once").err(), Some(NotBound));
    assert_eq!(world.bind(), names(&["1"]));
    world.keys.open();
    world.hold(&["1"]);
}

#[tokio::test(start_paused = true)]
async fn a_log_is_whole_from_a_marker_on_that_was_published_when_a_key_was_bound() {
    let world = World::new();
    let (keys, at) = (&world.keys, |offset| Position::end_of(Entry { offset, hash: 0 }));
    let whole = |names: &[&str]| world.bindings.whole_since(&topics(names));
    let hold = async |name| {
        let asked = topics(&[name]);
        let bind = async { world.bind() };
        tokio::join!(world.bindings.hold(&asked), bind).0.expect("bound")
    };
    let _one = hold("1").await;
    assert_eq!(whole(&["1"]), Whole::Unknown);
    keys.prove("first", false);
    let _two = hold("2").await;
    assert!(!keys.read("another", at(1)));
    assert!(!keys.read("first", at(2)));
    assert_eq!((whole(&["1"]), whole(&["2"])), (Whole::Since(at(2)), Whole::Unknown));
    assert_eq!(whole(&["1", "2"]), Whole::Unknown);
    keys.prove("second", false);
    keys.read("second", at(3));
    assert_eq!(whole(&["1", "2"]), Whole::Since(at(3)));

    // A reader that lags reads what was published long before.
    let _three = hold("3").await;
    (0..5).for_each(|n| keys.prove(&format!("further {n}"), false));
    let _four = hold("4").await;
    (5..50).for_each(|n| keys.prove(&format!("further {n}"), false));
    keys.read("further 0", at(4));
    assert_eq!((whole(&["3"]), whole(&["4"])), (Whole::Since(at(4)), Whole::Unknown));
    keys.read("further 5", at(5));
    assert_eq!(whole(&["1", "4"]), Whole::Since(at(5)));

    // The broker has forgotten all of it.
    keys.begin_anew();
    keys.open();
    assert_eq!(whole(&["1"]), Whole::Unknown);
    world.bind();
    keys.prove("lost on its way", true);
    keys.prove("third", false);
    assert!(!keys.read("further 49", at(6)), "it was published before");
    assert!(keys.read("third", at(7)), "the gap is still to be told");
    assert_eq!(whole(&["1", "2"]), Whole::Since(at(7)));
    keys.interrupt();
    assert_eq!(whole(&["1"]), Whole::Unknown);
}

#[tokio::test]
async fn of_other_exchanges_nothing_need_be_held() {
    let held = Bindings::default().hold(&topics(&["1", "2"])).now_or_never();
    assert_eq!(held.expect("at once").expect("held").len(), 2);
    assert_eq!(Bindings::default().whole_since(&topics(&["1"])), Whole::Always);
}

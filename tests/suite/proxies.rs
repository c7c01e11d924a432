//! nginx, HAProxy and Caddy before two replicas, each with its file of `deploy/proxies` as it stands:
//! what clients, their pages and the application notice of what stands between, and a replica that is
//! replaced under load.

mod balancer;
mod passing;
mod rolls;

use self::balancer::Proxy;

/// A module of tests for each.
macro_rules! behind {
    ($($proxy:ident)+) => {
        $(
            #[expect(non_snake_case, reason = "a program's name")]
            mod $proxy {
                use super::{balancer::Proxy::$proxy, passing, rolls};

                #[tokio::test]
                async fn clients_and_pages_pass_as_if_nothing_stood_between() {
                    passing::clients_and_pages_pass_as_if_nothing_stood_between($proxy).await;
                }

                #[tokio::test]
                async fn who_says_nothing_stays_connected() {
                    passing::who_says_nothing_stays_connected($proxy).await;
                }

                #[tokio::test]
                async fn a_replica_is_replaced_and_no_client_is_lost() {
                    rolls::a_replica_is_replaced_and_no_client_is_lost($proxy).await;
                }
            }
        )+
    };
}

behind!(Nginx Haproxy Caddy);

/// nginx asks nobody.
#[tokio::test]
async fn who_asks_sends_nobody_to_a_replica_that_leaves() {
    rolls::a_replica_that_leaves_gets_no_new_client(Proxy::Haproxy).await;
    rolls::a_replica_that_leaves_gets_no_new_client(Proxy::Caddy).await;
}

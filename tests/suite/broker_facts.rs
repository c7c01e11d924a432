//! What RabbitMQ does, itself, that the bus has to know: found out here once, by a consumer
//! of AMQP 0.9.1 as the bus is one, and to be looked at again with another version.

use std::time::Duration;

use futures_util::StreamExt;
use lapin::{
    Connection, ErrorKind,
    options::QueueDeclareOptions,
    protocol::{AMQPErrorKind, AMQPHardError},
    types::{AMQPValue, FieldTable},
};
use tokio::time::sleep;

use crate::support::{
    DEADLINE,
    rabbitmq::RabbitMq,
    stream_protocol::{NO_AMQP, amqp_message},
    unique, within,
};

/// What a consumer was given until it had enough, or its connection was closed.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    entries: Vec<(u64, String)>,
    /// By `541 INTERNAL_ERROR`.
    closed: bool,
}

/// The broker parses a chunk as a whole when it is its turn, from the consumer's first offset
/// on, and fails as a whole, connection included. So what stands before such an entry in its
/// chunk can be read by nobody: it is lost to AMQP 0.9.1. What stands behind it can, if one
/// begins there. With a large prefetch the broker parses several chunks before it sends the
/// first, and those before the one that fails go unsent too: only a prefetch of one is given
/// all that can be read.
#[tokio::test]
async fn an_entry_that_is_no_amqp_ends_the_connection_of_its_reader() {
    let broker = RabbitMq::shared().await;
    let log = a_stream(broker).await;
    let [good, better] = ["good", "better"].map(|body| amqp_message("key", body.as_bytes()));
    broker.write_raw(&log, &[&amqp_message("key", b"before")]).await;
    broker.write_raw(&log, &[&good, NO_AMQP, &better]).await;
    broker.write_raw(&log, &[&amqp_message("key", b"behind")]).await;

    assert_eq!(read(broker, &log, 0, 3).await, closed_behind(&[(0, "before")]));
    for start in [1, 2] {
        assert_eq!(read(broker, &log, start, 1).await, closed_behind(&[]));
    }
    assert_eq!(read(broker, &log, 3, 2).await, open_behind(&[(3, "better"), (4, "behind")]));
}

/// Each of these is AMQP 1.0, and nothing that this broker turns into AMQP 0.9.1. (What a
/// client of AMQP 1.0 itself publishes never looks like this: the broker has turned it into
/// AMQP 0.9.1 on its way in.)
#[tokio::test]
async fn sound_amqp_that_the_broker_cannot_convert_is_no_better() {
    let broker = RabbitMq::shared().await;
    let message = amqp_message("key", b"good");
    let header = [&b"\0\x53\x70\xc0\x02\x01\x41"[..], &message].concat();
    let footer = [&message[..], b"\0\x53\x78\xc1\x01\0"].concat();
    let value = b"\0\x53\x77\xa1\x04text".to_vec();
    let properties_alone = b"\0\x53\x73\x45".to_vec();
    for entry in [header, footer, value, properties_alone] {
        let log = a_stream(broker).await;
        broker.write_raw(&log, &[&entry]).await;
        broker.write_raw(&log, &[&message]).await;
        assert_eq!(read(broker, &log, 0, 1).await, closed_behind(&[]), "{entry:x?}");
        assert_eq!(read(broker, &log, 1, 1).await, open_behind(&[(1, "good")]), "{entry:x?}");
    }
}

/// A compressed batch stands at its first offset: beginning at its second is enough to be
/// given what comes after its last.
#[tokio::test]
async fn a_compressed_batch_is_one_such_entry_that_takes_several_offsets() {
    let broker = RabbitMq::shared().await;
    let log = a_stream(broker).await;
    broker.write_raw(&log, &[&amqp_message("key", b"before")]).await;
    broker.write_compressed(&log, 3).await;
    broker.write_raw(&log, &[&amqp_message("key", b"behind")]).await;

    assert_eq!(read(broker, &log, 0, 2).await, closed_behind(&[(0, "before")]));
    assert_eq!(read(broker, &log, 1, 1).await, closed_behind(&[]));
    for start in [2, 3, 4] {
        assert_eq!(read(broker, &log, start, 1).await, open_behind(&[(4, "behind")]));
    }
}

#[tokio::test]
async fn an_offset_that_a_consumer_stores_takes_one_of_the_log() {
    let broker = RabbitMq::shared().await;
    let log = a_stream(broker).await;
    broker.write_raw(&log, &[&amqp_message("key", b"before")]).await;
    for stored in 0..3 {
        broker.store_offset(&log, "consumer", stored).await;
    }
    broker.write_raw(&log, &[&amqp_message("key", b"behind")]).await;

    assert_eq!(read(broker, &log, 0, 2).await, open_behind(&[(0, "before"), (4, "behind")]));
    assert_eq!(read(broker, &log, 2, 1).await, open_behind(&[(4, "behind")]));
}

async fn a_stream(broker: &RabbitMq) -> String {
    let name = unique("log");
    let connection = broker.connect().await;
    let channel = connection.create_channel().await.expect("a channel");
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("stream".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    let declared = channel.queue_declare(name.as_str().into(), options, arguments);
    declared.await.expect("a stream");
    name
}

/// Reads so many entries, one at a time.
async fn read(broker: &RabbitMq, log: &str, start: i64, entries: usize) -> Read {
    let connection = broker.connect().await;
    let reading = read_over(&connection, log, start, entries);
    within(DEADLINE, "entries, or an error", reading).await
}

async fn read_over(connection: &Connection, log: &str, start: i64, count: usize) -> Read {
    let channel = connection.create_channel().await.expect("a channel");
    channel.basic_qos(1, Default::default()).await.expect("a prefetch");
    let mut arguments = FieldTable::default();
    arguments.insert("x-stream-offset".into(), AMQPValue::LongLongInt(start));
    let mut entries = Vec::new();
    let consuming = channel.basic_consume(log.into(), "".into(), Default::default(), arguments);
    let mut consumer = match consuming.await {
        Ok(consumer) => consumer,
        Err(e) => return closed_by(e, connection, entries).await,
    };
    while entries.len() < count {
        match consumer.next().await.expect("an entry, or an error") {
            Ok(delivery) => {
                let headers = delivery.properties.headers().as_ref().expect("headers");
                let Some(AMQPValue::LongLongInt(offset)) = headers.inner().get("x-stream-offset")
                else {
                    panic!("no offset: {headers:?}");
                };
                let body = String::from_utf8(delivery.data.clone()).expect("UTF-8");
                entries.push((*offset as u64, body));
                let acked = channel.basic_ack(delivery.delivery_tag, Default::default());
                acked.await.expect("acked");
            }
            Err(e) => return closed_by(e, connection, entries).await,
        }
    }
    assert!(connection.status().connected(), "it stays open");
    Read { entries, closed: false }
}

async fn closed_by(
    error: lapin::Error,
    connection: &Connection,
    entries: Vec<(u64, String)>,
) -> Read {
    let ErrorKind::ProtocolError(reason) = error.kind() else { panic!("{error}") };
    assert_eq!(*reason.kind(), AMQPErrorKind::Hard(AMQPHardError::INTERNALERROR), "{error}");
    let closed = async {
        while connection.status().connected() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    within(DEADLINE, "the connection is closed, not the channel alone", closed).await;
    Read { entries, closed: true }
}

fn closed_behind(entries: &[(u64, &str)]) -> Read {
    Read { closed: true, ..open_behind(entries) }
}

fn open_behind(entries: &[(u64, &str)]) -> Read {
    let owned = entries.iter().map(|(offset, body)| (*offset, (*body).to_owned()));
    Read { entries: owned.collect(), closed: false }
}

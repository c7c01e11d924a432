//! What the gateway takes from an application although the contract has it otherwise: it knows
//! what to do instead, and whoever writes a handler would like to know.

use crate::{
    proto,
    protocol::{ClientError, Close, OWN_EVENTS},
};

pub(super) fn of_reply(reply: &proto::HandleActionResponse) -> Vec<String> {
    let mut remarks = Vec::new();
    if let Some(error) = &reply.error {
        if *reply
            != (proto::HandleActionResponse { error: Some(error.clone()), ..Default::default() })
        {
            remarks.push("error is set, so nothing else of the message counts".into());
        }
        let details: serde_json::Value = serde_json::from_str(&error.details).unwrap_or_default();
        let reserved = ClientError::RESERVED.iter().filter(|name| details.get(name).is_some());
        remarks.extend(reserved.map(|name| {
            format!("error.details has {name:?}, which the gateway says itself: it is dropped")
        }));
    }
    remarks.extend(reply.events.iter().enumerate().filter_map(of_event));
    remarks.extend(reply.disconnect.iter().flat_map(|end| of_disconnect("disconnect", end)));
    remarks
}

fn of_event((at, event): (usize, &proto::Event)) -> Option<String> {
    let name = &event.event;
    OWN_EVENTS.contains(&&**name).then(|| {
        format!("events[{at}] is named {name:?} like a message of the gateway's, for which clients may take it")
    })
}

pub(super) fn of_decisions(reply: &proto::CheckSubscriptionsResponse) -> Vec<String> {
    let odd = |(at, number): (usize, &i32)| match proto::Decision::try_from(*number) {
        Ok(proto::Decision::Unspecified) => {
            Some(format!("decisions[{at}] is DECISION_UNSPECIFIED, which counts as a denial"))
        }
        Err(_) => {
            Some(format!("decisions[{at}] is {number}, which is none: it counts as a denial"))
        }
        Ok(_) => None,
    };
    reply.decisions.iter().enumerate().filter_map(odd).collect()
}

pub(super) fn of_admission(reply: &proto::SessionOpenedResponse) -> Vec<String> {
    let mut remarks = Vec::new();
    match proto::SessionDecision::try_from(reply.decision) {
        Ok(proto::SessionDecision::Accept | proto::SessionDecision::Refuse) => {}
        _ => remarks.push(format!("decision is {}, which counts as a refusal", reply.decision)),
    }
    remarks.extend(reply.refusal.iter().flat_map(|end| of_disconnect("refusal", end)));
    remarks
}

fn of_disconnect(field: &str, end: &proto::Disconnect) -> Vec<String> {
    let mut remarks = Vec::new();
    if end.code != 0 && Close::chosen(end.code).is_none() {
        let (code, instead) = (end.code, Close::APPLICATION);
        remarks.push(format!(
            "{field}.code is {code}, neither 1000 nor 4000 to 4999: {instead} is used"
        ));
    }
    if end.reason.len() > Close::REASON_MAX {
        let (size, most) = (end.reason.len(), Close::REASON_MAX);
        remarks.push(format!("{field}.reason has {size} bytes and is cut after {most}"));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_counts_otherwise_than_it_is_written_is_remarked_on() {
        let disconnect = |code| Some(proto::Disconnect { code, reason: String::new() });
        let reply = |disconnect, error| proto::HandleActionResponse {
            disconnect,
            error,
            ..Default::default()
        };
        assert_eq!(of_reply(&reply(disconnect(4_200), None)), <[String; 0]>::default());
        assert_eq!(of_reply(&reply(disconnect(0), None)), <[String; 0]>::default());
        assert!(of_reply(&reply(disconnect(3_000), None))[0].contains("4500 is used"));
        let error = |details: &str| {
            Some(proto::ActionError {
                code: "No".into(),
                details: details.into(),
                retryable: false,
            })
        };
        assert_eq!(of_reply(&reply(None, error(r#"{"why":1}"#))), <[String; 0]>::default());
        assert!(of_reply(&reply(None, error(r#"{"retryable":1}"#)))[0].contains("dropped"));
        assert!(of_reply(&reply(disconnect(4_200), error("")))[0].contains("nothing else"));
        let event = |name: &str| proto::Event { event: name.into(), ..Default::default() };
        let events = vec![event("Said"), event("Subscribed")];
        let reply = proto::HandleActionResponse { events, ..Default::default() };
        assert!(of_reply(&reply)[0].starts_with("events[1] is named \"Subscribed\""));
        let decisions = proto::CheckSubscriptionsResponse { decisions: vec![1, 0, 3, 9] };
        let remarks = of_decisions(&decisions);
        assert!(remarks[0].contains("decisions[1]") && remarks[1].contains("decisions[3] is 9"));
        let opened = proto::SessionOpenedResponse::default();
        assert!(of_admission(&opened)[0].contains("counts as a refusal"));
    }
}

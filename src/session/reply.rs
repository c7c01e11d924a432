//! What the application's answers may do to a session, whichever call they answer: its rules,
//! and what is said where one is broken.

use std::sync::Arc;

use super::Session;
use crate::{
    application::{ApplicationError, AuthUpdate, SessionSnapshot, SessionUpdate},
    complaints::Complaint,
    event::EventBody,
    hub::outbox::Outbox,
    metrics::{CallStatus, Rpc},
    protocol::{self, Frame, Tag},
};

/// What auth and data may hold together, in bytes: they travel with every call.
const SESSION_STATE_MAX: usize = 16 * 1024;

impl Session {
    /// The application's events as the client gets them, none too large, nor all together.
    pub(super) fn frames(
        &self,
        events: &[EventBody],
        tag: Option<&Tag>,
    ) -> Result<Vec<Frame>, ApplicationError> {
        frames(events, tag, self.services.max_event_size, self.outbox.room_for_replies())
    }

    pub(super) fn update(&self, update: SessionUpdate) -> Result<(), ApplicationError> {
        let auth_changed = update.auth != AuthUpdate::Keep;
        if !auth_changed && update.set_data.is_empty() && update.remove_data.is_empty() {
            return Ok(());
        }
        let mut state = self.lock();
        let snapshot = updated(&state.snapshot, update)?;
        state.snapshot = Arc::new(snapshot);
        if auth_changed {
            state.auth_version += 1;
            state.recheck_due = true;
        }
        Ok(())
    }

    /// Of a reply that was read, and cannot be carried out.
    pub(super) fn complain(&self, rpc: Rpc, action: Option<&str>, error: &ApplicationError) {
        self.services.complaints.hear(Complaint {
            rpc: Some(rpc.to_string()),
            action: action.map(Into::into),
            session: Some(self.outbox.session()),
            status: Some(CallStatus::Ok.into()),
            problem: Some(error.problem()),
            ..Complaint::new(Complaint::BROKEN_REPLY)
        });
    }
}

/// What follows from one action, as the client gets it: each event at most `max_event_size` bytes
/// of JSON, and all together at most `room` in an outbox.
pub(crate) fn frames(
    events: &[EventBody],
    tag: Option<&Tag>,
    max_event_size: usize,
    mut room: usize,
) -> Result<Vec<Frame>, ApplicationError> {
    let mut frames = Vec::with_capacity(events.len());
    for event in events {
        let size = event.payload.get().len();
        if size > max_event_size {
            let message = format!("an event of {size} bytes, {max_event_size} is the most");
            return Err(ApplicationError::Failed(message));
        }
        let frame = protocol::event(&event.name, tag, &event.payload);
        room = room.checked_sub(Outbox::cost(&frame)).ok_or_else(|| {
            let all = events.len();
            ApplicationError::Failed(format!("{all} events, more than half an outbox holds"))
        })?;
        frames.push(frame);
    }
    Ok(frames)
}

/// What is known of a session after an update; one that is too large changes nothing.
pub(crate) fn updated(
    before: &SessionSnapshot,
    update: SessionUpdate,
) -> Result<SessionSnapshot, ApplicationError> {
    let mut snapshot = before.clone();
    match update.auth {
        AuthUpdate::Keep => {}
        AuthUpdate::Set(auth) => snapshot.auth = Some(auth),
        AuthUpdate::Clear => snapshot.auth = None,
    }
    snapshot.data.extend(update.set_data);
    for name in &update.remove_data {
        snapshot.data.remove(name);
    }
    let size = snapshot.auth.as_ref().map_or(0, |auth| auth.len())
        + snapshot.data.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    if size > SESSION_STATE_MAX {
        let message =
            format!("auth and data would be {size} bytes, {SESSION_STATE_MAX} is the most");
        return Err(ApplicationError::Failed(message));
    }
    Ok(snapshot)
}

//! How a connection ends.

use std::sync::Arc;

/// Why a connection ends: a WebSocket close code and at most 123 bytes of reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close {
    pub code: u16,
    pub reason: Arc<str>,
}

impl Close {
    /// Closed by the application: done, stay away.
    pub const NORMAL: u16 = 1000;
    pub const PROTOCOL_ERROR: u16 = 1002;
    /// Never on the wire: the close frame had no code.
    pub const NO_STATUS: u16 = 1005;
    /// Never on the wire: the connection was lost without a closing handshake.
    pub const ABNORMAL: u16 = 1006;
    pub const INVALID_UTF8: u16 = 1007;
    pub const TOO_BIG: u16 = 1009;
    pub const SERVICE_RESTART: u16 = 1012;
    pub const TRY_LATER: u16 = 1013;
    pub const SLOW_CONSUMER: u16 = 3008;
    /// Closed by the application, stay away: its default.
    pub const APPLICATION: u16 = 4500;

    /// What a control frame can hold beside the code.
    pub const REASON_MAX: usize = 123;

    pub fn new(code: u16, reason: &str) -> Self {
        let end = (0..=reason.len().min(Self::REASON_MAX))
            .rev()
            .find(|&end| reason.is_char_boundary(end))
            .unwrap_or(0);
        Self { code, reason: reason[..end].into() }
    }

    /// The application is to decide something first, and cannot be asked.
    pub fn try_later() -> Self {
        Self::new(Self::TRY_LATER, "the application cannot be asked, try again later")
    }

    /// The application's choice: 1000 or 4000 to 4999, anything else stands for 4500.
    pub fn by_application(code: u32, reason: &str) -> Self {
        Self::new(Self::chosen(code).unwrap_or(Self::APPLICATION), reason)
    }

    /// A code that an application may close with.
    pub fn chosen(code: u32) -> Option<u16> {
        let code = u16::try_from(code).ok()?;
        matches!(code, Self::NORMAL | 4000..5000).then_some(code)
    }
}

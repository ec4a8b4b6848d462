//! PLAIN: name and password, once (RFC 4616).

use super::{Mechanism, SaslError, Step};

pub(super) struct Plain {
    message: Vec<u8>,
    sent: bool,
}

impl Plain {
    pub(super) fn new(username: &str, password: &str) -> Result<Self, SaslError> {
        // NUL separates the fields, and nothing can escape it.
        for (what, text) in [("user name", username), ("password", password)] {
            if text.contains('\0') {
                return Err(SaslError::Unwritable { mechanism: Mechanism::Plain, what });
            }
        }
        let message = format!("\0{username}\0{password}").into_bytes();
        Ok(Self { message, sent: false })
    }

    pub(super) fn first(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.message)
    }

    pub(super) fn next(&mut self, _challenge: &[u8]) -> Result<Step, SaslError> {
        if std::mem::replace(&mut self.sent, true) {
            return Err(SaslError::PastTheEnd { mechanism: Mechanism::Plain });
        }
        Ok(Step::Done)
    }
}

impl std::fmt::Debug for Plain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plain").field("sent", &self.sent).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_password_follow_an_empty_identity_as_in_the_rfc() {
        let mut plain = Plain::new("tim", "tanstaaftanstaaf").unwrap();
        assert_eq!(plain.first(), b"\0tim\0tanstaaftanstaaf");
        assert_eq!(plain.next(b""), Ok(Step::Done));
        assert!(plain.next(b"").is_err(), "there is one answer");
    }

    #[test]
    fn a_nul_would_end_a_field_and_is_refused() {
        assert!(Plain::new("a\0b", "c").is_err());
        assert!(Plain::new("a", "b\0c").is_err());
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Plain::new("alice", "sesame").unwrap());
        assert!(!shown.contains("sesame"), "{shown}");
    }
}

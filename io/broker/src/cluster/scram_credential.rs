//! What is kept of a password, and how it is made (RFC 5802).

use bytes::Bytes;
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256, Sha512};
use std::fmt;

/// What verifies a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ScramCredential {
    pub(crate) salt: Bytes,
    pub(crate) stored_key: Bytes,
    pub(crate) server_key: Bytes,
    pub(crate) iterations: i32,
}

impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys and the salt stay out of every log.
        f.debug_struct("ScramCredential")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// A way to hash a password, in the wire's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub(crate) enum ScramMechanism {
    Sha256 = 1,
    Sha512 = 2,
}

impl ScramMechanism {
    pub(crate) fn from_i8(number: i8) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|mechanism| *mechanism as i8 == number)
    }

    fn hash(self, data: &[u8]) -> Bytes {
        match self {
            Self::Sha256 => Bytes::copy_from_slice(&Sha256::digest(data)),
            Self::Sha512 => Bytes::copy_from_slice(&Sha512::digest(data)),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Bytes {
        const ANY_KEY: &str = "a key of any length will do";
        match self {
            Self::Sha256 => {
                let mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_KEY);
                Bytes::copy_from_slice(&mac.chain_update(data).finalize().into_bytes())
            }
            Self::Sha512 => {
                let mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY_KEY);
                Bytes::copy_from_slice(&mac.chain_update(data).finalize().into_bytes())
            }
        }
    }

    /// Makes a credential of a salted password (RFC 5802, section 3).
    pub(super) fn credential(
        self,
        salted_password: &[u8],
        salt: Bytes,
        iterations: i32,
    ) -> ScramCredential {
        let client_key = self.hmac(salted_password, b"Client Key");
        ScramCredential {
            salt,
            stored_key: self.hash(&client_key),
            server_key: self.hmac(salted_password, b"Server Key"),
            iterations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_made_as_rfc_5802_says() {
        // RFC 7677's example: user, password "pencil", 4096 iterations; its salted password by PBKDF2.
        let salted = "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d";
        let salted: Vec<u8> = (0..salted.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&salted[at..at + 2], 16).unwrap())
            .collect();
        let credential = ScramMechanism::Sha256.credential(&salted, Bytes::new(), 4096);
        let server_key = "c1f3cbc1c13a9d35a14c0990eed97629ea225863e566a4314ab99f3f00e5d9d5";
        assert_eq!(hex(&credential.server_key), server_key);
        assert_eq!(credential.stored_key.len(), 32);
        let credential = ScramMechanism::Sha512.credential(b"x", Bytes::new(), 4096);
        assert_eq!((credential.stored_key.len(), credential.server_key.len()), (64, 64));
        assert!(!format!("{credential:?}").contains("key"));
    }
}

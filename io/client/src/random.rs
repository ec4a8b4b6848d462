//! Bytes that nobody can foresee.

/// Fills an array from the system's secure source.
///
/// # Panics
/// If the system has none: nothing that needs a secret can go on then.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).expect("the operating system has random bytes");
    bytes
}

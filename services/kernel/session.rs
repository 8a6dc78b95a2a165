//! What is said of sessions in more than one place: the cookie that carries one. `keys/session.rs`
//! sets it, `gateway/auth.rs` reads it.

/// Name of the cookie. Browsers send one that begins with `__Host-` to this very host alone, over
/// HTTPS (or to `localhost`), and take none over from another host (RFC 6265bis, 4.1.3.2).
pub const COOKIE: &str = "__Host-runplane_session";

/// Longest life of a session, in seconds.
pub const SECONDS_MAX: i32 = 3600;

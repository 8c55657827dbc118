//! People of a partner.

mod email;

pub use email::checked_email;

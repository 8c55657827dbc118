//! Who may make whom what.

use crate::auth::Role;
use crate::error::{Code, Error};
use uuid::Uuid;

/// Most clients, and most sites, that one membership may be confined to.
pub const MAX_CONFINEMENT: usize = 200;

/// Nobody touches someone above, and nobody grants more than they have. `current` is absent for a newcomer,
/// `wanted` for someone who is to go.
///
/// # Errors
/// `FORBIDDEN`.
pub fn check_ladder(actor: Role, current: Option<Role>, wanted: Option<Role>) -> Result<(), Error> {
    if current.is_some_and(|role| role > actor) {
        return Err(Error::with_detail(Code::Forbidden, "this person's role is above yours"));
    }
    if wanted.is_some_and(|role| role > actor) {
        return Err(Error::with_detail(Code::Forbidden, "nobody grants a role above their own"));
    }
    Ok(())
}

/// Owners see the whole partner; for everyone else the lists are bounded.
///
/// # Errors
/// A field error.
pub fn check_confinement(role: Role, client_ids: &[Uuid], site_ids: &[Uuid]) -> Result<(), Error> {
    for (field, ids) in [("client_ids", client_ids), ("site_ids", site_ids)] {
        if ids.len() > MAX_CONFINEMENT {
            return Err(Error::field(field, "TOO_LONG", "must have at most 200 entries"));
        }
        if role == Role::Owner && !ids.is_empty() {
            return Err(Error::field(field, "INVALID", "an owner cannot be confined"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::permission;
    use proptest::prelude::*;

    fn role() -> impl Strategy<Value = Role> {
        proptest::sample::select(Role::ALL.as_slice())
    }

    proptest! {
        #[test]
        fn what_is_granted_is_part_of_what_the_grantor_has(
            actor in role(),
            current in proptest::option::of(role()),
            wanted in role(),
            confined in any::<bool>(),
        ) {
            if check_ladder(actor, current, Some(wanted)).is_ok() {
                let has = permission::names(Some(actor), false, false);
                for granted in permission::names(Some(wanted), confined, false) {
                    prop_assert!(has.contains(&granted), "{actor:?} grants {granted} by {wanted:?}");
                }
            }
        }

        #[test]
        fn nobody_touches_someone_above(actor in role(), current in role(), wanted in proptest::option::of(role())) {
            if current > actor {
                prop_assert!(check_ladder(actor, Some(current), wanted).is_err());
            }
        }
    }

    #[test]
    fn equals_manage_each_other_and_owners_are_made_by_owners_only() {
        assert!(check_ladder(Role::Admin, Some(Role::Admin), Some(Role::Tech)).is_ok());
        assert!(check_ladder(Role::Owner, Some(Role::Owner), None).is_ok());
        assert!(check_ladder(Role::Admin, None, Some(Role::Owner)).is_err());
        assert!(check_ladder(Role::Admin, Some(Role::Tech), Some(Role::Owner)).is_err());
    }

    #[test]
    fn an_owner_is_never_confined() {
        assert!(check_confinement(Role::Owner, &[], &[Uuid::nil()]).is_err());
        assert!(check_confinement(Role::Admin, &[Uuid::nil()], &[]).is_ok());
        assert!(check_confinement(Role::Tech, &[Uuid::nil(); MAX_CONFINEMENT + 1], &[]).is_err());
    }
}

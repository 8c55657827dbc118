//! Names of the accounts that processes run as, where the library lists processes.

/// Names of accounts. The library would list every account of the domain for a few of them.
#[cfg(windows)]
pub struct Names;

#[cfg(windows)]
impl Names {
    /// As they are now.
    pub fn read() -> Self {
        Self
    }

    /// Empty: it has none.
    pub fn of(&self, id: &sysinfo::Uid) -> String {
        crate::os::names::name_of(&id.to_string())
    }
}

/// Names of accounts.
#[cfg(not(windows))]
pub struct Names(Option<sysinfo::Users>);

#[cfg(not(windows))]
impl Names {
    /// As they are now.
    pub fn read() -> Self {
        Self(sysinfo::Users::new_with_refreshed_list().ok())
    }

    /// Empty: it has none.
    pub fn of(&self, id: &sysinfo::Uid) -> String {
        let user = self.0.as_ref().and_then(|users| users.get_user_by_id(id));
        user.map(|user| user.name().to_owned()).unwrap_or_default()
    }
}

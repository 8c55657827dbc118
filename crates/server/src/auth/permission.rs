//! Permissions as types, and which role has which.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A member's role in a partner, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    ReadOnly,
    Tech,
    Admin,
    Owner,
}

impl Role {
    /// All roles, weakest first.
    pub const ALL: [Role; 4] = [Role::ReadOnly, Role::Tech, Role::Admin, Role::Owner];

    /// The word in the API and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read_only",
            Self::Tech => "tech",
            Self::Admin => "admin",
            Self::Owner => "owner",
        }
    }

    /// Reads the word; `None` for anything else.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

/// Who has a permission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// Any signed-in person, about their own account; needs no partner.
    SignedIn,
    /// A member of the partner with at least this role.
    Member(Role),
    /// The same, and not confined to some clients or sites.
    UnconfinedMember(Role),
    /// A platform admin; needs no partner.
    PlatformAdmin,
    /// Nobody: the server itself only.
    Nobody,
}

/// A permission a caller was checked for.
pub trait Permission: Send + Sync + 'static {
    /// The word in `SessionInfo.permissions`.
    const NAME: &'static str;
    /// Who has it.
    const NEEDS: Needs;
}

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $needs:expr;)*) => {
        $(
            $(#[$doc])*
            #[derive(Debug, Clone, Copy)]
            pub struct $name;
            impl Permission for $name {
                const NAME: &'static str = $word;
                const NEEDS: Needs = $needs;
            }
        )*
        /// Every permission with who has it.
        pub const ALL: &[(&str, Needs)] = &[$(($word, $needs),)*];
    };
}

permissions! {
    /// One's own account and sessions.
    OwnAccount = "own_account", Needs::SignedIn;
    /// Agents, metrics, commands, clients, sites, alerts: to look at.
    ReadFleet = "read_fleet", Needs::Member(Role::ReadOnly);
    /// Run and cancel commands.
    RunCommands = "run_commands", Needs::Member(Role::Tech);
    /// Acknowledge and resolve.
    ManageAlerts = "manage_alerts", Needs::Member(Role::Tech);
    /// Open sessions with machines.
    UseTunnel = "use_tunnel", Needs::Member(Role::Tech);
    /// End somebody else's session with a machine.
    EndTunnels = "end_tunnels", Needs::Member(Role::Admin);
    /// Ask machines for their agents' logs, and read them.
    ReadAgentLogs = "read_agent_logs", Needs::Member(Role::Tech);
    /// See which enrollment keys a site has (never their secrets).
    ReadKeys = "read_keys", Needs::Member(Role::Tech);
    /// Delete, move, approve machines.
    ManageAgents = "manage_agents", Needs::Member(Role::Admin);
    /// Make, rotate, revoke enrollment keys.
    ManageKeys = "manage_keys", Needs::Member(Role::Admin);
    /// Clients and sites.
    ManageTenancy = "manage_tenancy", Needs::UnconfinedMember(Role::Admin);
    /// Policy of the partner, its clients, sites and machines.
    ManagePolicies = "manage_policies", Needs::UnconfinedMember(Role::Admin);
    /// How versions reach the partner's machines.
    ReadRollouts = "read_rollouts", Needs::UnconfinedMember(Role::ReadOnly);
    /// Promote, halt and take back.
    ManageRollouts = "manage_rollouts", Needs::UnconfinedMember(Role::Admin);
    ReadUsers = "read_users", Needs::UnconfinedMember(Role::Admin);
    ManageUsers = "manage_users", Needs::UnconfinedMember(Role::Admin);
    ReadAudit = "read_audit", Needs::UnconfinedMember(Role::Admin);
    /// What techs did in sessions with machines, to look at.
    ReadRecordings = "read_recordings", Needs::UnconfinedMember(Role::Admin);
    /// The partner's name and retention.
    ManagePartner = "manage_partner", Needs::UnconfinedMember(Role::Owner);
    /// Partners, platform policy, system status.
    ManagePlatform = "manage_platform", Needs::PlatformAdmin;
    /// Work the server does by itself.
    System = "system", Needs::Nobody;
}

/// Whether someone has what is needed.
pub fn allows(needs: Needs, role: Option<Role>, is_confined: bool, is_platform_admin: bool) -> bool {
    match needs {
        Needs::SignedIn => true,
        Needs::Member(least) => role.is_some_and(|role| role >= least),
        Needs::UnconfinedMember(least) => !is_confined && role.is_some_and(|role| role >= least),
        Needs::PlatformAdmin => is_platform_admin,
        Needs::Nobody => false,
    }
}

/// The words for everything someone may do, for the dashboard.
pub fn names(role: Option<Role>, is_confined: bool, is_platform_admin: bool) -> Vec<&'static str> {
    ALL.iter()
        .filter(|(_, needs)| allows(*needs, role, is_confined, is_platform_admin))
        .map(|(name, _)| *name)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_higher_role_has_all_that_a_lower_one_has() {
        for pair in Role::ALL.windows(2) {
            let (low, high) = (names(Some(pair[0]), false, false), names(Some(pair[1]), false, false));
            assert!(
                low.iter().all(|name| high.contains(name)),
                "{:?} lacks something of {:?}",
                pair[1],
                pair[0]
            );
        }
    }

    #[test]
    fn confinement_takes_partner_wide_management_away() {
        let confined = names(Some(Role::Owner), true, false);
        for partner_wide in
            ["manage_users", "manage_tenancy", "manage_policies", "manage_partner", "read_audit"]
        {
            assert!(!confined.contains(&partner_wide), "{partner_wide}");
        }
    }

    #[test]
    fn nobody_is_granted_the_servers_own_permission() {
        assert!(!names(Some(Role::Owner), false, true).contains(&"system"));
    }
}

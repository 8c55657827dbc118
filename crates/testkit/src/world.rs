//! Two partners with their clients, sites and people: the same in every test, so that a test only says what is
//! special about it.

use argon2::PasswordHasher as _;
use chrono::{TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// Everyone's password.
pub const PASSWORD: &str = "ocher-walrus-climbs-tuesday";

/// A partner: the tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Partner {
    pub id: Uuid,
    pub name: &'static str,
}

/// A partner's customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Client {
    pub id: Uuid,
    pub partner: Uuid,
    pub name: &'static str,
}

/// A client's site.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site {
    pub id: Uuid,
    pub partner: Uuid,
    pub client: Uuid,
    pub name: &'static str,
    pub code: &'static str,
}

/// Someone with an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Person {
    pub id: Uuid,
    pub email: &'static str,
    pub name: &'static str,
    pub status: &'static str,
    pub membership: Option<Membership>,
}

/// What someone may do at a partner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    pub partner: Uuid,
    pub role: &'static str,
    /// Empty lists: not confined.
    pub client_ids: &'static [Uuid],
    pub site_ids: &'static [Uuid],
}

/// Runs the installation, belongs to no partner.
pub const PLATFORM_ADMIN: Person = Person {
    id: id(1),
    email: "platform@example.com",
    name: "Pia Platform",
    status: "active",
    membership: None,
};

macro_rules! partner {
    ($module:ident, $number:literal, $name:literal, $domain:literal, $code:literal) => {
        #[doc = concat!("The partner ", $name, ".")]
        pub mod $module {
            use super::{Client, Membership, Partner, Person, Site, Uuid, id};

            pub const PARTNER: Partner = Partner { id: id($number), name: $name };

            /// The client with the sites [`HQ`] and [`LAB`].
            pub const ALPHA: Client = client(0x10, concat!($name, " Alpha"));
            /// The client with the sites [`NORTH`] and [`SOUTH`].
            pub const BETA: Client = client(0x20, concat!($name, " Beta"));
            pub const CLIENTS: &[Client] = &[ALPHA, BETA];

            pub const HQ: Site = site(0x11, &ALPHA, "HQ", concat!($code, "HQ01"));
            pub const LAB: Site = site(0x12, &ALPHA, "Lab", concat!($code, "LAB1"));
            pub const NORTH: Site = site(0x21, &BETA, "North", concat!($code, "NRTH"));
            pub const SOUTH: Site = site(0x22, &BETA, "South", concat!($code, "STH1"));
            pub const SITES: &[Site] = &[HQ, LAB, NORTH, SOUTH];

            pub const OWNER: Person = person(0x30, concat!("owner@", $domain), "Olga Owner", "owner");
            pub const ADMIN: Person = person(0x31, concat!("admin@", $domain), "Adam Admin", "admin");
            pub const TECH: Person = person(0x32, concat!("tech@", $domain), "Tess Tech", "tech");
            pub const READER: Person = person(0x33, concat!("reader@", $domain), "Rick Reader", "read_only");
            /// Confined to [`ALPHA`].
            pub const ALPHA_ADMIN: Person =
                confined(0x34, concat!("alpha-admin@", $domain), "Ada Alpha", "admin", &[ALPHA.id], &[]);
            /// Confined to [`ALPHA`].
            pub const ALPHA_TECH: Person =
                confined(0x35, concat!("alpha-tech@", $domain), "Ali Alpha", "tech", &[ALPHA.id], &[]);
            /// Confined to [`BETA`].
            pub const BETA_TECH: Person =
                confined(0x36, concat!("beta-tech@", $domain), "Bea Beta", "tech", &[BETA.id], &[]);
            /// Confined to [`HQ`].
            pub const HQ_READER: Person =
                confined(0x37, concat!("hq-reader@", $domain), "Hal Reader", "read_only", &[], &[HQ.id]);
            /// Confined to [`LAB`]: the same client as [`HQ`], another site.
            pub const LAB_TECH: Person =
                confined(0x38, concat!("lab-tech@", $domain), "Lea Lab", "tech", &[], &[LAB.id]);
            /// Confined to [`BETA`].
            pub const BETA_ADMIN: Person =
                confined(0x3b, concat!("beta-admin@", $domain), "Bo Beta", "admin", &[BETA.id], &[]);
            /// Confined to [`HQ`].
            pub const HQ_ADMIN: Person =
                confined(0x3d, concat!("hq-admin@", $domain), "Hana Admin", "admin", &[], &[HQ.id]);
            /// Confined to [`LAB`].
            pub const LAB_ADMIN: Person =
                confined(0x3c, concat!("lab-admin@", $domain), "Lou Lab", "admin", &[], &[LAB.id]);
            /// An owner whose account is suspended.
            pub const SUSPENDED: Person = Person {
                status: "suspended",
                ..person(0x39, concat!("suspended@", $domain), "Sam Suspended", "owner")
            };
            /// An admin who has not accepted the invitation.
            pub const INVITED: Person = Person {
                status: "invited",
                ..person(0x3a, concat!("invited@", $domain), "Ina Invited", "admin")
            };
            pub const PEOPLE: &[Person] = &[
                OWNER,
                ADMIN,
                TECH,
                READER,
                ALPHA_ADMIN,
                ALPHA_TECH,
                BETA_TECH,
                HQ_READER,
                LAB_TECH,
                BETA_ADMIN,
                HQ_ADMIN,
                LAB_ADMIN,
                SUSPENDED,
                INVITED,
            ];

            const fn client(number: u128, name: &'static str) -> Client {
                Client { id: id($number + number), partner: PARTNER.id, name }
            }

            const fn site(number: u128, client: &Client, name: &'static str, code: &'static str) -> Site {
                Site { id: id($number + number), partner: PARTNER.id, client: client.id, name, code }
            }

            const fn person(
                number: u128,
                email: &'static str,
                name: &'static str,
                role: &'static str,
            ) -> Person {
                confined(number, email, name, role, &[], &[])
            }

            const fn confined(
                number: u128,
                email: &'static str,
                name: &'static str,
                role: &'static str,
                client_ids: &'static [Uuid],
                site_ids: &'static [Uuid],
            ) -> Person {
                let membership = Membership { partner: PARTNER.id, role, client_ids, site_ids };
                Person {
                    id: id($number + number),
                    email,
                    name,
                    status: "active",
                    membership: Some(membership),
                }
            }
        }
    };
}

partner!(acme, 0xac00, "Acme", "acme.example.com", "ACME");
partner!(globex, 0xb100, "Globex", "globex.example.com", "GLBX");

/// An id that is told apart at a glance; a valid UUIDv7.
const fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + number)
}

/// Puts the world into a migrated database, as its owner.
pub(crate) async fn seed(connection: &mut PgConnection) {
    let salt = argon2::password_hash::phc::Salt::new(b"not random enough").unwrap();
    let hash =
        argon2::Argon2::default().hash_password_with_salt(PASSWORD.as_bytes(), &salt).unwrap().to_string();
    let mut tx = connection.begin().await.unwrap();
    for (partner, clients, sites, people) in [
        (acme::PARTNER, acme::CLIENTS, acme::SITES, acme::PEOPLE),
        (globex::PARTNER, globex::CLIENTS, globex::SITES, globex::PEOPLE),
    ] {
        sqlx::query("INSERT INTO partners (id, name) VALUES ($1, $2)")
            .bind(partner.id)
            .bind(partner.name)
            .execute(&mut *tx)
            .await
            .unwrap();
        for client in clients {
            sqlx::query("INSERT INTO clients (id, tenant_id, name) VALUES ($1, $2, $3)")
                .bind(client.id)
                .bind(client.partner)
                .bind(client.name)
                .execute(&mut *tx)
                .await
                .unwrap();
        }
        for site in sites {
            sqlx::query(
                "INSERT INTO sites (id, tenant_id, client_id, name, code) VALUES ($1, $2, $3, $4, $5)",
            )
            .bind(site.id)
            .bind(site.partner)
            .bind(site.client)
            .bind(site.name)
            .bind(site.code)
            .execute(&mut *tx)
            .await
            .unwrap();
        }
        for person in people {
            seed_person(&mut tx, person, &hash).await;
        }
    }
    seed_person(&mut tx, &PLATFORM_ADMIN, &hash).await;
    // As the server does at its start; done here, it costs a test nothing.
    sqlx::query("SELECT ensure_metric_partitions($1, $2)")
        .bind(Utc::now() - TimeDelta::days(2))
        .bind(Utc::now() + TimeDelta::days(3))
        .execute(&mut *tx)
        .await
        .unwrap();
    tx.commit().await.unwrap();
}

async fn seed_person(connection: &mut PgConnection, person: &Person, password_hash: &str) {
    sqlx::query(
        "INSERT INTO users (id, email, name, password_hash, is_platform_admin, status) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(person.id)
    .bind(person.email)
    .bind(person.name)
    .bind((person.status != "invited").then_some(password_hash))
    .bind(person.membership.is_none())
    .bind(person.status)
    .execute(&mut *connection)
    .await
    .unwrap();
    let Some(Membership { partner, role, client_ids, site_ids }) = person.membership else { return };
    sqlx::query(
        "INSERT INTO memberships (id, tenant_id, user_id, role, client_ids, site_ids) VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(Uuid::now_v7())
    .bind(partner)
    .bind(person.id)
    .bind(role)
    .bind(client_ids)
    .bind(site_ids)
    .execute(connection)
    .await
    .unwrap();
}

//! The time that a refusal takes tells nothing about why it was one. That each way costs one Argon2 is counted in
//! every run; this measures what else there may be: a query that finds more, a row that is read.

use crate::enroll::{key_of, machine};
use gururmm_testkit::world::{PASSWORD, Site, acme, globex};
use gururmm_testkit::{Answer, TestServer};
use rand::seq::SliceRandom as _;
use serde_json::json;
use std::time::Instant;
use uuid::Uuid;

/// Samples of each way.
const ROUNDS: usize = 2_000;
/// Rounds before those: connections are opened, statements prepared, caches filled.
const WARM_UP: usize = 50;
/// Welch's t from which two series are told apart (the threshold of test vector leakage assessment).
const TOLD_APART: f64 = 4.5;
/// The parts of the samples that are looked at, the fastest first: what took longer is about the machine, which was
/// busy elsewhere. Nearly all of them for differences that come now and then, half of them for small ones. Bounds are
/// drawn through both series together, so that they cut neither more than its own times do.
const KEPT: [f64; 2] = [0.9, 0.5];

#[tokio::test]
async fn the_time_of_a_refused_enrollment_does_not_tell_why() {
    let server = TestServer::start().await;
    let mut places = Vec::new();
    for site in acme::SITES.iter().chain(globex::SITES) {
        let (id, revoked) = key_of(&server, site, json!({})).await;
        let admin = if site.partner == acme::PARTNER.id { &acme::ADMIN } else { &globex::ADMIN };
        let path = format!("/api/v1/enrollment-keys/{id}");
        server.client_as(admin).await.delete(&path).await.expect(204);
        let (_, _valid) = key_of(&server, site, json!({})).await;
        places.push((*site, revoked));
    }
    let wrong = format!("gek_2_{}", "A".repeat(43));
    let series = measured(["unknown site", "wrong key", "revoked key"], async |way, round| {
        // One after the other: no site is asked so often that its limit answers.
        let (site, revoked): &(Site, String) = &places[round % places.len()];
        let (site_code, key) = match way {
            0 => (format!("NOSUCH{:02}", round % places.len()), &wrong),
            1 => (site.code.to_owned(), &wrong),
            _ => (site.code.to_owned(), revoked),
        };
        let mut asked = machine("pc-1", &Uuid::new_v4().simple().to_string(), "disk-1");
        asked["site_code"] = json!(site_code);
        asked["enrollment_key"] = json!(key);
        timed(&server, "/api/enroll", asked, "ENROLLMENT_REFUSED").await
    });
    assert_alike(&series.await);
}

#[tokio::test]
async fn the_time_of_a_refused_sign_in_does_not_tell_why() {
    let server = TestServer::start().await;
    let mut owner = server.owner().await;
    let series = measured(["unknown e-mail", "wrong password", "suspended"], async |way, round| {
        // Before anyone is locked, all are forgiven.
        if round % 3 == 0 {
            sqlx::query("DELETE FROM auth_throttle").execute(&mut owner).await.unwrap();
        }
        let (email, password) = match way {
            0 => ("nobody@acme.example.com", "not the password"),
            1 => (acme::TECH.email, "not the password"),
            _ => (acme::SUSPENDED.email, PASSWORD),
        };
        let body = json!({ "email": email, "password": password });
        timed(&server, "/api/auth/login", body, "INVALID_CREDENTIALS").await
    });
    assert_alike(&series.await);
}

#[test]
fn a_difference_is_seen_through_noise_and_outliers() {
    let noise = |round: usize| (round * 7919 % 1_000) as f64 / 1_000.0;
    let with = |more: f64| -> Vec<f64> {
        (0..ROUNDS)
            .map(|round| 25.0 + noise(round) + more + if round % 50 == 0 { 400.0 } else { 0.0 })
            .collect()
    };
    assert!(welch_t(&with(0.0), &with(0.0)).abs() < 0.001);
    for part in KEPT {
        let [one, other] = kept(part, [&with(0.0), &with(0.1)]);
        assert!(welch_t(&one, &other).abs() > TOLD_APART, "{part}");
    }
}

/// Milliseconds that each way took.
struct Series {
    name: &'static str,
    milliseconds: Vec<f64>,
}

/// Goes all ways in every round, each time in another order: what comes and goes on this machine meets all of them.
async fn measured<const WAYS: usize>(
    names: [&'static str; WAYS],
    mut go: impl AsyncFnMut(usize, usize) -> f64,
) -> [Series; WAYS] {
    let mut all = names.map(|name| Series { name, milliseconds: Vec::with_capacity(ROUNDS) });
    let mut order: Vec<usize> = (0..WAYS).collect();
    for round in 0..WARM_UP + ROUNDS {
        order.shuffle(&mut rand::rng());
        for &way in &order {
            let took = go(way, round).await;
            if round >= WARM_UP {
                all[way].milliseconds.push(took);
            }
        }
    }
    all
}

/// One refusal, from an address of its own.
async fn timed(server: &TestServer, path: &str, body: serde_json::Value, code: &str) -> f64 {
    let client = server.anonymous();
    let started = Instant::now();
    let answer: Answer = client.post(path, body).await;
    let took = started.elapsed();
    answer.expect_problem(401, code);
    took.as_secs_f64() * 1_000.0
}

fn assert_alike(all: &[Series]) {
    let mut told_apart = Vec::new();
    for (index, one) in all.iter().enumerate() {
        let pairs = all[index + 1..].iter().flat_map(|other| KEPT.map(|part| (other, part)));
        for (other, part) in pairs {
            let [a, b] = kept(part, [&one.milliseconds, &other.milliseconds]);
            let t = welch_t(&a, &b);
            let line = format!(
                "of the fastest {part}: {} {:.3} ms ({}), {} {:.3} ms ({}), t = {t:.2}",
                one.name,
                mean(&a),
                a.len(),
                other.name,
                mean(&b),
                b.len()
            );
            eprintln!("{line}");
            if t.abs() >= TOLD_APART {
                told_apart.push(line);
            }
        }
    }
    assert!(told_apart.is_empty(), "{told_apart:#?}");
}

/// Both without what lies above the bound of the fastest `part` of all.
fn kept(part: f64, both: [&Vec<f64>; 2]) -> [Vec<f64>; 2] {
    let mut all: Vec<f64> = both.into_iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let bound = all[(all.len() as f64 * part) as usize];
    both.map(|series| series.iter().copied().filter(|value| *value <= bound).collect())
}

/// Welch, "The generalization of Student's problem", Biometrika 34 (1947).
fn welch_t(a: &[f64], b: &[f64]) -> f64 {
    let error = |series: &[f64]| {
        let center = mean(series);
        let squares: f64 = series.iter().map(|value| (value - center).powi(2)).sum();
        squares / (series.len() - 1) as f64 / series.len() as f64
    };
    (mean(a) - mean(b)) / (error(a) + error(b)).sqrt()
}

fn mean(series: &[f64]) -> f64 {
    series.iter().sum::<f64>() / series.len() as f64
}

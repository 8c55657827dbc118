//! The invented partner's clients, sites and machines.

use crate::machine::Machine;
use crate::noise::Noise;

/// A fleet. The same seed and number give the same one, and a larger one begins with the same clients.
#[derive(Debug)]
pub struct World {
    pub clients: Vec<Client>,
    pub machines: Vec<Machine>,
}

/// One customer of the partner.
#[derive(Debug)]
pub struct Client {
    pub name: String,
    /// What its machines are called by.
    pub short: &'static str,
    pub sites: Vec<&'static str>,
}

/// Name, the first letters of its machines' names, how many machines it has beside the others.
const CLIENTS: &[(&str, &str, u64)] = &[
    ("Acme Works", "acm", 9),
    ("Bramble Dental", "brd", 3),
    ("Cobalt Law", "cob", 5),
    ("Dovetail Joinery", "dov", 2),
    ("Elmstead School", "elm", 8),
    ("Fernhill Clinic", "fer", 7),
    ("Greywater Logistics", "gre", 6),
    ("Hollow Oak Brewery", "hol", 2),
    ("Ivory Lane Accounting", "ivo", 3),
    ("Juniper Vets", "jun", 2),
    ("Kestrel Travel", "kes", 3),
    ("Larkspur Housing", "lar", 4),
];
const SITES: &[&str] = &["Head office", "Workshop", "North branch", "Warehouse"];
/// Beyond this the clients come again, numbered: no partner has thousands of machines at twelve clients.
const MACHINES_PER_ROUND: usize = 600;

impl World {
    /// Invents a fleet.
    pub fn new(seed: u64, machines: usize) -> Self {
        let noise = Noise::of(seed);
        let rounds = machines.div_ceil(MACHINES_PER_ROUND).max(1);
        let clients: Vec<Client> =
            (0..rounds).flat_map(|round| CLIENTS.iter().map(move |of| client(round, of))).collect();
        let weights: Vec<u64> =
            (0..rounds).flat_map(|_| CLIENTS.iter().map(|(_, _, weight)| *weight)).collect();
        let total: u64 = weights.iter().sum();
        let machines = (0..machines)
            .map(|number| {
                // Not in turns: whoever lists them by age sees all clients mixed.
                let own = noise.part(number as u64);
                let mut place = own.part(1).below(total);
                let at = weights.iter().position(|weight| match place.checked_sub(*weight) {
                    Some(rest) => {
                        place = rest;
                        false
                    }
                    None => true,
                });
                let at = at.unwrap_or_default();
                let sites = clients.get(at).map_or(1, |client| client.sites.len());
                let site = own.part(2).below(sites as u64) as usize;
                let short = clients.get(at).map_or("acm", |client| client.short);
                Machine::invent(own, number, at, site, short)
            })
            .collect();
        Self { clients, machines }
    }
}

fn client(round: usize, (name, short, weight): &(&str, &'static str, u64)) -> Client {
    let name = if round == 0 { (*name).to_owned() } else { format!("{name} {}", round + 1) };
    let sites = SITES.get(..(*weight as usize / 2).clamp(1, SITES.len())).unwrap_or_default().to_vec();
    Client { name, short, sites }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_fleet_comes_again_and_grows_without_changing() {
        let (one, again, larger) = (World::new(1, 300), World::new(1, 300), World::new(1, 400));
        assert_eq!(format!("{one:?}"), format!("{again:?}"));
        assert_eq!(one.machines.len(), 300);
        assert_eq!(format!("{:?}", one.machines), format!("{:?}", &larger.machines[..300]));
        assert_ne!(format!("{one:?}"), format!("{:?}", World::new(2, 300)));
    }

    #[test]
    fn every_machine_is_one_of_its_own_and_stands_somewhere() {
        let world = World::new(3, 2_000);
        let uids: BTreeSet<_> = world.machines.iter().map(|machine| &machine.identity.machine_uid).collect();
        let names: BTreeSet<_> = world.machines.iter().map(|machine| &machine.system.hostname).collect();
        assert_eq!((uids.len(), names.len()), (2_000, 2_000));
        assert!(
            world.machines.iter().all(|machine| machine.site < world.clients[machine.client].sites.len())
        );
        let used: BTreeSet<_> = world.machines.iter().map(|machine| machine.client).collect();
        assert_eq!(used.len(), world.clients.len());
    }
}

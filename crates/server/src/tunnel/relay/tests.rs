use super::*;

const SESSION: Uuid = Uuid::from_u128(1);
const HOST_KEY: Uuid = Uuid::from_u128(2);

fn keys() -> Keys {
    Keys::load_or_create(tempfile::tempdir().unwrap().path()).unwrap()
}

fn ends(keys: &Keys, host_key: Uuid, epoch: i64) -> (Stream, Stream) {
    let ids = (SESSION, Uuid::nil(), Uuid::nil());
    (
        Stream::new(keys, ids, host_key, epoch, Direction::ToMachine),
        Stream::new(keys, ids, host_key, epoch, Direction::FromMachine),
    )
}

fn hears(stream: &Stream, bytes: &[u8]) -> Opened {
    Sealed::read(bytes).map_or(Opened::Nothing, |sealed| stream.opened(&sealed))
}

fn frame(text: &[u8]) -> Opened {
    Opened::This(Kind::Frame, text.to_vec())
}

#[test]
fn what_one_node_seals_the_other_opens_once_and_in_its_order() {
    let (host, relay) = ends(&keys(), HOST_KEY, 7);
    let [first, second, third] = [1, 2, 3].map(|number| host.sealed(number, Kind::Frame, b"ls\n").unwrap());
    assert!(!first.windows(3).any(|part| part == b"ls\n"));
    assert_eq!(hears(&relay, &first), frame(b"ls\n"));
    assert_eq!(hears(&relay, &first), Opened::Nothing, "said again");
    assert_eq!(hears(&host, &second), Opened::Nothing, "sent back to who said it");
    assert_eq!(hears(&relay, &third), Opened::Gap);
    assert_eq!(hears(&relay, &second), Opened::Nothing, "nothing is taken after a gap");
    let answer = relay.sealed(1, Kind::Ready, b"{}").unwrap();
    assert_eq!(hears(&host, &answer), Opened::This(Kind::Ready, b"{}".to_vec()));
}

#[test]
fn nothing_is_opened_that_was_not_sealed_for_this_stream() {
    let keys_of_installation = keys();
    let (host, relay) = ends(&keys_of_installation, HOST_KEY, 7);
    let sealed = host.sealed(1, Kind::Frame, b"rm -rf /srv/data\n").unwrap();
    for place in 0..sealed.len() {
        let mut forged = sealed.clone();
        forged[place] ^= 1;
        assert_eq!(hears(&relay, &forged), Opened::Nothing, "byte {place}");
        assert_eq!(hears(&relay, &sealed[..place]), Opened::Nothing, "cut at {place}");
    }
    for (what, stream) in [
        ("another host's time", ends(&keys_of_installation, Uuid::from_u128(3), 7).1),
        ("another session of the agent", ends(&keys_of_installation, HOST_KEY, 8).1),
        ("another installation", ends(&keys(), HOST_KEY, 7).1),
    ] {
        assert_eq!(hears(&stream, &sealed), Opened::Nothing, "{what}");
    }
    assert_eq!(hears(&relay, &sealed), frame(b"rm -rf /srv/data\n"), "what was forged changed nothing");
}

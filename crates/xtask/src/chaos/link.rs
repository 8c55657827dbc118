//! The line between one agent and its server, which can be as bad as lines are: cut, silent, slow, late. With several
//! servers it does what a load balancer in front of them does.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a connection looks at the weather while nothing comes.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const CHUNK_BYTES: usize = 16 * 1024;

/// What the line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    Fair,
    /// Whatever is connected is cut off, and whoever comes.
    Cut,
    /// Connections stay and nothing passes, until it gets better: then all of it does.
    Silent,
    /// So many bytes a second in each direction.
    Slow(u32),
    /// Everything comes so much later.
    Late(Duration),
}

/// A line through which one agent goes.
#[derive(Debug)]
pub struct Link {
    address: SocketAddr,
    sky: Arc<Sky>,
}

#[derive(Debug)]
struct Sky {
    weather: Mutex<Weather>,
    changed: Condvar,
}

impl Link {
    /// A fair line for as long as this process lives. Every connection goes to the next one of `servers`, or the one after it
    /// where nobody is there.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub fn to(servers: Vec<SocketAddr>) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let sky = Arc::new(Sky { weather: Mutex::new(Weather::Fair), changed: Condvar::new() });
        let link = Self { address: listener.local_addr()?, sky: Arc::clone(&sky) };
        thread::spawn(move || {
            for (number, client) in listener.incoming().flatten().enumerate() {
                if sky.weather() == Weather::Cut {
                    continue;
                }
                let mut in_turn =
                    servers.iter().cycle().skip(number % servers.len().max(1)).take(servers.len());
                // Where all are away, the client meets a connection that ends at once.
                let Some(server) = in_turn.find_map(|server| TcpStream::connect(server).ok()) else {
                    continue;
                };
                let ends = (client.try_clone(), server.try_clone());
                let (Ok(from_client), Ok(from_server)) = ends else { continue };
                let (up, down) = (Arc::clone(&sky), Arc::clone(&sky));
                thread::spawn(move || carry(&up, from_client, server));
                thread::spawn(move || carry(&down, from_server, client));
            }
        });
        Ok(link)
    }

    /// Where the agent finds its server.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes the weather, at once and for connections that are there, too.
    pub fn set(&self, weather: Weather) {
        *self.sky.lock() = weather;
        self.sky.changed.notify_all();
    }
}

impl Sky {
    fn lock(&self) -> MutexGuard<'_, Weather> {
        self.weather.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn weather(&self) -> Weather {
        *self.lock()
    }

    /// Waits until something passes; how it passes then.
    fn until_it_passes(&self) -> Weather {
        let mut weather = self.lock();
        while *weather == Weather::Silent {
            weather = self.changed.wait(weather).unwrap_or_else(PoisonError::into_inner);
        }
        *weather
    }
}

/// Carries bytes one way until either end or the line breaks; then neither way goes on.
fn carry(sky: &Sky, mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; CHUNK_BYTES];
    // Without it a cut would wait for the next byte.
    let mut goes_on = from.set_read_timeout(Some(LOOK_EVERY)).is_ok();
    while goes_on {
        let weather = sky.until_it_passes();
        let most = match weather {
            Weather::Cut => break,
            // A tenth of a second's worth at a time.
            Weather::Slow(bytes) => (bytes as usize / 10).clamp(1, CHUNK_BYTES),
            _ => CHUNK_BYTES,
        };
        let read = match from.read(&mut buffer[..most]) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        match weather {
            Weather::Slow(_) => thread::sleep(Duration::from_millis(100)),
            Weather::Late(delay) => thread::sleep(delay),
            _ => {}
        }
        // What was read in silence waits, and what was read before a cut is lost, as on a real line.
        goes_on = sky.until_it_passes() != Weather::Cut && to.write_all(&buffer[..read]).is_ok();
    }
    // One that is gone already is what is wanted.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    /// A server that sends back what comes, and a line to it.
    fn echo() -> Link {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                thread::spawn(move || {
                    let mut reader = stream.try_clone().unwrap();
                    std::io::copy(&mut reader, &mut stream)
                });
            }
        });
        Link::to(vec![address]).unwrap()
    }

    fn connect(link: &Link) -> TcpStream {
        let stream = TcpStream::connect(link.address()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn round_trip(stream: &mut TcpStream, bytes: usize) -> Duration {
        let began = Instant::now();
        let sent: Vec<u8> = (0..bytes).map(|byte| byte as u8).collect();
        stream.write_all(&sent).unwrap();
        let mut back = vec![0; bytes];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(back, sent, "a line loses no byte and adds none");
        began.elapsed()
    }

    #[test]
    fn a_cut_ends_what_is_connected_and_lets_nobody_in() {
        let link = echo();
        let mut stream = connect(&link);
        round_trip(&mut stream, 1_000);
        link.set(Weather::Cut);
        assert!(matches!(stream.read(&mut [0]), Ok(0) | Err(_)), "it is cut");
        let mut refused = connect(&link);
        assert!(matches!(refused.read(&mut [0]), Ok(0) | Err(_)), "nobody gets in");
        link.set(Weather::Fair);
        round_trip(&mut connect(&link), 100_000);
    }

    #[test]
    fn after_a_silence_everything_comes() {
        let link = echo();
        let mut stream = connect(&link);
        round_trip(&mut stream, 10);
        link.set(Weather::Silent);
        stream.write_all(b"hello").unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        assert!(stream.read(&mut [0; 5]).is_err(), "nothing passes");
        link.set(Weather::Fair);
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut back = [0; 5];
        stream.read_exact(&mut back).unwrap();
        assert_eq!(&back, b"hello");
    }

    #[test]
    fn connections_go_to_servers_in_turn_and_past_one_that_is_away() {
        let named = |name: &'static [u8]| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap();
            thread::spawn(move || {
                for mut stream in listener.incoming().flatten() {
                    stream.write_all(name).unwrap();
                }
            });
            address
        };
        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let link = Link::to(vec![named(b"a"), nobody, named(b"b")]).unwrap();
        let met: Vec<u8> = (0..4)
            .map(|_| {
                let mut name = [0];
                connect(&link).read_exact(&mut name).unwrap();
                name[0]
            })
            .collect();
        assert_eq!(met, b"abba");
    }

    #[test]
    fn slow_and_late_take_their_time() {
        let link = echo();
        let mut stream = connect(&link);
        link.set(Weather::Late(Duration::from_millis(150)));
        assert!(round_trip(&mut stream, 10) >= Duration::from_millis(300), "there and back");
        link.set(Weather::Slow(20_000));
        assert!(round_trip(&mut stream, 10_000) >= Duration::from_millis(400));
    }
}

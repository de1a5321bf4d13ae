//! Connections that never say who they are.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// Connections that one crowd opens at most, all together.
const MOST: u64 = 200_000;

/// Pause after each connection.
const PAUSE: Duration = Duration::from_millis(1);

/// What one of them says: nothing, the beginning of TLS, or that of a hello.
const WORDS: [&[u8]; 3] = [b"", &[0x16, 3, 1, 2, 0, 1, 0], &[0, 0, 0, 123, 0x85]];

/// So many connections to one address, each in the place of an older one, until
/// it is dropped.
#[derive(Debug)]
pub struct Crowd {
    opened: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Opens the first `size` connections at once.
    pub fn start(address: &str, size: usize) -> Self {
        let files = Resource::RLIMIT_NOFILE;
        let (_, hard) = getrlimit(files).expect("a process has limits");
        setrlimit(files, hard, hard).expect("up to the hard limit");
        let address: SocketAddr = address.parse().expect("an address");
        let mut standing: Vec<_> = (0..size).map(|number| open(address, number)).collect();
        let (opened, over) =
            (Arc::new(AtomicU64::new(size as u64)), Arc::new(AtomicBool::new(false)));
        let (count, stop) = (opened.clone(), over.clone());
        let thread = std::thread::spawn(move || {
            for number in 0.. {
                if stop.load(Ordering::Relaxed) || count.load(Ordering::Relaxed) >= MOST {
                    return;
                }
                std::thread::sleep(PAUSE);
                standing[number % size] = open(address, number);
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { opened, over, thread: Some(thread) }
    }

    /// How many connections it has opened so far.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One of them; nothing where the other side has no room for it.
fn open(address: SocketAddr, number: usize) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    // Whoever is thrown out at once may say no more.
    let _ = stream.write_all(WORDS[number % WORDS.len()]);
    Some(stream)
}

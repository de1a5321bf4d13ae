//! Somebody who connects to a coordinator and gets something wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use bytes::Bytes;
use common::id::ProcessId;
use common::wire::codec::{self, Message};
use common::wire::handshake;
use common::wire::message::{FromClient, FromWorker, Role, ToClient, Welcome};
use serde_json::Value;

use tests::logged::{Log, PATIENCE};

/// Levels of a line about somebody who is refused: the second one of an address
/// within a minute is of the lower level.
const REFUSED: [&str; 2] = ["WARN", "DEBUG"];

/// What one stranger does, and what must come of it.
#[derive(Clone, Debug)]
pub(super) struct Stranger {
    /// What it gets wrong.
    pub(super) name: String,
    role: Option<Role>,
    says: Vec<Step>,
    end: End,
    fragments: Vec<&'static str>,
}

#[derive(Clone, Debug)]
enum Step {
    Say(Bytes),
    /// Say no more, but listen on.
    Finish,
    /// Wait until the coordinator asks for examples.
    HearNeed,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Refused,
    Closed,
    Rejected,
    Ignored,
}

impl Stranger {
    /// One that is refused during the handshake.
    pub(super) fn new(name: &str) -> Self {
        let name = name.to_owned();
        Self { name, role: None, says: Vec::new(), end: End::Refused, fragments: Vec::new() }
    }

    /// One that introduces itself as a client should.
    pub(super) fn client(name: &str) -> Self {
        Self { role: Some(Role::Client), end: End::Closed, ..Self::new(name) }
    }

    /// One that introduces itself as a worker should.
    pub(super) fn worker(name: &str) -> Self {
        let role = Role::Worker {
            name: "stranger".into(),
            process: ProcessId(5),
            slots: 1,
            memory_limit: 1 << 30,
            cache_limit: 1 << 28,
        };
        Self { role: Some(role), end: End::Closed, ..Self::new(name) }
    }

    /// Says these bytes.
    pub(super) fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.says.push(Step::Say(Bytes::copy_from_slice(bytes.as_ref())));
        self
    }

    /// Says a frame of this content.
    pub(super) fn frame(self, content: &[u8]) -> Self {
        self.bytes(codec::frame_of(content).head)
    }

    /// Says a message.
    pub(super) fn message(self, message: impl Message) -> Self {
        let frame = codec::encode(message);
        self.bytes([frame.head, frame.body].concat())
    }

    /// Says no more, as the other side is told.
    pub(super) fn finish(mut self) -> Self {
        self.says.push(Step::Finish);
        self
    }

    /// Waits until the coordinator asks for examples.
    pub(super) fn hear_need(mut self) -> Self {
        self.says.push(Step::HearNeed);
        self
    }

    /// It is refused with these words, which the log has as well.
    pub(super) fn ends_refused(mut self, fragments: &[&'static str]) -> Self {
        (self.end, self.fragments) = (End::Refused, fragments.to_vec());
        self
    }

    /// Its connection is closed, and the log says why in these words.
    pub(super) fn ends_closed(mut self, fragments: &[&'static str]) -> Self {
        (self.end, self.fragments) = (End::Closed, fragments.to_vec());
        self
    }

    /// Its request is rejected with these words; it may ask for other things.
    pub(super) fn ends_rejected(mut self, fragments: &[&'static str]) -> Self {
        (self.end, self.fragments) = (End::Rejected, fragments.to_vec());
        self
    }

    /// What it says is passed over: it may go on as a worker.
    pub(super) fn ends_ignored(mut self) -> Self {
        self.end = End::Ignored;
        self
    }

    /// Does it all; the answer is what did not come of it.
    pub(super) fn talk(&self, address: &str, log: &Log) -> Result<(), String> {
        println!("{}: {:?} {:?}", self.name, self.end, self.fragments);
        let mut line = Line::open(address).map_err(|error| error.to_string())?;
        if let Some(role) = &self.role {
            line.say(&encoded(handshake::hello(role.clone())));
            let welcome = line.hear::<Welcome>()?;
            if !matches!(welcome, Some(Welcome::Accepted { .. })) {
                return Err(format!("expected to be let in, found {welcome:?}"));
            }
        }
        for step in &self.says {
            match step {
                Step::Say(bytes) => line.say(bytes),
                Step::Finish => line.finish(),
                Step::HearNeed => line.hear_until(|message| {
                    matches!(message, ToClient::NeedChunks { .. }).then_some(())
                })?,
            }
        }
        match self.end {
            End::Refused => {
                let welcome = line.hear::<Welcome>()?;
                let Some(Welcome::Refused { reason, .. }) = welcome else {
                    return Err(format!("expected to be refused, found {welcome:?}"));
                };
                self.check(&reason)?;
                line.hear_end();
                self.check_log(&line, log, &REFUSED, "refused: ")
            }
            End::Closed => {
                line.hear_end();
                match self.role {
                    Some(_) => self.check_log(&line, log, &["WARN"], "is lost: "),
                    None => self.check_log(&line, log, &REFUSED, "refused: "),
                }
            }
            End::Rejected => {
                let rejection = line.hear_until(|message| match message {
                    ToClient::Rejected { reason, .. } => Some(reason),
                    _ => None,
                });
                self.check(&rejection?)?;
                line.say(&encoded(FromClient::Status));
                line.hear_until(|message| matches!(message, ToClient::Status(_)).then_some(()))
            }
            End::Ignored => {
                line.say(&encoded(FromWorker::Goodbye));
                line.hear_end();
                self.check_log(&line, log, &["INFO"], "left")
            }
        }
    }

    fn check(&self, text: &str) -> Result<(), String> {
        match self.fragments.iter().find(|fragment| !text.contains(**fragment)) {
            None => Ok(()),
            Some(fragment) => Err(format!("expected {fragment:?}, found {text:?}")),
        }
    }

    /// The log says of this connection what its end was.
    fn check_log(&self, line: &Line, log: &Log, levels: &[&str], what: &str) -> Result<(), String> {
        let is_of_us = |logged: &Value| {
            let message = logged["message"].as_str().unwrap_or_default();
            let is_level = levels.iter().any(|level| logged["level"] == *level);
            logged["peer"] == line.address && is_level && message.contains(what)
        };
        let logged = log.wait_for(is_of_us)?;
        self.check(logged["message"].as_str().unwrap_or_default())
    }
}

fn encoded(message: impl Message) -> Vec<u8> {
    let frame = codec::encode(message);
    [frame.head, frame.body].concat()
}

/// A connection, as raw as it comes.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    /// Our end's address, which the other side's log has.
    address: String,
}

impl Line {
    fn open(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let address = stream.local_addr()?.to_string();
        Ok(Self { stream, address })
    }

    /// Says bytes. Whoever has heard enough may close before the last one.
    fn say(&mut self, bytes: &[u8]) {
        let _ = self.stream.write_all(bytes);
    }

    fn finish(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next message; `None` at the end.
    fn hear<M: Message>(&mut self) -> Result<Option<M>, String> {
        let mut head = [0; codec::HEAD_BYTES];
        match self.stream.read_exact(&mut head) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(format!("reading: {error}")),
        }
        let [a, b, c, d, ..] = head;
        let mut content = vec![0; u32::from_be_bytes([a, b, c, d]) as usize];
        self.stream.read_exact(&mut content).map_err(|error| format!("reading: {error}"))?;
        codec::decode(&content.into()).map(Some).map_err(|error| error.to_string())
    }

    /// Hears a client's messages until one gives an answer.
    fn hear_until<A>(&mut self, answer: impl Fn(ToClient) -> Option<A>) -> Result<A, String> {
        loop {
            let message = self.hear()?.ok_or("the connection was closed")?;
            if let Some(answer) = answer(message) {
                return Ok(answer);
            }
        }
    }

    /// Waits for the end, whatever is said before, and however it comes.
    fn hear_end(&mut self) {
        let mut rest = [0; 4096];
        loop {
            match self.stream.read(&mut rest) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return,
                Err(error) => panic!("no end of the connection: {error}"),
            }
        }
    }
}

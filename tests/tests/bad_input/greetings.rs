//! Strangers that do not get past the handshake.

use common::id::ProcessId;
use common::wire::codec;
use common::wire::handshake;
use common::wire::message::{FromClient, FromWorker, Hello, Role};

use super::case::noise;
use super::live::meet;
use super::stranger::Stranger;

/// Connections that say nothing at all.
const IDLE: usize = 100;

/// One whose introduction is right but for one thing.
fn but(name: &str, change: impl FnOnce(&mut Hello)) -> Stranger {
    let mut hello = handshake::hello(Role::Client);
    change(&mut hello);
    Stranger::new(name).message(hello)
}

/// A worker whose introduction is wrong.
fn worker(name: &str, called: &str, slots: u32, memory_limit: u64) -> Stranger {
    let role = Role::Worker {
        name: called.into(),
        process: ProcessId(5),
        slots,
        memory_limit,
        cache_limit: 0,
    };
    but(name, |hello| hello.role = role)
}

/// The content of a right introduction's frame.
fn hello() -> Vec<u8> {
    codec::encode(handshake::hello(Role::Client)).head[codec::HEAD_BYTES..].to_vec()
}

#[test]
fn what_is_no_introduction() {
    let mut unknown_field = hello();
    unknown_field[0] += 1; // a map of one more field
    unknown_field.extend(b"\xa5extra\xc3");
    let mut lists_in_lists = vec![0x91; 10_000];
    lists_in_lists.push(0xc0);
    let mut strangers = vec![
        Stranger::new("a length of 4 GiB")
            .bytes([0xff; 4])
            .ends_refused(&["a frame of 4294967295 bytes", "at most 16384"]),
        Stranger::new("a length just past the limit")
            .bytes(16385u32.to_be_bytes())
            .ends_refused(&["a frame of 16385 bytes", "at most 16384"]),
        Stranger::new("an empty frame").frame(&[]).ends_refused(&["not a Hello"]),
        Stranger::new("a flood of noise").bytes(noise(1 << 20)).ends_closed(&["a frame of"]),
        Stranger::new("noise in a frame").frame(&noise(1000)).ends_refused(&["not a Hello"]),
        Stranger::new("a web browser")
            .bytes(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .ends_refused(&["a frame of 1195725856 bytes"]),
        Stranger::new("half a length, then silence")
            .bytes([0, 0])
            .ends_refused(&["no handshake within 5 s"]),
        Stranger::new("half an introduction, then silence")
            .bytes([&100u32.to_be_bytes(), &hello()[..50]].concat())
            .ends_refused(&["no handshake within 5 s"]),
        Stranger::new("half an introduction, then the end")
            .bytes([&100u32.to_be_bytes(), &hello()[..50]].concat())
            .finish()
            .ends_refused(&["ended inside a frame"]),
        Stranger::new("the end at once").finish().ends_refused(&["closed the connection"]),
        Stranger::new("a worker's message before it")
            .message(FromWorker::Draining)
            .ends_refused(&["not a Hello"]),
        Stranger::new("a client's message before it")
            .message(FromClient::Status)
            .ends_refused(&["not a Hello"]),
        Stranger::new("bytes after it")
            .frame(&[&hello()[..], &[0xc0]].concat())
            .ends_refused(&["bytes follow the Hello"]),
        Stranger::new("an unknown field")
            .frame(&unknown_field)
            .ends_refused(&["not a Hello", "extra"]),
        Stranger::new("lists in lists").frame(&lists_in_lists).ends_refused(&["not a Hello"]),
        Stranger::new("a list of 4 billion")
            .frame(&[0xdd, 0xff, 0xff, 0xff, 0xff])
            .ends_refused(&["not a Hello"]),
        Stranger::new("a text of 4 GiB")
            .frame(b"\x86\xa5magic\xdb\xff\xff\xff\xff")
            .ends_refused(&["not a Hello"]),
    ];
    let idle = Stranger::new("silence").ends_refused(&["no handshake within 5 s"]);
    strangers.extend(std::iter::repeat_n(idle, IDLE));
    meet(strangers);
}

#[test]
fn introductions_that_do_not_fit() {
    let gibibyte = 1 << 30;
    meet(vec![
        but("another magic", |hello| hello.magic = "torch".into())
            .ends_refused(&["magic \"torch\"", "check which program connects"]),
        but("another protocol", |hello| hello.protocol = 99).ends_refused(&[
            "protocol 12",
            "has 99",
            "install the same Samebit version",
        ]),
        but("another profile", |hello| hello.numeric_profile = "f16".into()).ends_refused(&[
            "numeric profile",
            "\"f16\"",
            "install the same Samebit version",
        ]),
        but("a long magic", |hello| hello.magic = "m".repeat(1000))
            .ends_refused(&["Hello message, field `magic`", "at most 128"]),
        worker("no slots", "w", 0, gibibyte).ends_refused(&["0 slots", "--slots from 1 to 1024"]),
        worker("too many slots", "w", 1025, gibibyte).ends_refused(&["1025 slots", "--slots"]),
        worker("no memory", "w", 1, 0).ends_refused(&["no memory", "--memory-limit"]),
        worker("no name", "", 1, gibibyte).ends_refused(&["name \"\"", "--name"]),
        worker("a name that rings", "ring\u{7}", 1, gibibyte).ends_refused(&["\\u{7}", "--name"]),
        worker("a long name", &"n".repeat(200), 1, gibibyte)
            .ends_refused(&["field `role.name`", "at most 128"]),
    ]);
}

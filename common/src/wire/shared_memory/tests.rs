use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;
use std::sync::{Arc, Mutex};

use tokio::net::UnixListener;
use twox_hash::XxHash3_64;

use super::*;
use crate::id::MemoryToken;
use crate::merge::segment_hash;

const TOKEN: MemoryToken = MemoryToken(7);

/// The regions of a coordinator, and what its worker received of them.
async fn pair() -> (Arc<StateSlots>, Arc<PartialReader>, Region, PartialSlots) {
    let folder = tempfile::tempdir().unwrap();
    let directory = folder.path().join("sockets");
    make_directory(&directory).unwrap();
    let listener = UnixListener::bind(directory.join("here.sock")).unwrap();
    let (states, reader) = (StateSlots::new().unwrap(), Arc::new(PartialReader::new().unwrap()));
    let (to_send, own) = (states.clone(), reader.clone());
    let coordinator = async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert_eq!(await_token(&mut stream).await.unwrap(), TOKEN);
        send_regions(&stream, to_send.region(), own.region()).await.unwrap();
    };
    let worker = receive_regions(&directory, "here.sock", TOKEN);
    let ((), received) = tokio::join!(coordinator, worker);
    let (region, slots) = received.unwrap();
    (states, reader, region, slots)
}

#[tokio::test]
async fn both_directions_share_memory() {
    let (states, reader, region, slots) = pair().await;
    let payload = vec![3; SLOT_BYTES];
    let written = states.write(&payload).unwrap();
    let mut copy = vec![0; SLOT_BYTES];
    let found = region.read_state(written.slot(), &mut copy);
    assert!(copy == payload && found == written.hash());
    assert_eq!(found, XxHash3_64::oneshot(&payload));

    let slot = slots.take().await;
    slots.write(slot, b"partial").unwrap();
    let read = Arc::new(Mutex::new(Vec::new()));
    let told = read.clone();
    let named = reader.named(slot, 7, move |slot| told.lock().unwrap().push(slot)).unwrap();
    let error = reader.named(slot, 7, |_| ()).unwrap_err();
    assert!(matches!(error, SlotError::BeingRead(found) if found == slot), "{error}");
    let mut copy = vec![0; 7];
    assert_eq!(named.read(&mut copy), segment_hash(b"partial"));
    assert_eq!(copy, b"partial");
    drop(named);
    assert_eq!(*read.lock().unwrap(), [slot]);
    assert!(reader.named(slot, 7, |_| ()).is_err(), "the worker was not told that it was read");
    reader.told(slot);
    assert!(reader.named(slot, 7, |_| ()).is_ok(), "it was read");
    for (slot, bytes) in [(PARTIAL_SLOTS, 7), (u32::MAX, 7), (0, SLOT_BYTES as u32 + 1)] {
        let error = reader.named(slot, bytes, |_| ()).unwrap_err();
        assert!(matches!(error, SlotError::Outside { .. }), "{error}");
    }
    assert!(slots.read(&[slot]));
    assert!(!slots.read(&[slot]), "it is free");
    assert!(!slots.read(&[PARTIAL_SLOTS]), "there is no such slot");
}

#[tokio::test]
async fn receivers_cannot_write_states_or_change_a_size() {
    let (states, reader, region, _slots) = pair().await;
    let slot = states.write(b"state").unwrap();
    let error = region.write(slot.slot(), b"wrong", |_| ()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    let received = std::fs::File::from(region.descriptor().try_clone_to_owned().unwrap());
    let error = received.write_at(b"wrong", 0).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    let descriptor = region.descriptor().try_clone_to_owned().unwrap();
    let error = Region::received_partials(descriptor, STATE_SLOTS).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied, "it cannot be mapped to write");
    for region in [states.region(), reader.region(), &region] {
        let file = std::fs::File::from(region.descriptor().try_clone_to_owned().unwrap());
        assert!(file.set_len(0).is_err() && file.set_len(1 << 40).is_err());
    }
    let mut found = [0; 5];
    region.read(slot.slot(), &mut found, |_| ());
    assert_eq!(&found, b"state");
}

#[test]
fn a_state_slot_is_reused_once_all_have_dropped_it() {
    let states = StateSlots::new().unwrap();
    assert_eq!(states.region().used_bytes(), 0, "slots take memory when they are used");
    let first = states.write(b"one").unwrap();
    let (slot, other) = (first.slot(), first.clone());
    drop(first);
    assert_ne!(states.write(b"two").unwrap().slot(), slot, "it is still held");
    drop(other);
    let all: Vec<_> = std::iter::from_fn(|| states.write(b"three")).collect();
    assert_eq!(all.len(), STATE_SLOTS as usize);
    assert!(states.write(b"four").is_none());
    drop(all);
    assert!(states.write(b"five").is_some());
}

#[tokio::test]
async fn a_worker_waits_for_a_free_slot() {
    let (_states, _reader, _region, slots) = pair().await;
    for _ in 0..PARTIAL_SLOTS {
        slots.take().await;
    }
    let take = slots.take();
    tokio::pin!(take);
    tokio::select! {
        biased;
        _ = &mut take => panic!("none is free"),
        () = std::future::ready(()) => {}
    }
    assert!(slots.read(&[2]));
    assert_eq!(take.await, 2);
}

#[test]
fn a_region_of_another_size_or_without_seals_is_refused() {
    let other = Region::for_partials(PARTIAL_SLOTS + 1).unwrap();
    let descriptor = other.descriptor().try_clone_to_owned().unwrap();
    assert!(Region::received_partials(descriptor, PARTIAL_SLOTS).is_err());
    let file = tempfile::tempfile().unwrap();
    file.set_len(SLOT_BYTES as u64).unwrap();
    assert!(Region::received_states(file.into(), 1).is_err(), "a file can be cut");
}

#[tokio::test]
async fn nothing_is_received_from_where_others_can_write() {
    let folder = tempfile::tempdir().unwrap();
    let missing = receive_regions(folder.path(), "here.sock", TOKEN).await;
    assert!(matches!(missing, Err(MemoryError::Elsewhere(_))));
    let _listener = UnixListener::bind(folder.path().join("here.sock")).unwrap();
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(folder.path(), open).unwrap();
    let error = receive_regions(folder.path(), "here.sock", TOKEN).await.unwrap_err();
    assert!(error.to_string().contains("others can write to it"), "{error}");
    let error = make_directory(folder.path()).unwrap_err();
    assert!(error.to_string().contains("others can write to it"), "{error}");
}

#[tokio::test]
async fn a_coordinator_can_name_no_socket_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let _listener = UnixListener::bind(folder.path().join("here.sock")).unwrap();
    let inner = folder.path().join("sockets");
    make_directory(&inner).unwrap();
    let absolute = folder.path().join("here.sock").display().to_string();
    for socket in ["../here.sock", &absolute, "..", ".", "", "sockets/../../here.sock"] {
        let error = receive_regions(&inner, socket, TOKEN).await.unwrap_err();
        assert!(matches!(&error, MemoryError::Name(found) if found == socket), "{error}");
    }
}

#[tokio::test]
async fn a_socket_without_descriptors_shares_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("here.sock")).unwrap();
    let other = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        await_token(&mut stream).await.unwrap();
    };
    let ((), received) = tokio::join!(other, receive_regions(folder.path(), "here.sock", TOKEN));
    assert!(matches!(received, Err(MemoryError::Descriptors(0))), "{received:?}");
}

#[test]
fn names_of_sockets_are_file_names() {
    let name = |address: &str| socket_name(address.parse().unwrap(), 0x1a2b);
    assert_eq!(name("127.0.0.1:7700"), "127.0.0.1-7700-00001a2b.sock");
    assert_eq!(name("[::1]:7700"), "__1-7700-00001a2b.sock");
    for (name, is_one) in [
        (name("[::1]:7700").as_str(), true),
        ("127.0.0.1-7700.sock", false),
        ("127.0.0.1-77000-00001a2b.sock", false),
        ("127.0.0.1-7700-1a2b.sock", false),
        ("ssh-agent.sock", false),
        (".sock", false),
    ] {
        assert_eq!(is_socket_name(&Path::new("/run/samebit").join(name)), is_one, "{name}");
    }
}

//! Keys as they are made, written, read and refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cluster.pem");
    (folder, path)
}

fn written(path: &Path) -> Keys {
    let keys = Keys::generate(path, IDENTITY_DAYS).unwrap();
    keys.write_new().unwrap();
    keys
}

/// Writes a file as nobody should, but for its mode.
fn write(path: &Path, text: &str) {
    let _ = fs::remove_file(path);
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The blocks of a file: authority, its key, then each member's two.
fn blocks(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let begin = "-----BEGIN";
    text.split(begin).skip(1).map(|block| format!("{begin}{block}")).collect()
}

fn error(path: &Path) -> String {
    Keys::load(path).unwrap_err().to_string()
}

#[test]
fn a_new_file_is_for_its_owner_alone_and_reads_back() {
    let (_folder, path) = scratch();
    let keys = written(&path);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    let found = Keys::load(&path).unwrap();
    assert_eq!(found.fingerprint(), keys.fingerprint());
    assert_eq!(found.authority_validity(), keys.authority_validity());
    assert!(found.has_authority_key());
    for member in Member::ALL {
        let [one, other] = [&keys, &found].map(|keys| keys.identity(member, now()).unwrap());
        assert_eq!((&one.certificate, one.validity), (&other.certificate, other.validity));
        assert_eq!(one.key.reveal(), other.key.reveal());
        assert_eq!(member_of(&one.certificate), Some(member));
        let days = (one.validity.until - one.validity.from) / 86_400;
        assert_eq!(days, u64::from(IDENTITY_DAYS) + 1);
    }
    assert_eq!(found.to_text(), fs::read_to_string(&path).unwrap());
    let again = keys.write_new().unwrap_err().to_string();
    assert!(again.contains("exists already"), "{again}");
}

#[test]
fn renewed_and_exported_files_are_of_the_same_cluster() {
    let (_folder, path) = scratch();
    let keys = written(&path);
    let renewed = Keys::load(&path).unwrap().renewed(10).unwrap();
    renewed.replace().unwrap();
    let found = Keys::load(&path).unwrap();
    assert_eq!(found.fingerprint(), keys.fingerprint());
    for member in Member::ALL {
        let [new, old] = [&found, &keys].map(|keys| keys.identity(member, now()).unwrap());
        assert!(new.certificate != old.certificate && new.validity.until < old.validity.until);
    }
    let one = path.with_file_name("worker.pem");
    found.exported(Member::Worker).unwrap().at(&one).write_new().unwrap();
    let exported = Keys::load(&one).unwrap();
    assert_eq!(exported.fingerprint(), keys.fingerprint());
    assert!(exported.identity(Member::Worker, now()).is_ok() && !exported.has_authority_key());
    let missing = exported.identity(Member::Client, now()).unwrap_err().to_string();
    assert!(missing.contains("an identity of a client, found only: worker"), "{missing}");
    let renewed = exported.renewed(10).unwrap_err().to_string();
    assert!(renewed.contains("lacks the authority's key"), "{renewed}");
    let folder: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
    assert_eq!(folder.len(), 2, "no temporary file is left: {folder:?}");
}

#[test]
fn dates_are_looked_at_when_an_identity_is_used() {
    let (_folder, path) = scratch();
    let keys = Keys::generate_at(&path, 2, 1_000_000_000).unwrap();
    keys.write_new().unwrap();
    let keys = Keys::load(&path).unwrap();
    let at = |now| keys.identity(Member::Worker, now).map(drop).map_err(|error| error.to_string());
    assert_eq!(at(1_000_000_000), Ok(()));
    let late = at(1_000_000_000 + 3 * 86_400).unwrap_err();
    let path = path.display();
    assert!(late.contains("worker certificate expired on 2001-09-11"), "{late}");
    assert!(late.contains(&format!("coordinator keys renew {path}")), "{late}");
    let early = at(1_000_000_000 - 2 * 86_400).unwrap_err();
    assert!(early.contains("valid from 2001-09-08 on"), "{early}");
    // No identity outlives its authority.
    let long = Keys::generate(&keys.path, 100_000).unwrap();
    let (_, identity) = long.identities().next().unwrap();
    assert_eq!(identity.validity.until, long.authority_validity().until);
    let expired = keys.renewed(1).unwrap_err().to_string();
    assert!(expired.contains("its authority expired on 2011-09-07"), "{expired}");
}

#[test]
fn a_link_stays_and_what_it_names_is_renewed() {
    let (_folder, path) = scratch();
    let keys = written(&path);
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("link.pem");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    Keys::load(&link).unwrap().renewed(10).unwrap().replace().unwrap();
    assert_eq!(fs::read_link(&link).unwrap(), path);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let until = |keys: &Keys| keys.identity(Member::Worker, now()).unwrap().validity.until;
    assert!(until(&Keys::load(&path).unwrap()) < until(&keys));
}

#[test]
fn a_file_that_others_can_read_is_refused() {
    let (_folder, path) = scratch();
    written(&path);
    for mode in [0o644, 0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = error(&path);
        assert!(error.contains(&format!("expected mode 0600, found {mode:04o}")), "{error}");
        assert!(error.contains(&format!("`chmod 600 {}`", path.display())), "{error}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    assert!(Keys::load(&path).is_ok());
}

#[test]
fn what_is_no_keys_file_is_named() {
    let (_folder, path) = scratch();
    let missing = error(&path);
    assert!(missing.contains("`coordinator keys new"), "{missing}");
    written(&path);
    let [authority, authority_key, coordinator, coordinator_key, worker, worker_key] =
        &blocks(&path)[..6]
    else {
        panic!("six blocks")
    };
    let other = path.with_file_name("other.pem");
    written(&other);
    let theirs = &blocks(&other)[..];
    let cases: [(&[&str], &str); 12] = [
        (&["text"], "the authority's certificate first, found none"),
        (&[authority], "an identity after the authority, found none"),
        (&[authority_key, authority], "the authority's certificate first"),
        (&[authority, coordinator_key, worker, worker_key], "authority after its certificate"),
        (&[authority, worker], "the key of the worker after its certificate, found none"),
        (&[authority, worker, coordinator_key], "after its certificate, found another key"),
        (&[authority, worker, worker], "the key of the worker after its certificate"),
        (&[authority, worker, worker_key, worker_key], "a certificate before each key"),
        (&[authority, worker, worker_key, worker, worker_key], "one worker, found two"),
        (&[authority, authority, authority_key], "found a certificate with another name"),
        (&[authority, &theirs[4], &theirs[5]], "worker certificate is not signed by the authority"),
        (&[&theirs[0], coordinator, coordinator_key], "not signed by the authority in the file"),
    ];
    for (blocks, expected) in cases {
        write(&path, &blocks.concat());
        let error = error(&path);
        assert!(error.contains(expected), "{expected:?}: {error}");
    }
    write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    assert!(error(&path).contains("found no X.509"));
    write(&path, "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    assert!(error(&path).contains("blocks of PEM"));
    write(&path, &" ".repeat(70_000));
    assert!(error(&path).contains("at most 65536 bytes, found more"));
    assert!(error(path.parent().unwrap()).contains("expected a file"));
    assert!(error(Path::new("/dev/zero")).contains("expected a file"));
}

#[test]
fn keys_are_never_shown() {
    let (_folder, path) = scratch();
    let keys = Keys::generate(&path, 1).unwrap();
    let shown = format!("{keys:?} {keys:#?} {:?}", keys.identities().collect::<Vec<_>>());
    assert!(shown.contains(&keys.fingerprint().to_string()));
    for (_, identity) in keys.identities() {
        let secret = identity.key.reveal().secret_der();
        // As numbers, as hexadecimal digits: any run of its bytes would do.
        let numbers = format!("{:?}", &secret[60..68]);
        let numbers = numbers.trim_matches(['[', ']']);
        let digits: String = secret[60..68].iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(!shown.contains(numbers) && !shown.contains(&digits), "{shown}");
    }
    assert!(!shown.contains("key:") && !shown.contains("PRIVATE"), "{shown}");
}

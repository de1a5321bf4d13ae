//! Where the Unix socket lies by which processes on one host find each other.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Permissions of others, which must be able to put nothing there.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// The directory if none is configured: `samebit` in the user's runtime directory, or
/// `samebit-UID` in the system's directory for temporary files.
pub fn default_directory() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|path| Path::new(path).is_dir()) {
        Some(runtime) => Path::new(&runtime).join("samebit"),
        None => std::env::temp_dir().join(format!("samebit-{}", own_user())),
    }
}

/// Makes the directory if it is missing, and checks that nobody else can put anything there.
///
/// # Errors
/// It cannot be made, or others can write to it.
pub fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => check_directory(path),
    }
}

/// Checks that only this user, or the system's administrator, can put anything there.
pub(super) fn check_directory(path: &Path) -> io::Result<()> {
    let found = std::fs::symlink_metadata(path)?;
    let error = |what: String| Err(io::Error::other(format!("{}: {what}", path.display())));
    if !found.is_dir() {
        return error("expected a directory, found something else".into());
    }
    if ![0, own_user()].contains(&found.uid()) {
        return error(format!("expected a directory of this user, found one of {}", found.uid()));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return error("others can write to it: remove their permission (chmod go-w)".into());
    }
    Ok(())
}

/// The name of the socket of a coordinator that listens on `address`.
pub fn socket_name(address: SocketAddr) -> String {
    format!("{}-{}.sock", address.ip(), address.port()).replace(':', "_")
}

/// The user that this process has the rights of.
pub(super) fn own_user() -> u32 {
    #[cfg(target_os = "linux")]
    return rustix::process::geteuid().as_raw();
    #[cfg(not(target_os = "linux"))]
    return u32::MAX;
}

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
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(about(path, &error)),
        _ => check_directory(path),
    }
}

/// Checks that only this user, or the system's administrator, can put anything there.
pub(super) fn check_directory(path: &Path) -> io::Result<()> {
    let found = std::fs::symlink_metadata(path).map_err(|error| about(path, &error))?;
    let error = |what: String| Err(io::Error::other(format!("{}: {what}", path.display())));
    if !found.is_dir() {
        return error("expected a directory, found something else".into());
    }
    if ![0, own_user()].contains(&found.uid()) {
        return error(format!("expected a directory of this user, found one of {}", found.uid()));
    }
    if found.mode() & WRITABLE_BY_OTHERS != 0 {
        return error("others can write to it: name a directory that only this user has".into());
    }
    Ok(())
}

/// An error that names its path.
pub fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// The name of the socket of a coordinator that listens on `address`. `unique` tells it from one
/// that listens on the same address in another network namespace.
pub fn socket_name(address: SocketAddr, unique: u32) -> String {
    format!("{}-{}-{unique:08x}.sock", address.ip(), address.port()).replace(':', "_")
}

/// Whether a file is called as [`socket_name`] says.
pub fn is_socket_name(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let mut parts = name.and_then(|name| name.strip_suffix(".sock")).unwrap_or("").rsplit('-');
    let (unique, port) = (parts.next(), parts.next());
    let is_unique = |it: &str| it.len() == 8 && u32::from_str_radix(it, 16).is_ok();
    unique.is_some_and(is_unique) && port.is_some_and(|port| port.parse::<u16>().is_ok())
}

/// The user that this process has the rights of.
pub(super) fn own_user() -> u32 {
    #[cfg(target_os = "linux")]
    return rustix::process::geteuid().as_raw();
    #[cfg(not(target_os = "linux"))]
    return u32::MAX;
}

//! Keys as a PEM file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use pem::{EncodeConfig, LineEnding, Pem};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::certificate::{is_signed_by, member_of, validity};
use super::{Identity, Keys, KeysError, Secret};

/// Limit of a keys file, in bytes: ten times the usual size.
const FILE_BYTES: u64 = 64 << 10;

/// Mode of a keys file: only its owner can read and write it.
const MODE: u32 = 0o600;

const CERTIFICATE: &str = "CERTIFICATE";
const KEY: &str = "PRIVATE KEY";

impl Keys {
    /// Reads a file, and checks everything except dates. Refuses a file that other users
    /// may read.
    pub fn load(path: &Path) -> Result<Self, KeysError> {
        let name = path.display().to_string();
        let read_error = |error| KeysError::Read { path: name.clone(), error };
        let content = |expected: &str, found: String| KeysError::Content {
            path: name.clone(),
            expected: expected.into(),
            found,
        };
        // Checked before opening: opening a pipe would wait for its other end.
        if !fs::metadata(path).map_err(read_error)?.is_file() {
            return Err(content("a file", "something else".into()));
        }
        let file = File::open(path).map_err(read_error)?;
        let mode = file.metadata().map_err(read_error)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Open { path: name, mode });
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES + 1).read_to_end(&mut text).map_err(read_error)?;
        if text.len() as u64 > FILE_BYTES {
            return Err(content(&format!("at most {FILE_BYTES} bytes"), "more".into()));
        }
        let blocks = pem::parse_many(&text)
            .map_err(|error| content("blocks of PEM", format!("other content ({error})")))?;
        Self::from_blocks(path, blocks)
    }

    /// The authority's certificate, its key if there, then certificate and key
    /// of each identity.
    fn from_blocks(path: &Path, blocks: Vec<Pem>) -> Result<Self, KeysError> {
        let content = |expected: &str, found: String| KeysError::Content {
            path: path.display().to_string(),
            expected: expected.into(),
            found,
        };
        let is_certificate = |block: &Pem| block.tag() == CERTIFICATE;
        let mut blocks = blocks.into_iter().peekable();
        let authority = blocks
            .next_if(is_certificate)
            .ok_or_else(|| content("the authority's certificate first", "none".into()))?;
        let authority = CertificateDer::from(authority.into_contents());
        let of_authority = validity(&authority).ok_or_else(|| {
            content("the authority's certificate first", "no X.509 certificate".into())
        })?;
        let key = blocks.next_if(|block| block.tag() == KEY);
        let authority_key = match key {
            Some(key) => Some(matching(&authority, key).map_err(|found| {
                content("the key of the authority after its certificate", found)
            })?),
            None => None,
        };
        let mut identities = BTreeMap::new();
        while let Some(certificate) = blocks.next() {
            if !is_certificate(&certificate) {
                return Err(content("a certificate before each key", "none".into()));
            }
            let certificate = CertificateDer::from(certificate.into_contents());
            let about = (member_of(&certificate), validity(&certificate));
            let (Some(member), Some(validity)) = about else {
                let expected = "certificates of a coordinator, worker or client";
                return Err(content(expected, "a certificate with another name".into()));
            };
            let expected = format!("the key of the {member} after its certificate");
            let key = blocks.next_if(|block| block.tag() == KEY);
            let key = key.ok_or_else(|| content(&expected, "none".into()))?;
            let key = matching(&certificate, key).map_err(|found| content(&expected, found))?;
            if !is_signed_by(&certificate, &authority, member, validity.until) {
                let path = path.display().to_string();
                return Err(KeysError::SelfMade { path, member });
            }
            let identity = Identity { certificate, key, validity };
            if identities.insert(member, identity).is_some() {
                return Err(content(&format!("one {member}"), "two".into()));
            }
        }
        if identities.is_empty() {
            return Err(content("an identity after the authority", "none".into()));
        }
        let (path, validity) = (path.to_owned(), of_authority);
        Ok(Self { path, authority, validity, authority_key, identities })
    }

    /// Writes a new file. An existing file is not changed.
    pub fn write_new(&self) -> Result<(), KeysError> {
        write(&self.path, &self.to_text()).map_err(|error| {
            let path = self.path.display().to_string();
            match error.kind() {
                ErrorKind::AlreadyExists => KeysError::Exists { path },
                _ => KeysError::Write { path, error },
            }
        })
    }

    /// Replaces the file atomically: readers see the old content or the new one. A link
    /// remains, and its target is replaced.
    pub fn replace(&self) -> Result<(), KeysError> {
        let file = fs::canonicalize(&self.path).unwrap_or_else(|_| self.path.clone());
        let mut name = file.as_os_str().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let temporary = Path::new(&name);
        let replaced = write(temporary, &self.to_text())
            .and_then(|()| fs::rename(temporary, &file))
            .and_then(|()| File::open(folder_of(&file))?.sync_all());
        replaced.map_err(|error| {
            // The file may not exist; the earlier error is the one to report.
            let _ = fs::remove_file(temporary);
            KeysError::Write { path: self.path.display().to_string(), error }
        })
    }

    /// The same keys with another path.
    pub fn at(self, path: &Path) -> Self {
        Self { path: path.to_owned(), ..self }
    }

    pub(super) fn to_text(&self) -> String {
        let mut text = format!(
            "Keys of the Samebit cluster {}.\n\
             A host with this file is a member of the cluster: keep it secret.\n",
            self.fingerprint()
        );
        let mut block = |about: &str, tag: &str, bytes: &[u8]| {
            text += &format!("\n{about}\n");
            let config = EncodeConfig::new().set_line_ending(LineEnding::LF);
            text += &pem::encode_config(&Pem::new(tag, bytes), config);
        };
        block("The authority", CERTIFICATE, &self.authority);
        if let Some(key) = &self.authority_key {
            block("Its key, which creates members", KEY, key.reveal().secret_der());
        }
        for (member, identity) in &self.identities {
            let about = format!("The {member}, valid {}", identity.validity);
            block(&about, CERTIFICATE, &identity.certificate);
            block("Its key", KEY, identity.key.reveal().secret_der());
        }
        text
    }
}

/// A key, if it matches the certificate; otherwise a description of it.
fn matching(certificate: &CertificateDer<'static>, key: Pem) -> Result<Secret, String> {
    let key =
        PrivateKeyDer::try_from(key.into_contents()).map_err(|_| "no PKCS #8 key".to_owned())?;
    CertifiedKey::from_der(vec![certificate.clone()], key.clone_key(), &default_provider())
        .map(|_| Secret(key))
        .map_err(|_| "another key".to_owned())
}

/// Writes a new file, readable by its owner only. Fails if the file exists.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(MODE).open(path)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    if written.is_err() {
        // A partial file is useless; the earlier error is the one to report.
        let _ = fs::remove_file(path);
    }
    written
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

//! The lock beside the database file: a second process that opens the file is told so at once. Used
//! by `store/sqlite` alone.

use std::ffi::OsString;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::kernel::{Error, Reason, Result};

/// An exclusive lock on `FILE.lock`, held until it is dropped. The operating system lets go of it
/// when the process dies, however it dies.
#[derive(Debug)]
pub(super) struct FileLock {
    _held: File,
}

impl FileLock {
    pub(super) fn take(database: &Path) -> Result<Self> {
        let path = beside(database);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| refused(database, "cannot be locked").caused_by(error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _held: file }),
            Err(TryLockError::WouldBlock) => {
                Err(refused(database, "is open in another process; one server uses one file"))
            }
            Err(TryLockError::Error(error)) => {
                Err(refused(database, "cannot be locked").caused_by(error))
            }
        }
    }
}

fn beside(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(".lock");
    PathBuf::from(name)
}

fn refused(database: &Path, why: &str) -> Error {
    Error::new(Reason::Unavailable, format!("the database file {} {why}", database.display()))
}

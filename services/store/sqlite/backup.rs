//! Backups of the file: a copy of one moment, made while a server writes, in one file that says
//! what it is and holds the secrets that the data is of no use without. Called by `runplane backup`
//! and `runplane restore`; never decides where a secret belongs.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use sea_orm::sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sea_orm::sqlx::{self, ConnectOptions as _, Connection as _, Row as _};
use sea_orm::{SqlxError, SqlxSqliteConnector};
use secrecy::{ExposeSecret, SecretString};

use super::lock::FileLock;
use super::{make_folder, parsed, read_only};
use crate::kernel::config::StoreConfig;
use crate::kernel::{Error, Reason, Result, Timestamp};
use crate::store::migrations;

/// The form of a backup: a database with one more table.
const FORMAT: i64 = 1;
/// That table.
const DEFINE: &str = "CREATE TABLE runplane_backup (
    format INTEGER NOT NULL, made_at INTEGER NOT NULL, version TEXT NOT NULL,
    pepper_id TEXT NOT NULL, secrets TEXT)";

/// What a backup says of itself.
#[derive(Debug, Clone)]
pub struct About {
    /// When it was made.
    pub made_at: Timestamp,
    /// Which version of the program made it.
    pub version: String,
    /// The name of the pepper that its keys are hashed with.
    pub pepper_id: String,
    /// The text of the secrets file; none when the pepper was kept elsewhere.
    pub secrets: Option<SecretString>,
}

/// A backup that was copied beside the file that it is to become, and checked. Dropped before it is
/// placed it is gone.
#[derive(Debug)]
pub struct Restoring {
    /// What the backup says of itself.
    pub about: About,
    file: PathBuf,
    partial: Partial,
    _lock: FileLock,
}

/// Makes a backup. The server may go on writing; its changes after this moment are not in it.
///
/// # Errors
/// `unavailable` when there is no database, the backup is there already or cannot be written, or
/// what was written is not whole.
pub async fn make(config: &StoreConfig, backup: &Path, about: &About) -> Result<()> {
    let source = parsed(config)?;
    let file = source.get_filename().to_owned();
    if !file.exists() {
        return Err(failed(&file, "does not exist"));
    }
    if backup.exists() {
        return Err(failed(backup, "exists already"));
    }
    let partial = Partial::make(backup)?;
    let mut conn = read_only(source).connect().await.map_err(|e| broken(&file, e))?;
    let into = partial.0.display().to_string();
    let copied = sqlx::query("VACUUM INTO ?1").bind(into).execute(&mut conn).await;
    conn.close().await.map_err(|error| broken(&file, error))?;
    copied.map_err(|error| broken(backup, error))?;
    sign(&partial.0, about).await.map_err(|error| broken(backup, error))?;
    check(&partial.0).await?;
    partial.place(backup)
}

/// Copies a backup beside the file of the configuration and checks it. Refuses while a server has
/// the file, and a file that is there unless it is to be replaced.
///
/// # Errors
/// `unavailable` for all of that, and for what is no backup, not whole, or of a newer version.
pub async fn open(config: &StoreConfig, backup: &Path, replace: bool) -> Result<Restoring> {
    let file = parsed(config)?.get_filename().to_owned();
    make_folder(&file)?;
    let lock = FileLock::take(&file)?;
    if file.exists() && !replace {
        return Err(failed(&file, "exists already; --force replaces it"));
    }
    let partial = Partial::make(&file)?;
    std::fs::copy(backup, &partial.0).map_err(|error| failed(backup, &error.to_string()))?;
    private(&partial.0)?;
    check(&partial.0).await.map_err(|error| Error {
        message: error.message.replace(&shown(&partial.0), &shown(backup)),
        ..error
    })?;
    let about = unsign(&partial.0).await?.ok_or_else(|| failed(backup, "is no backup"))?;
    Ok(Restoring { about, file, partial, _lock: lock })
}

impl Restoring {
    /// Puts the database into its place.
    ///
    /// # Errors
    /// `unavailable` when the file system refuses.
    pub fn place(self) -> Result<PathBuf> {
        // A log of the old file would be read into the new one.
        for end in ["-wal", "-shm"] {
            let old = beside(&self.file, end);
            match std::fs::remove_file(&old) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(failed(&old, &error.to_string()));
                }
                _ => {}
            }
        }
        self.partial.place(&self.file)?;
        Ok(self.file)
    }
}

/// A file that is being written, readable by its owner only. Gone unless it is placed.
#[derive(Debug)]
struct Partial(PathBuf);

impl Partial {
    fn make(of: &Path) -> Result<Self> {
        let path = beside(of, ".partial");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path).map_err(|error| failed(&path, &error.to_string()))?;
        private(&path)?;
        Ok(Self(path))
    }

    /// Makes it last, and gives it its name.
    fn place(&self, path: &Path) -> Result<()> {
        let place = || {
            File::open(&self.0)?.sync_all()?;
            std::fs::rename(&self.0, path)?;
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        };
        place().map_err(|error: io::Error| failed(path, &error.to_string()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // After it was placed there is none.
        for end in ["", "-journal"] {
            let _gone = std::fs::remove_file(beside(&self.0, end));
        }
    }
}

/// Writes into a copy what it is.
async fn sign(copy: &Path, about: &About) -> Result<(), SqlxError> {
    let mut conn = writing(copy).connect().await?;
    sqlx::query(DEFINE).execute(&mut conn).await?;
    let row = "INSERT INTO runplane_backup VALUES (?1, ?2, ?3, ?4, ?5)";
    let row = sqlx::query(row).bind(FORMAT).bind(about.made_at.0).bind(&about.version);
    let secrets = about.secrets.as_ref().map(|secrets| secrets.expose_secret().to_owned());
    row.bind(&about.pepper_id).bind(secrets).execute(&mut conn).await?;
    conn.close().await
}

/// Takes out of a copy what it says of itself; `None` when it says nothing.
async fn unsign(copy: &Path) -> Result<Option<About>> {
    let wrong = |error| broken(copy, error);
    let mut conn = writing(copy).connect().await.map_err(wrong)?;
    let row = "SELECT format, made_at, version, pepper_id, secrets FROM runplane_backup";
    let Ok(row) = sqlx::query(row).fetch_one(&mut conn).await else { return Ok(None) };
    let read = || {
        let secrets: Option<String> = row.try_get(4)?;
        let about = About {
            made_at: Timestamp(row.try_get(1)?),
            version: row.try_get(2)?,
            pepper_id: row.try_get(3)?,
            secrets: secrets.map(SecretString::from),
        };
        Ok((row.try_get::<i64, _>(0)?, about))
    };
    let (format, about) = read().map_err(wrong)?;
    if format != FORMAT {
        let what = format!("the backup has the form {format}, unknown to this version");
        return Err(Error::new(Reason::Unavailable, what));
    }
    // The secrets are not to stay in pages that are free.
    sqlx::query("PRAGMA secure_delete = on").execute(&mut conn).await.map_err(wrong)?;
    sqlx::query("DROP TABLE runplane_backup").execute(&mut conn).await.map_err(wrong)?;
    conn.close().await.map_err(wrong)?;
    Ok(Some(about))
}

/// Refuses a copy that is not whole, or of a newer version.
async fn check(copy: &Path) -> Result<()> {
    let wrong = |error| broken(copy, error);
    let mut conn = writing(copy).connect().await.map_err(wrong)?;
    let told = verdict(&mut conn).await.map_err(wrong)?;
    conn.close().await.map_err(wrong)?;
    if told != "ok" {
        return Err(failed(copy, &format!("is not whole: {told}")));
    }
    let pool = sqlx::SqlitePool::connect_with(writing(copy)).await.map_err(wrong)?;
    let conn = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool);
    let pending = migrations::pending(&conn).await;
    conn.close().await?;
    pending.map(|_| ())
}

/// What SQLite says of a file: `ok`, or the first fault.
async fn verdict(conn: &mut SqliteConnection) -> Result<String, SqlxError> {
    sqlx::query("PRAGMA integrity_check(1)").fetch_one(conn).await?.try_get(0)
}

/// A connection to a copy that nobody else knows of.
fn writing(copy: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(copy).create_if_missing(false)
}

fn private(file: &Path) -> Result<()> {
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(file, mode).map_err(|error| failed(file, &error.to_string()))?;
    }
    Ok(())
}

fn beside(file: &Path, end: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

fn shown(file: &Path) -> String {
    file.display().to_string()
}

fn failed(file: &Path, why: &str) -> Error {
    Error::new(Reason::Unavailable, format!("{} {why}", shown(file)))
}

fn broken(file: &Path, error: SqlxError) -> Error {
    failed(file, &format!("cannot be used as a database: {error}")).caused_by(error)
}

//! `runplane backup` and `runplane restore`: the SQLite file and its secrets, in one file. How a
//! copy is made is the store's; here is where the secrets come from and go to.

use std::io::Read;
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::exit::{Failure, Outcome};
use super::output;
use crate::kernel::Clock;
use crate::kernel::config::Config;
use crate::keys::pepper;
use crate::store::backup::{self, About};

/// Bytes that are read at once.
const CHUNK: usize = 256 * 1024;

/// Makes a backup. The server may be running.
pub(super) async fn backup(config: &Config, file: &Path) -> Outcome<()> {
    sqlite_only(config)?;
    let secrets_file = pepper::kept_in(&config.auth, &config.store);
    let secrets = secrets_file.map(|file| {
        let text = std::fs::read_to_string(&file);
        text.map(SecretString::from).map_err(|error| format!("{}: {error}", file.display()))
    });
    let secrets = secrets.transpose()?;
    let own = pepper::load(&config.auth, &config.store)?;
    let version = env!("CARGO_PKG_VERSION").to_owned();
    let made_at = Clock::system().now();
    let about = About { made_at, version, pepper_id: own.id(), secrets };
    backup::make(&config.store, file, &about).await?;
    output::line(&format!("{} is a whole backup of {made_at}", file.display()))?;
    output::line(&format!("sha256 {}", digest(file)?))?;
    let secret = match &about.secrets {
        Some(_) => "it holds the server's secrets: keep it as you keep those",
        None => "it does not hold the pepper, which the configuration sets: keep that too",
    };
    output::notice(secret);
    Ok(())
}

/// Puts a backup into the place of the database.
pub(super) async fn restore(
    config: &Config,
    file: &Path,
    force: bool,
    sha256: Option<&str>,
) -> Outcome<()> {
    sqlite_only(config)?;
    if let Some(expected) = sha256 {
        let found = digest(file)?;
        if found != expected.to_ascii_lowercase() {
            return Err(format!("{} has the sha256 {found}", file.display()).into());
        }
    }
    let restoring = backup::open(&config.store, file, force).await?;
    let about = restoring.about.clone();
    keep_secrets(config, &about, force)?;
    let placed = restoring.place()?;
    let (version, made_at) = (&about.version, about.made_at);
    let what = format!("the backup of {made_at}, made by version {version}");
    output::line(&format!("{} is {what}", placed.display()))
}

/// Writes the secrets file of a backup; refuses where keys would not open any more.
fn keep_secrets(config: &Config, about: &About, force: bool) -> Outcome<()> {
    let Some(file) = pepper::kept_in(&config.auth, &config.store) else {
        let own = pepper::load(&config.auth, &config.store)?;
        if own.id() == about.pepper_id {
            return Ok(());
        }
        return Err("auth.pepper is not the one that the backup was made with".into());
    };
    let Some(secrets) = &about.secrets else {
        return Err("the backup holds no pepper: set auth.pepper as it was when it was made".into());
    };
    let (shown, wrong) = (file.display().to_string(), |error: std::io::Error| error.to_string());
    match std::fs::read_to_string(&file) {
        Ok(text) if text == secrets.expose_secret() => return Ok(()),
        Ok(_) if force => std::fs::remove_file(&file).map_err(wrong)?,
        Ok(_) => {
            return Err(format!("{shown} holds other secrets; --force replaces them").into());
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(format!("{shown}: {error}").into()),
    }
    pepper::keep(&file, secrets.expose_secret()).map_err(|error| format!("{shown}: {error}").into())
}

fn sqlite_only(config: &Config) -> Outcome<()> {
    if config.store.url.starts_with("sqlite:") {
        return Ok(());
    }
    Err(Failure::usage(
        "backup and restore are for SQLite. On Postgres: pg_dump --format=custom \
         --file=runplane.dump DATABASE_URL, and back by pg_restore --clean --if-exists \
         --dbname=DATABASE_URL runplane.dump; and keep the pepper (auth.pepper)",
    ))
}

fn digest(file: &Path) -> Outcome<String> {
    let mut opened = std::fs::File::open(file)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    let (mut hash, mut chunk) = (Sha256::new(), vec![0; CHUNK]);
    loop {
        match opened.read(&mut chunk)? {
            0 => break,
            read => hash.update(&chunk[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

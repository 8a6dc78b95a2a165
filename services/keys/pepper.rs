//! Where the pepper comes from: the configuration, or a file that is made on first start, readable
//! by its owner only.

use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use crate::kernel::Pepper;
use crate::kernel::config::{AuthConfig, StoreConfig};

/// The pepper of this configuration.
///
/// # Errors
/// When neither a pepper nor a place for one is configured, or the file cannot be read or made.
pub fn load(auth: &AuthConfig, store: &StoreConfig) -> Result<Pepper, String> {
    if !auth.pepper.expose_secret().is_empty() {
        return Ok(Pepper::new(auth.pepper.clone()));
    }
    let file = file(auth, store).ok_or(
        "auth.pepper or auth.secrets_file must be set with Postgres: all replicas share one pepper",
    )?;
    let shown = file.display();
    let text = match std::fs::read_to_string(&file) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            make(&file).map_err(|e| format!("{shown} cannot be made: {e}"))?
        }
        Err(e) => return Err(format!("{shown} cannot be read: {e}")),
    };
    let kept: Value = serde_json::from_str(&text).map_err(|e| format!("{shown}: {e}"))?;
    let pepper = kept["pepper"].as_str().ok_or(format!("{shown} holds no pepper"))?;
    Ok(Pepper::new(SecretString::from(pepper)))
}

/// The secrets file of this configuration; `None` when the pepper is kept elsewhere.
#[must_use]
pub fn kept_in(auth: &AuthConfig, store: &StoreConfig) -> Option<PathBuf> {
    if auth.pepper.expose_secret().is_empty() { file(auth, store) } else { None }
}

fn file(auth: &AuthConfig, store: &StoreConfig) -> Option<PathBuf> {
    if !auth.secrets_file.as_os_str().is_empty() {
        return Some(auth.secrets_file.clone());
    }
    let path = store.url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split('?').next().unwrap_or(path);
    Some(PathBuf::from(format!("{path}.secrets.json")))
}

fn make(file: &Path) -> std::io::Result<String> {
    let mut random = [0u8; 32];
    rand::fill(&mut random);
    let text = json!({"pepper": STANDARD.encode(random)}).to_string();
    keep(file, &text)?;
    Ok(text)
}

/// Makes a secrets file of this text, readable by its owner only.
///
/// # Errors
/// When there is one already, or it cannot be written.
pub fn keep(file: &Path, text: &str) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(file)?;
    opened.write_all(text.as_bytes())?;
    opened.sync_all()
}

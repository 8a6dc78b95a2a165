//! Secrets from files, as orchestrators mount them: for each key that holds one there is another,
//! with the ending `_file`, that names a file with it. Read before anything else looks at the
//! values, so that nobody knows where a secret came from.

use std::fs::File;
use std::io::Read;

use figment::error::Kind;
use figment::value::{Dict, Value};

/// Sections with a key that holds a secret.
const SECRETS: &[(&str, &str)] =
    &[("store", "url"), ("redis", "url"), ("auth", "pepper"), ("telemetry", "otlp_headers")];
/// The section of sections that each may have this one.
const EACH: (&str, &str) = ("providers", "api_key");
/// Most bytes of such a file.
const BYTES_MAX: u64 = 64 << 10;

/// Puts what the files hold in their keys' places. What is wrong is told.
pub(super) fn read(values: &mut Dict, defaults: &Dict) -> Vec<String> {
    let mut mistakes = Vec::new();
    for (section, key) in SECRETS {
        let Some(Value::Dict(_, into)) = values.get_mut(*section) else { continue };
        let usual = defaults.get(*section).and_then(Value::as_dict).and_then(|d| d.get(*key));
        mistakes.extend(fill(into, (&format!("{section}.{key}"), key), usual).err());
    }
    let (all, key) = EACH;
    if let Some(Value::Dict(_, all)) = values.get_mut(all) {
        for (name, value) in all.iter_mut() {
            let Value::Dict(_, into) = value else { continue };
            mistakes.extend(fill(into, (&format!("providers.{name}.{key}"), key), None).err());
        }
    }
    mistakes
}

/// What is wrong with a value; of a secret not what it is.
pub(super) fn told(error: &figment::Error) -> String {
    let is_secret = match &*error.path {
        [section, key] => SECRETS.contains(&(section, key)),
        [section, .., key] => EACH == (section, key),
        _ => false,
    };
    match &error.kind {
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) if is_secret => {
            format!("must be {expected}")
        }
        kind => kind.to_string(),
    }
}

/// Fills one key of a section, if a file is named for it.
fn fill(into: &mut Dict, (path, key): (&str, &str), usual: Option<&Value>) -> Result<(), String> {
    let Some(named) = into.remove(&format!("{key}_file")) else { return Ok(()) };
    let Some(named) = named.as_str() else {
        return Err(format!("{path}_file must be a path"));
    };
    if named.is_empty() {
        return Ok(());
    }
    if into.get(key).is_some_and(|given| Some(given) != usual) {
        return Err(format!("{path} and {path}_file are both given"));
    }
    // What is no path may be the secret itself.
    let shown = if named.starts_with('/') { named } else { "the file" };
    let secret = content(named).map_err(|why| format!("{path}_file: {shown} {why}"))?;
    into.insert(key.to_owned(), Value::from(secret));
    Ok(())
}

/// The text of a file, without the line break that editors put at the end.
fn content(path: &str) -> Result<String, String> {
    let unread = |error| format!("cannot be read: {error}");
    // One that is a pipe could keep us waiting.
    if !std::fs::metadata(path).map_err(unread)?.is_file() {
        return Err("is no file".to_owned());
    }
    let file = File::open(path).map_err(unread)?;
    let mut text = String::new();
    let read = file.take(BYTES_MAX + 1).read_to_string(&mut text);
    let length = read.map_err(unread)?;
    if length as u64 > BYTES_MAX {
        return Err(format!("is larger than {BYTES_MAX} bytes"));
    }
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err("is empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::super::Config;

    /// A file with this in it.
    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    #[test]
    fn a_secret_may_stand_in_a_file() {
        let (url, key) = (file("postgres://u:p@h/d\n"), file("sk-1\r\n"));
        let headers = file("authorization=Bearer t\n");
        let changes = format!(
            "[store]\nurl_file = {:?}\n[providers.openai]\napi_key_file = {:?}\n\
             [telemetry]\notlp_headers_file = {:?}\n",
            url.path(),
            key.path(),
            headers.path()
        );
        let config = Config::with(&changes).unwrap();
        assert_eq!(config.store.url, "postgres://u:p@h/d");
        let found = config.providers["openai"].api_key.as_ref().unwrap();
        assert_eq!(found.expose_secret(), "sk-1");
        assert_eq!(config.auth.pepper.expose_secret(), "");
        assert_eq!(config.telemetry.otlp_headers.expose_secret(), "authorization=Bearer t");
    }

    #[test]
    fn all_that_is_wrong_with_files_is_told() {
        let (empty, two, large) = (file("\n"), file("x"), file(&"x".repeat(65537)));
        let changes = format!(
            "[store]\nurl = \"sqlite:a\"\nurl_file = {:?}\n[redis]\nurl_file = \"/none\"\n\
             [auth]\npepper_file = {:?}\n[providers.openai]\napi_key_file = {:?}\n\
             [providers.x]\nkind = \"openai\"\napi_key_file = 7\n\
             [telemetry]\notlp_headers_file = \"/tmp\"\n",
            two.path(),
            empty.path(),
            large.path(),
        );
        let told = Config::with(&changes).unwrap_err();
        for part in [
            "store.url and store.url_file are both given",
            "redis.url_file: /none cannot be read",
            "is empty",
            "is larger than 65536 bytes",
            "providers.x.api_key_file must be a path",
            "telemetry.otlp_headers_file: /tmp is no file",
        ] {
            assert!(told.contains(part), "{part}: {told}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_secret_is_told_without_it() {
        let file = file("[providers.openai]\napi_key = sk-secret-1\n");
        let mut told = vec![Config::load(Some(file.path())).unwrap_err()];
        for changes in [
            "[auth]\npepper = 12345678",
            "[providers.openai]\napi_key = 12345678.5",
            "[providers.openai]\napi_key_file = \"sk-secret-2\"",
        ] {
            told.push(Config::with(changes).unwrap_err());
        }
        assert!(told[0].contains("line 2"), "{told:?}");
        assert!(told[1].contains("auth.pepper: must be"), "{told:?}");
        assert!(!told.iter().any(|t| t.contains("secret-") || t.contains("1234")), "{told:?}");
    }
}

//! The configuration: `config.toml` (compiled in, the reference page), then a file, then the
//! environment. The only reader of the environment. Every part takes its own section; nothing else
//! knows where a value came from.

mod engine;
mod given;
mod limits;
mod redis;
mod retention;
mod secrets;
mod server;
mod store;
mod telemetry;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Value};
use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use self::given::Given;
use super::plan::Plan;

pub use engine::EngineConfig;
pub use limits::{LimitsConfig, Plans};
pub use redis::RedisConfig;
pub use retention::RetentionConfig;
pub use server::{ProxyHeaders, Role, ServerConfig};
pub use store::{StoreConfig, Synchronous};
pub use telemetry::{AdminConfig, OtlpProtocol, TelemetryConfig};
pub use tls::{ClientAuth, TlsConfig};

/// The defaults, with every key and its reason.
pub const DEFAULTS: &str = include_str!("config.toml");

/// Most mistakes that are told.
const MISTAKES_MAX: usize = 50;

/// The whole configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The port and its limits.
    pub server: ServerConfig,
    /// Certificates of the port.
    pub tls: TlsConfig,
    /// Where to keep what must last.
    pub store: StoreConfig,
    /// What replicas share and may lose.
    pub redis: RedisConfig,
    /// Keys.
    pub auth: AuthConfig,
    /// Limits beside the plans.
    pub limits: LimitsConfig,
    /// Plans by name.
    pub plans: BTreeMap<String, Plan>,
    /// Runs.
    pub engine: EngineConfig,
    /// How long runs are kept.
    pub retention: RetentionConfig,
    /// Outbound calls of tools.
    pub egress: EgressConfig,
    /// The admin port.
    pub admin: AdminConfig,
    /// Where traces and metrics are sent.
    pub telemetry: TelemetryConfig,
    /// Logs.
    pub log: LogConfig,
    /// The REST door.
    pub rest: RestConfig,
    /// Names for models.
    pub models: BTreeMap<String, String>,
    /// Providers by name.
    pub providers: BTreeMap<String, ProviderConfig>,
    #[serde(skip)]
    given: Given,
}

/// Keys.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// Secret that keys are hashed with; empty: kept in `secrets_file`.
    pub pepper: SecretString,
    /// Where a made pepper is kept; empty: beside the SQLite file.
    pub secrets_file: PathBuf,
}

/// Outbound calls of tools.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EgressConfig {
    /// Private networks that tools may call.
    pub allow_subnets: Vec<IpNet>,
}

/// Logs.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// What to log.
    pub filter: String,
    /// In which form.
    pub format: LogFormat,
}

impl LogConfig {
    /// Hands on what is right or wrong, with what to say of it.
    fn check(&self, check: &mut impl FnMut(bool, String)) {
        let mistake = EnvFilter::try_new(&self.filter).err();
        let why = mistake.as_ref().map(ToString::to_string).unwrap_or_default();
        check(mistake.is_none(), format!("log.filter: {why}"));
    }
}

/// Form of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// The REST door.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestConfig {
    /// Names of query parameters that are passed over.
    pub query_ignored: Vec<String>,
    /// True passes over unknown fields and parameters instead of refusing them.
    pub ignore_unknown: bool,
    /// Path prefixes that stand for another.
    pub alias: Vec<AliasConfig>,
}

/// A path prefix that stands for another.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AliasConfig {
    /// Prefix of the path as it is called.
    pub prefix: String,
    /// Prefix that takes its place.
    pub to: String,
    /// Request headers that hold unless the caller sends them.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// HTTP methods whose requests get them; empty: all.
    #[serde(default)]
    pub methods: Vec<String>,
}

/// A provider of models.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// How to speak to it.
    pub kind: ProviderKind,
    /// Where it is; default: the provider's own address.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Its key; default: none.
    #[serde(default)]
    pub api_key: Option<SecretString>,
}

/// How to speak to a provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderKind {
    /// The chat completions of OpenAI, and all that are compatible.
    Openai,
    /// Anthropic.
    Anthropic,
    /// Gemini.
    Gemini,
    /// Ollama.
    Ollama,
}

impl ProviderKind {
    /// The provider as the GenAI conventions name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Openai => "openai",
            Self::Anthropic => "anthropic",
            Self::Gemini => "gcp.gemini",
            Self::Ollama => "ollama",
        }
    }
}

impl Config {
    /// Reads the defaults, then the file, then the environment.
    ///
    /// # Errors
    /// All mistakes, one a line.
    pub fn load(file: Option<&Path>) -> Result<Self, String> {
        let mut figment = Figment::from(Toml::string(DEFAULTS));
        if let Some(path) = file {
            if !path.exists() {
                return Err(format!("{} does not exist", path.display()));
            }
            figment = figment.merge(Toml::string(&text(path)?));
        }
        Self::read(figment.merge(Env::prefixed("RUNPLANE__").split("__")))
    }

    /// The defaults with these changes, in TOML; for programs that embed the server.
    ///
    /// # Errors
    /// All mistakes, one a line.
    pub fn with(changes: &str) -> Result<Self, String> {
        Self::read(Figment::from(Toml::string(DEFAULTS)).merge(Toml::string(changes)))
    }

    /// The keys whose values are others in another reading, with dots between their parts.
    #[must_use]
    pub fn changed(&self, other: &Self) -> Vec<String> {
        self.given.changed(&other.given)
    }

    fn read(figment: Figment) -> Result<Self, String> {
        let mut given: Dict = figment.extract().map_err(|e| e.to_string())?;
        let defaults = Figment::from(Toml::string(DEFAULTS)).extract();
        let defaults: Dict = defaults.map_err(|e: figment::Error| e.to_string())?;
        let mut mistakes = secrets::read(&mut given, &defaults);
        let (config, wrong) = lenient(given.clone(), &defaults);
        mistakes.extend(wrong);
        mistakes.extend(config.iter().flat_map(Self::mistakes));
        match config {
            Some(config) if mistakes.is_empty() => Ok(Self { given: Given(given), ..config }),
            _ => Err(mistakes.join("\n")),
        }
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut check = |right: bool, what: String| {
            if !right {
                mistakes.push(what);
            }
        };
        self.server.check(&mut check);
        self.tls.check(&mut check);
        check(
            !self.server.require_https
                || self.tls.is_on()
                || !self.server.trusted_proxies.is_empty(),
            "server.require_https refuses every call without tls.certificate or \
             server.trusted_proxies"
                .into(),
        );
        self.store.check(&mut check);
        self.engine.check(&mut check);
        self.retention.check(&mut check);
        check(
            self.server.role == Role::All || !self.store.url.starts_with("sqlite:"),
            "server.role must be all on SQLite, which one process has for itself".into(),
        );
        self.redis.check(&mut check);
        self.log.check(&mut check);
        self.limits.check(&self.plans, &mut check);
        self.admin.check(&mut check);
        self.telemetry.check(&mut check);
        for alias in &self.rest.alias {
            check(
                alias.prefix.starts_with('/') && alias.to.starts_with('/'),
                format!(
                    "rest.alias {} must begin with / and so must what it stands for",
                    alias.prefix
                ),
            );
        }
        for (name, target) in &self.models {
            let known = target.split_once('/').is_some_and(|(p, _)| self.providers.contains_key(p));
            check(
                known,
                format!("models.{name} is {target}, must be PROVIDER/MODEL of a known provider"),
            );
        }
        mistakes
    }
}

/// The text of the file. What is wrong with it is told by its place, for a line may hold a secret.
fn text(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    match text.parse::<toml::Table>() {
        Ok(_) => Ok(text),
        Err(error) => {
            let before = &text[..error.span().map_or(0, |span| span.start.min(text.len()))];
            let line = before.matches('\n').count() + 1;
            Err(format!("{shown}, line {line}: {}", error.message()))
        }
    }
}

/// Reads values, each wrong one as its default, so that one mistake does not hide the next. What
/// was wrong is told with it.
fn lenient(mut values: Dict, defaults: &Dict) -> (Option<Config>, Vec<String>) {
    let mut mistakes = Vec::new();
    while mistakes.len() < MISTAKES_MAX {
        let error = match Figment::from(Serialized::globals(&values)).extract() {
            Ok(config) => return (Some(config), mistakes),
            Err(error) => error,
        };
        mistakes.push(format!("{}: {}", error.path.join("."), secrets::told(&error)));
        if !mend(&mut values, defaults, &error.path) {
            break;
        }
    }
    (None, mistakes)
}

/// Puts the default in the place of a value, or takes it away; false when it is not there.
fn mend(values: &mut Dict, defaults: &Dict, path: &[String]) -> bool {
    let Some((name, rest)) = path.split_first() else { return false };
    if let (false, Some(Value::Dict(_, inner))) = (rest.is_empty(), values.get_mut(name)) {
        let none = Dict::new();
        let defaults = defaults.get(name).and_then(Value::as_dict).unwrap_or(&none);
        return mend(inner, defaults, rest);
    }
    match defaults.get(name) {
        Some(default) => values.insert(name.clone(), default.clone()).is_some(),
        None => values.remove(name).is_some(),
    }
}

/// A provider's key as its own tools name it in the environment (`OPENAI_API_KEY`…), for the demo.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn provider_key(name: &str) -> Option<SecretString> {
    let variable = format!("{}_API_KEY", name.to_ascii_uppercase());
    std::env::var(variable).ok().filter(|key| !key.is_empty()).map(SecretString::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_a_whole_configuration() {
        let config = Config::with("").unwrap();
        assert_eq!(config.rest.alias.len(), 2);
        assert_eq!(config.providers["openai"].kind, ProviderKind::Openai);
    }

    #[test]
    fn all_mistakes_are_told_together() {
        let changes = "[server]\nidle_seconds_max = 0\n[store]\nurl = \"mysql://\"\n\
            [engine]\npoll_ms = 0\n";
        let mistakes = Config::with(changes).unwrap_err();
        for name in ["server.idle_seconds_max", "store.url", "engine.poll_ms"] {
            assert!(mistakes.contains(name), "{mistakes}");
        }
    }

    #[test]
    fn one_mistake_does_not_hide_another() {
        let changes = "[server]\nlisten = 7\nlissten = \"x\"\ndrain_seconds = \"soon\"\n\
            [engine]\npoll_ms = 0\n[models]\nfast = 1\n[[rest.alias]]\nprefix = 1\n";
        let mistakes = Config::with(changes).unwrap_err();
        let told: Vec<&str> =
            mistakes.lines().map(|l| l.split([':', ' ']).next().unwrap()).collect();
        for name in ["server.listen", "server.lissten", "server.drain_seconds", "engine.poll_ms"] {
            assert!(told.contains(&name), "{name}: {mistakes}");
        }
        assert!(told.contains(&"models.fast") && mistakes.contains("rest.alias"), "{mistakes}");
    }

    #[test]
    fn an_unknown_key_is_a_mistake() {
        let mistakes = Config::with("[server]\nlissten = \"x\"\n").unwrap_err();
        assert!(mistakes.contains("lissten"), "{mistakes}");
    }

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        let origins = |list: &str| Config::with(&format!("[server]\ncors_origins = [{list}]"));
        let right = r#""*", "https://a.example", "http://[::1]:3000", "chrome-extension://abc""#;
        assert_eq!(origins(right).map(|c| c.server.cors_origins.len()), Ok(4));
        for odd in ["null", "", "a.example", "https://a.example/", "https://A.example", "https://"]
            .into_iter()
            .chain(["https://a.example:443", "http://*.example", "http://a, http://b"])
        {
            let mistakes = origins(&format!("{odd:?}")).unwrap_err();
            assert!(mistakes.contains("server.cors_origins"), "{odd}: {mistakes}");
        }
    }

    #[test]
    fn https_needs_somebody_who_speaks_it() {
        let told = |changes: &str| Config::with(changes).unwrap_err();
        assert!(told("[server]\nrequire_https = true").contains("server.require_https"));
        assert!(told("[server]\ntrusted_proxies = [\"10.0.0\"]").contains("trusted_proxies"));
        let mapped = "[server]\ntrusted_proxies = [\"::ffff:10.0.0.0/104\"]";
        assert!(told(mapped).contains("server.trusted_proxies"));
        assert!(told("[tls]\ncertificate = \"a.pem\"").contains("tls.key"));
        assert!(told("[tls]\nclient_ca = \"a.pem\"").contains("tls.client_ca"));
        assert!(told("[tls]\nreload_seconds = 0").contains("tls.reload_seconds"));
        assert!(told("[tls]\nclient_auth = \"maybe\"").contains("tls.client_auth"));
        let proxied = "[server]\nrequire_https = true\ntrusted_proxies = [\"::1/128\"]";
        assert!(!Config::with(proxied).unwrap().tls.is_on());
        let own = "[server]\nrequire_https = true\n[tls]\ncertificate = \"a\"\nkey = \"b\"";
        assert!(Config::with(own).unwrap().tls.is_on());
    }

    #[test]
    fn secrets_do_not_print() {
        let config = Config::with("[auth]\npepper = \"hunter2\"\n").unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

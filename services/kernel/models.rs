//! Which model a name stands for: `sim`, an alias of `[models]`, or `provider/model`. Asked when an
//! agent is written and when a run calls its model, so both say the same. Never speaks to a
//! provider.

use std::collections::BTreeMap;

use super::config::{ProviderConfig, ProviderKind};
use super::error::{Error, Result};

/// The name of the scripted model.
pub const SIM: &str = "sim";

/// The aliases and the providers that the operator configured.
#[derive(Debug, Clone, Default)]
pub struct ModelTable {
    models: BTreeMap<String, String>,
    providers: BTreeMap<String, ProviderConfig>,
}

/// What a model's name stands for.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    /// The scripted model of the agent itself.
    Sim,
    /// A model of a provider.
    Provider {
        /// Name of the provider.
        name: &'a str,
        /// How to reach it.
        provider: &'a ProviderConfig,
        /// Name of the model, in the provider's words.
        model: &'a str,
    },
}

impl ModelTable {
    /// The table of `[models]` and `[providers]`.
    #[must_use]
    pub fn new(
        models: BTreeMap<String, String>,
        providers: BTreeMap<String, ProviderConfig>,
    ) -> Self {
        Self { models, providers }
    }

    /// What the name stands for.
    ///
    /// # Errors
    /// `invalid_field` for `model`, naming what there is, or which key is missing.
    pub fn resolve<'a>(&'a self, name: &'a str) -> Result<Target<'a>> {
        if name == SIM {
            return Ok(Target::Sim);
        }
        let full = self.models.get(name).map_or(name, String::as_str);
        let Some((provider, model)) = full.split_once('/').filter(|(_, model)| !model.is_empty())
        else {
            return Err(self.unknown(name));
        };
        let Some((provider, config)) = self.providers.get_key_value(provider) else {
            return Err(self.unknown_provider(provider));
        };
        if needs_key(config) && config.api_key.is_none() {
            let key = format!("providers.{provider}.api_key");
            return Err(field(format!("provider {provider} has no key; the operator sets {key}")));
        }
        Ok(Target::Provider { name: provider, provider: config, model })
    }

    /// Fails when no run could call this model.
    ///
    /// # Errors
    /// As [`ModelTable::resolve`].
    pub fn check(&self, name: &str) -> Result<()> {
        self.resolve(name).map(|_| ())
    }

    fn unknown(&self, name: &str) -> Error {
        let aliases = listed(self.models.keys());
        field(format!("no model {name}; use sim, PROVIDER/MODEL or one of: {aliases}"))
    }

    fn unknown_provider(&self, name: &str) -> Error {
        field(format!("no provider {name}; there is: {}", listed(self.providers.keys())))
    }
}

/// Ollama and servers at an address of the operator's own may do without a key.
fn needs_key(provider: &ProviderConfig) -> bool {
    match provider.kind {
        ProviderKind::Ollama => false,
        ProviderKind::Openai => provider.base_url.is_none(),
        ProviderKind::Anthropic | ProviderKind::Gemini => true,
    }
}

fn field(message: String) -> Error {
    Error::field("model", message)
}

fn listed<'a>(names: impl Iterator<Item = &'a String>) -> String {
    let names: Vec<&str> = names.map(String::as_str).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> ModelTable {
        let provider = |kind, base_url: Option<&str>, key: Option<&str>| ProviderConfig {
            kind,
            base_url: base_url.map(str::to_owned),
            api_key: key.map(|key| key.to_owned().into()),
        };
        ModelTable::new(
            BTreeMap::from([("fast".to_owned(), "openai/gpt-mini".to_owned())]),
            BTreeMap::from([
                ("openai".to_owned(), provider(ProviderKind::Openai, None, Some("k"))),
                ("vllm".to_owned(), provider(ProviderKind::Openai, Some("http://v/v1"), None)),
                ("anthropic".to_owned(), provider(ProviderKind::Anthropic, None, None)),
            ]),
        )
    }

    #[test]
    fn an_alias_and_a_full_name_find_their_provider() {
        let table = table();
        for (name, expected) in [("fast", "gpt-mini"), ("vllm/org/llama", "org/llama")] {
            let Ok(Target::Provider { model, .. }) = table.resolve(name) else { panic!("{name}") };
            assert_eq!(model, expected);
        }
        assert!(matches!(table.resolve("sim"), Ok(Target::Sim)));
    }

    #[test]
    fn a_model_that_cannot_be_called_is_refused_with_what_there_is() {
        let table = table();
        for (name, words) in [
            ("slow", "fast"),
            ("nobody/x", "anthropic, openai, vllm"),
            ("openai/", "PROVIDER/MODEL"),
            ("anthropic/claude", "providers.anthropic.api_key"),
        ] {
            let error = table.check(name).unwrap_err();
            assert!(error.message.contains(words), "{name}: {}", error.message);
            assert_eq!(error.fact("field"), Some("model"));
        }
    }
}

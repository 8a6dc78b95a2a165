//! The models that metrics name: agents' authors write what they like there, and each new name would
//! be series of its own for as long as the process lives. Used by `meters.rs` alone.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Most names.
const MODELS_MAX: usize = 100;
/// What stands for all others.
const OTHER: &str = "other";

/// The names so far.
#[derive(Default)]
pub(super) struct Models(Mutex<BTreeSet<String>>);

impl Models {
    /// The model, or what stands for it.
    pub(super) fn named(&self, model: &str) -> String {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(model) {
            return model.to_owned();
        }
        if known.len() >= MODELS_MAX {
            return OTHER.to_owned();
        }
        known.insert(model.to_owned());
        model.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Asked, Meters};
    use super::*;
    use crate::kernel::config::Config;

    #[tokio::test]
    async fn the_first_hundred_models_have_their_names_and_all_others_one() {
        let meters = Meters::new(&Config::with("[admin]\nlisten = '127.0.0.1:0'\n").unwrap());
        let ask = |model: &str| {
            let (error, time, tokens) = (None, Duration::ZERO, None);
            meters.asked(&Asked { provider: "openai", model, error, time, tokens });
        };
        for number in 0..3 * MODELS_MAX {
            ask(&format!("m{number}"));
        }
        ask("m0");
        let page = meters.page().await;
        let counts = page.lines().filter(|line| line.contains("operation_duration_seconds_count"));
        let counts: Vec<&str> = counts.collect();
        assert_eq!(counts.len(), MODELS_MAX + 1, "{counts:#?}");
        let count = |model: &str| {
            let name = format!("gen_ai_request_model=\"{model}\"");
            let line = counts.iter().find(|line| line.contains(&name)).expect("a line");
            line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()
        };
        assert_eq!((count("m0"), count("m99"), count(OTHER)), (2.0, 1.0, 200.0));
    }
}

//! What tests do to the program: end it at a named point, take a guard out, lose the answer of a
//! transaction. Only builds with the feature `faults` can; in all others each of these is nothing.
//! Told by the variable `RUNPLANE_FAULTS`, words with commas between: `crash:POINT:N` ends the
//! process as `kill -9` would at the N-th time it comes there, `without:GUARD` takes a guard out,
//! `with:PART` adds a part that no version has yet,
//! `ambiguous:PERCENT` commits so many transactions and then says that the database is away.

/// True when a guard is taken out: the checker of the tests must notice.
#[must_use]
pub fn without(guard: &'static str) -> bool {
    told::without(guard)
}

/// True when a part is added that no version has yet.
#[cfg(feature = "faults")]
#[must_use]
pub fn with(part: &'static str) -> bool {
    told::with(part)
}

/// Ends the process here, when that is asked for.
pub fn point(name: &'static str) {
    told::point(name);
}

/// Does something during which the process may end: it comes to the point when this takes longer
/// than a moment.
pub async fn during<T>(name: &'static str, work: impl Future<Output = T>) -> T {
    told::during(name, work).await
}

/// Does something, and loses the answers of the first transactions in it.
#[cfg(feature = "faults")]
pub async fn losing<T>(answers: u32, work: impl Future<Output = T>) -> T {
    told::LOSING.scope(std::cell::Cell::new(answers), work).await
}

/// True when the answer to a transaction that was committed is to be lost.
#[must_use]
pub fn is_answer_lost() -> bool {
    told::is_answer_lost()
}

#[cfg(not(feature = "faults"))]
mod told {
    pub(super) fn without(_guard: &'static str) -> bool {
        false
    }

    pub(super) fn point(_name: &'static str) {}

    pub(super) async fn during<T>(_name: &'static str, work: impl Future<Output = T>) -> T {
        work.await
    }

    pub(super) fn is_answer_lost() -> bool {
        false
    }
}

#[cfg(feature = "faults")]
mod told {
    use std::cell::Cell;
    use std::collections::{HashMap, HashSet};
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::time::Duration;

    /// Long enough for a request to go out.
    const MOMENT: Duration = Duration::from_millis(15);

    tokio::task_local! {
        /// Answers that are still to be lost in this task.
        pub(super) static LOSING: Cell<u32>;
    }

    #[derive(Default)]
    struct Told {
        /// Times that are left until the process ends at a point.
        crashes: HashMap<String, AtomicU32>,
        without: HashSet<String>,
        with: HashSet<String>,
        ambiguous_percent: u32,
    }

    #[expect(clippy::disallowed_methods, reason = "in test builds only, and no configuration")]
    static TOLD: LazyLock<Told> =
        LazyLock::new(|| read(&std::env::var("RUNPLANE_FAULTS").unwrap_or_default()));

    fn read(text: &str) -> Told {
        let mut told = Told::default();
        for word in text.split(',').filter(|word| !word.is_empty()) {
            match word.split(':').collect::<Vec<_>>()[..] {
                ["crash", point, n] => {
                    let n = AtomicU32::new(n.parse().unwrap_or(1));
                    told.crashes.insert(point.to_owned(), n);
                }
                ["without", guard] => {
                    told.without.insert(guard.to_owned());
                }
                ["with", part] => {
                    told.with.insert(part.to_owned());
                }
                ["ambiguous", percent] => told.ambiguous_percent = percent.parse().unwrap_or(0),
                _ => tracing::error!(word, "RUNPLANE_FAULTS has a word that means nothing"),
            }
        }
        told
    }

    pub(super) fn without(guard: &'static str) -> bool {
        TOLD.without.contains(guard)
    }

    pub(super) fn with(part: &'static str) -> bool {
        TOLD.with.contains(part)
    }

    pub(super) fn point(name: &'static str) {
        let Some(left) = TOLD.crashes.get(name) else { return };
        if left.fetch_sub(1, Ordering::Relaxed) == 1 {
            eprintln!("crash:{name}");
            // As `kill -9` would: nothing runs on, nothing is cleaned up.
            std::process::abort();
        }
    }

    pub(super) async fn during<T>(name: &'static str, work: impl Future<Output = T>) -> T {
        if !TOLD.crashes.contains_key(name) {
            return work.await;
        }
        let mut work = std::pin::pin!(work);
        tokio::select! {
            biased;
            done = &mut work => return done,
            () = tokio::time::sleep(MOMENT) => point(name),
        }
        work.await
    }

    pub(super) fn is_answer_lost() -> bool {
        let asked = LOSING.try_with(|left| left.replace(left.get().saturating_sub(1)) > 0);
        if asked.unwrap_or(false) {
            return true;
        }
        let percent = TOLD.ambiguous_percent;
        percent > 0 && rand::random_range(0..100) < percent
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn faults_are_read_from_words() {
            let told = read("crash:after_claim:3,without:epoch,ambiguous:5,with:newer,odd");
            assert_eq!(told.crashes["after_claim"].load(Ordering::Relaxed), 3);
            assert!(told.without.contains("epoch") && told.with.contains("newer"));
            assert_eq!(told.ambiguous_percent, 5);
        }
    }
}

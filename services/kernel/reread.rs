//! A value that is replaced while others use it: what of the configuration is read again. Whoever
//! uses it takes what it is now, and keeps that to the end of what it does.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

/// A value that may be replaced. Clones share it.
pub struct Reread<T>(Arc<RwLock<Arc<T>>>);

impl<T> Reread<T> {
    /// What it is now.
    #[must_use]
    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on it is this.
    pub fn set(&self, value: Arc<T>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }
}

impl<T> From<T> for Reread<T> {
    fn from(value: T) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(value))))
    }
}

impl<T> Clone for Reread<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Reread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

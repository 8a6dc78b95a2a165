//! The owner of rows, in SQL: every question narrows to it first. Used by the questions alone.

use sea_orm::{ColumnTrait, QueryFilter, Select, UpdateMany};
use uuid::Uuid;

use super::tables::{agent, agent_version, api_key, run};
use crate::kernel::{Environment, Error, Result, Scope};

/// A question that is narrowed to the rows of an owner.
pub(super) trait Owned: QueryFilter {
    /// Only rows of this owner.
    #[must_use]
    fn owned(self, scope: Scope) -> Self;
}

macro_rules! owned {
    ($($table:ident)*) => {$(
        impl Owned for Select<$table::Entity> {
            fn owned(self, scope: Scope) -> Self {
                self.filter($table::Column::ProjectId.eq(scope.project))
                    .filter($table::Column::Environment.eq(scope.environment.as_str()))
            }
        }

        impl Owned for UpdateMany<$table::Entity> {
            fn owned(self, scope: Scope) -> Self {
                self.filter($table::Column::ProjectId.eq(scope.project))
                    .filter($table::Column::Environment.eq(scope.environment.as_str()))
            }
        }
    )*};
}

owned! { agent agent_version api_key run }

/// The owner that a row names.
pub(super) fn scope(project: Uuid, environment: &str) -> Result<Scope> {
    let environment = Environment::parse(environment).ok_or_else(|| {
        Error::internal(format!("a row has the environment {environment}, which does not exist"))
    })?;
    Ok(Scope { project, environment })
}

/// Writes the owner into a row.
pub(super) fn set(project: &mut Uuid, environment: &mut String, scope: Scope) {
    *project = scope.project;
    scope.environment.as_str().clone_into(environment);
}

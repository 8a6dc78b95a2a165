//! What the configuration says of the REST door. Used by `serve` alone.

use http::{HeaderName, HeaderValue};

use crate::gateway::rest::TranscoderOptions;
use crate::gateway::rest::alias::Alias;
use crate::kernel::config::{AliasConfig, Config};
use crate::kernel::{Error, Result, json};

/// The limits and habits of the transcoder.
pub(super) fn options(config: &Config) -> Result<TranscoderOptions> {
    let aliases = config.rest.alias.iter().map(alias).collect::<Result<_>>()?;
    let body_bytes_max = config.server.body_bytes_max;
    let json_depth_max = json::DEPTH_MAX;
    let (query_ignored, ignore_unknown) =
        (config.rest.query_ignored.clone(), config.rest.ignore_unknown);
    Ok(TranscoderOptions {
        body_bytes_max,
        json_depth_max,
        query_ignored,
        ignore_unknown,
        aliases,
        ..Default::default()
    })
}

fn alias(alias: &AliasConfig) -> Result<Alias> {
    let headers = alias.headers.iter().map(|(name, value)| {
        let name = HeaderName::try_from(name.as_str()).map_err(Error::internal)?;
        Ok((name, HeaderValue::try_from(value.as_str()).map_err(Error::internal)?))
    });
    let (prefix, to) = (alias.prefix.clone(), alias.to.clone());
    let methods = alias.methods.iter().map(|name| name.parse().map_err(Error::internal));
    let (headers, methods) = (headers.collect::<Result<_>>()?, methods.collect::<Result<_>>()?);
    Ok(Alias { prefix, to, headers, methods })
}

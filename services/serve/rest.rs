//! What the configuration says of the REST door. Used by `serve` alone.

use http::{HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;

use crate::gateway::rest::TranscoderOptions;
use crate::gateway::rest::alias::Alias;
use crate::kernel::config::{AliasConfig, Config};
use crate::kernel::{Error, Result, json};

/// After how long a caller whose stream has broken off shall come back.
const RETRY_MS: u64 = 1000;

/// The limits and habits of the transcoder, whose streams end with the port.
pub(super) fn options(config: &Config, ending: &CancellationToken) -> Result<TranscoderOptions> {
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
        ending: ending.clone(),
        retry_ms: RETRY_MS,
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

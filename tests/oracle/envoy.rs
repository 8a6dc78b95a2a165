//! Envoy with its JSON transcoder in front of a gRPC server: the oracle's other side, and a rival
//! of `benches`, which includes this file. Loopback only, ports that the system chooses.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// What an Envoy is started with.
pub(crate) struct Setup<'a> {
    /// The program.
    pub(crate) program: &'a Path,
    /// A folder of its own.
    pub(crate) folder: PathBuf,
    /// Encoded descriptors of the services.
    pub(crate) descriptors: &'a [u8],
    /// Full names of the services.
    pub(crate) services: &'a [&'a str],
    /// The gRPC server, which speaks HTTP/2 without TLS.
    pub(crate) upstream: SocketAddr,
    /// Options of the transcoder: members of `GrpcJsonTranscoder`.
    pub(crate) options: Value,
}

/// A running Envoy; it ends when this is dropped.
pub(crate) struct Envoy {
    /// Where it serves HTTP.
    pub(crate) address: SocketAddr,
    /// Its process.
    pub(crate) process: Child,
}

impl Envoy {
    /// Starts one and waits until it serves.
    pub(crate) async fn start(setup: &Setup<'_>) -> io::Result<Self> {
        std::fs::create_dir_all(&setup.folder)?;
        let config = setup.folder.join("envoy.json");
        let descriptors = setup.folder.join("descriptors.bin");
        std::fs::write(&descriptors, setup.descriptors)?;
        std::fs::write(&config, setup.config(&descriptors).to_string())?;
        let mut process = Command::new(setup.program)
            .arg("--config-path")
            .arg(&config)
            .args(["--concurrency", "1", "--disable-hot-restart", "--log-format", "%v"])
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let admin = ready(&mut process).await?;
        // Nobody reads its log from here on.
        ask(&admin, "POST /logging?level=off").await?;
        let address = listener(&ask(&admin, "GET /listeners?format=json").await?)?;
        Ok(Self { address, process })
    }
}

impl Setup<'_> {
    fn config(&self, descriptors: &Path) -> Value {
        let loopback =
            |port: u16| json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        let filter = |name: &str, kind: &str, mut config: Value| {
            let kind = format!("type.googleapis.com/envoy.extensions.filters.{kind}");
            config["@type"] = kind.into();
            json!({"name": name, "typed_config": config})
        };
        let mut transcoder = self.options.clone();
        transcoder["proto_descriptor"] = descriptors.to_string_lossy().into();
        transcoder["services"] = json!(self.services);
        let route =
            json!({"match": {"prefix": "/"}, "route": {"cluster": "grpc", "timeout": "0s"}});
        let http = json!({
            "stat_prefix": "rest",
            // Else it keeps a connection that it has closed for a second.
            "delayed_close_timeout": "0s",
            "route_config": {"virtual_hosts": [{
                "name": "all",
                "domains": ["*"],
                "routes": [route],
            }]},
            "http_filters": [
                filter("transcoder", "http.grpc_json_transcoder.v3.GrpcJsonTranscoder", transcoder),
                filter("router", "http.router.v3.Router", json!({})),
            ],
        });
        let manager = "network.http_connection_manager.v3.HttpConnectionManager";
        let chain = json!({"filters": [filter("http", manager, http)]});
        let endpoint = json!({"endpoint": {"address": loopback(self.upstream.port())}});
        let endpoints = json!([{"lb_endpoints": [endpoint]}]);
        let http2 = json!({
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        });
        let cluster = json!({
            "name": "grpc",
            "type": "STATIC",
            "connect_timeout": "5s",
            "load_assignment": {"cluster_name": "grpc", "endpoints": endpoints},
            "typed_extension_protocol_options": {
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2,
            },
        });
        json!({
            "admin": {"address": loopback(0)},
            "static_resources": {
                "listeners": [{"name": "rest", "address": loopback(0), "filter_chains": [chain]}],
                "clusters": [cluster],
            },
        })
    }
}

/// Waits until the process serves; the address of its administration.
async fn ready(process: &mut Child) -> io::Result<String> {
    let log = process.stderr.take().ok_or_else(|| io::Error::other("no standard error"))?;
    let mut lines = BufReader::new(log).lines();
    let (mut admin, mut last) = (String::new(), String::new());
    while let Some(line) = lines.next_line().await? {
        if let Some(address) = line.strip_prefix("admin address: ") {
            admin = address.to_owned();
        }
        if line.contains("starting main dispatch loop") {
            return Ok(admin);
        }
        last = line;
    }
    Err(io::Error::other(format!("Envoy did not start: {last}")))
}

/// A question to its administration.
async fn ask(admin: &str, line: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("{line} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

/// The address of the only listener.
fn listener(answer: &str) -> io::Result<SocketAddr> {
    let document = answer.find('{').zip(answer.rfind('}')).and_then(|(from, to)| {
        let parsed: Value = serde_json::from_str(answer.get(from..=to)?).ok()?;
        let port = parsed["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]
            .as_u64()?;
        u16::try_from(port).ok()
    });
    let port = document.ok_or_else(|| io::Error::other(format!("no listener in {answer}")))?;
    Ok(SocketAddr::from(([127, 0, 0, 1], port)))
}

//! The probe: a service that answers with what it was asked, generated from `probe.proto` as the
//! contract is from its own files. The tests of the transcoder and of the codec talk to it; nothing
//! here knows the product.

#![expect(clippy::unwrap_used, unreachable_pub, reason = "tests")]

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::{Stream, StreamExt, stream};
use runplane::kernel::{Error, Reason};
use tonic::{Request, Response, Status, async_trait, metadata::KeyAndValueRef};

pub use generated::*;

use self::probe::v1::{
    Color, Echo, Event, Nested, Probe, event::Data, probe_service_server::ProbeService,
};

#[expect(
    clippy::allow_attributes,
    reason = "which lints hold in generated code depends on the features"
)]
#[allow(dead_code, missing_docs, clippy::all, clippy::excessive_nesting, clippy::too_many_lines)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/probe/mod.rs"));

    pub mod json {
        include!(concat!(env!("OUT_DIR"), "/probe/json.rs"));
    }

    pub mod rest {
        include!(concat!(env!("OUT_DIR"), "/probe/rest.rs"));
    }
}

/// The service. Its streams do what the request's name says.
#[derive(Debug, Default, Clone)]
pub struct Prober {
    /// True once a silent stream was dropped.
    pub dropped: Arc<AtomicBool>,
}

type Streaming<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T = Echo> = Result<Response<T>, Status>;

/// Tells when it goes.
struct Tell(Arc<AtomicBool>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn echo(method: &str, request: Request<Probe>) -> Answer {
    let text = |entry| match entry {
        KeyAndValueRef::Ascii(key, value) => {
            Some((key.to_string(), value.to_str().unwrap_or_default().to_owned()))
        }
        KeyAndValueRef::Binary(key, value) => {
            Some((key.to_string(), format!("{:?}", value.to_bytes().unwrap_or_default().to_vec())))
        }
    };
    let metadata: BTreeMap<_, _> = request.metadata().iter().filter_map(text).collect();
    let probe = Some(request.into_inner());
    let mut response = Response::new(Echo { probe, method: method.to_owned(), metadata });
    let answered = response.metadata_mut();
    answered.insert("x-answered", "yes".parse().unwrap());
    answered.insert("grpc-encoding", "gzip".parse().unwrap());
    answered.insert("connection", "x-dropped".parse().unwrap());
    answered.insert("x-dropped", "yes".parse().unwrap());
    answered.insert_bin("x-trace-bin", tonic::metadata::MetadataValue::from_bytes(b"\xff"));
    Ok(response)
}

fn step(number: i32) -> Result<Event, Status> {
    let data = Data::Step(Nested { number: Some(number), ..Nested::default() });
    Ok(Event { id: number.to_string(), r#type: "step".to_owned(), data: Some(data) })
}

fn failed(reason: Reason) -> Status {
    Error::new(reason, "the probe was asked to fail").with("asked", "yes").into()
}

#[async_trait]
impl ProbeService for Prober {
    type WatchStream = Streaming<Event>;
    type PlainStream = Streaming<Nested>;

    async fn root(&self, request: Request<Probe>) -> Answer {
        echo("root", request)
    }

    async fn get(&self, request: Request<Probe>) -> Answer {
        echo("get", request)
    }

    async fn get_fixed(&self, request: Request<Probe>) -> Answer {
        echo("get_fixed", request)
    }

    async fn archive(&self, request: Request<Probe>) -> Answer {
        echo("archive", request)
    }

    async fn delete(&self, _: Request<Probe>) -> Answer<()> {
        Ok(Response::new(()))
    }

    async fn touch(&self, _: Request<()>) -> Answer<()> {
        Ok(Response::new(()))
    }

    async fn get_file(&self, request: Request<Probe>) -> Answer {
        echo("get_file", request)
    }

    async fn get_file_meta(&self, request: Request<Probe>) -> Answer {
        echo("get_file_meta", request)
    }

    async fn dump_file(&self, request: Request<Probe>) -> Answer {
        echo("dump_file", request)
    }

    async fn get_book(&self, request: Request<Probe>) -> Answer {
        echo("get_book", request)
    }

    async fn get_nested(&self, request: Request<Probe>) -> Answer {
        echo("get_nested", request)
    }

    async fn get_kinds(&self, request: Request<Probe>) -> Answer {
        echo("get_kinds", request)
    }

    async fn create(&self, request: Request<Probe>) -> Answer {
        echo("create", request)
    }

    async fn create_nested(&self, request: Request<Probe>) -> Answer {
        echo("create_nested", request)
    }

    async fn create_tags(&self, request: Request<Probe>) -> Answer {
        echo("create_tags", request)
    }

    async fn create_branch(&self, request: Request<Probe>) -> Answer {
        echo("create_branch", request)
    }

    async fn update(&self, request: Request<Probe>) -> Answer {
        echo("update", request)
    }

    async fn list_tags(&self, request: Request<Probe>) -> Answer<Probe> {
        Ok(Response::new(request.into_inner()))
    }

    async fn work(&self, request: Request<Probe>) -> Answer<Probe> {
        Ok(Response::new(request.into_inner()))
    }

    async fn ask(&self, request: Request<Probe>) -> Answer {
        echo("ask", request)
    }

    async fn watch(&self, request: Request<Probe>) -> Answer<Self::WatchStream> {
        let tell = Tell(Arc::clone(&self.dropped));
        let probe = request.into_inner();
        let silence = stream::pending().inspect(move |_: &Result<Event, Status>| {
            let _held = &tell;
        });
        let items: Streaming<Event> = match probe.name.as_str() {
            "refused" => return Err(failed(Reason::RateLimited)),
            "early" => stream::iter([Err(failed(Reason::NameTaken))]).boxed(),
            "late" => stream::iter([step(1), Err(failed(Reason::ModelError)), step(2)]).boxed(),
            "empty" => stream::empty().boxed(),
            "silent" => silence.boxed(),
            "started" => stream::iter([step(1)]).chain(silence).boxed(),
            "bare" => stream::iter([Ok(Event::default())]).boxed(),
            "sly" => {
                let nested =
                    Nested { display_name: "a\nb\r\n\ndata: c".to_owned(), ..Nested::default() };
                let id = "1\ndata: x\0".to_owned();
                let r#type = "a\r\nid: 2".to_owned();
                stream::iter([Ok(Event { id, r#type, data: Some(Data::Step(nested)) })]).boxed()
            }
            _ => {
                let done = Echo { probe: Some(probe), ..Echo::default() };
                let done = Event {
                    id: String::new(),
                    r#type: "done".to_owned(),
                    data: Some(Data::Done(done)),
                };
                stream::iter([step(1), step(2), Ok(done)]).boxed()
            }
        };
        let mut response = Response::new(items);
        response.metadata_mut().insert("x-answered", "yes".parse().unwrap());
        Ok(response)
    }

    async fn plain(&self, _: Request<Probe>) -> Answer<Self::PlainStream> {
        let item = |name: &str| Ok(Nested { display_name: name.to_owned(), ..Nested::default() });
        Ok(Response::new(stream::iter([item("a"), item("b")]).boxed()))
    }

    async fn anything(&self, request: Request<Probe>) -> Answer {
        echo("anything", request)
    }

    async fn fail(&self, request: Request<Probe>) -> Answer {
        let name = request.into_inner().name;
        let mut status = match name.as_str() {
            "foreign" => return Err(tonic_status(Color::Red)),
            _ => failed(Reason::parse(&name).unwrap_or(Reason::InternalError)),
        };
        status.metadata_mut().insert("x-answered", "no".parse().unwrap());
        Err(status)
    }

    async fn hidden(&self, request: Request<Probe>) -> Answer {
        echo("hidden", request)
    }
}

/// A status that is not of our making.
fn tonic_status(color: Color) -> Status {
    Status::unavailable(format!("the upstream is {color:?}"))
}

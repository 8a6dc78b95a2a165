//! The service behind the probe. Included for each form of its generated types; answers with what
//! it was asked, and its streams do what the request's name says.

use std::{collections::BTreeMap, pin::Pin};

use futures::{Stream, StreamExt, stream};
use runplane::kernel::{Error, Reason};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming, async_trait, metadata::KeyAndValueRef};
use tonic_types::{ErrorDetails, HelpLink, StatusExt};

use super::generated::{
    google::api::HttpBody,
    probe::v1::{
        Blob, Color, Echo, Event, Nested, Probe, Uploaded, event::Data,
        probe_service_server::ProbeService,
    },
};

/// The service. Its streams do what the request's name says.
#[derive(Debug, Default, Clone)]
pub struct Prober {
    /// Cancelled once a silent stream was dropped.
    pub dropped: CancellationToken,
}

type Items<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;
type Answer<T = Echo> = Result<Response<T>, Status>;

/// Tells when it goes.
struct Tell(CancellationToken);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.cancel();
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
    type WatchStream = Items<Event>;
    type PlainStream = Items<Nested>;
    type ChatStream = Items<Event>;
    type GetRawsStream = Items<HttpBody>;
    type GetBlobsStream = Items<Blob>;
    type PlainPartsStream = Items<Nested>;

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
        let tell = Tell(self.dropped.clone());
        let probe = request.into_inner();
        let silence = stream::pending().inspect(move |_: &Result<Event, Status>| {
            let _held = &tell;
        });
        let items: Items<Event> = match probe.name.as_str() {
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
            "aborted" => return Err(Status::aborted("another was faster")),
            "percent" => return Err(Status::not_found("100% sure, \u{fc}ber %41 \"all\"")),
            "debug" => return Err(debug()),
            "slow" => std::future::pending().await,
            _ => failed(Reason::parse(&name).unwrap_or(Reason::InternalError)),
        };
        status.metadata_mut().insert("x-answered", "no".parse().unwrap());
        Err(status)
    }

    async fn upload(&self, request: Request<Streaming<Probe>>) -> Answer<Uploaded> {
        let mut documents = request.into_inner();
        let mut uploaded = Uploaded::default();
        while let Some(probe) = documents.message().await? {
            uploaded.messages += 1;
            uploaded.probes.push(probe);
        }
        Ok(Response::new(uploaded))
    }

    async fn chat(&self, request: Request<Streaming<Probe>>) -> Answer<Self::ChatStream> {
        let heard = request.into_inner().enumerate().map(|(index, probe)| {
            let id = index.to_string();
            let done = Echo { probe: Some(probe?), ..Echo::default() };
            Ok(Event { id, r#type: "heard".to_owned(), data: Some(Data::Done(done)) })
        });
        Ok(Response::new(heard.boxed()))
    }

    async fn put_raw(&self, request: Request<HttpBody>) -> Answer<Uploaded> {
        let mut uploaded = Uploaded::default();
        take(&mut uploaded, request.into_inner());
        Ok(Response::new(uploaded))
    }

    async fn put_blob(&self, request: Request<Blob>) -> Answer<Uploaded> {
        let mut uploaded = Uploaded::default();
        take_blob(&mut uploaded, request.into_inner());
        Ok(Response::new(uploaded))
    }

    async fn put_blobs(&self, request: Request<Streaming<Blob>>) -> Answer<Uploaded> {
        let mut blobs = request.into_inner();
        let mut uploaded = Uploaded::default();
        while let Some(blob) = blobs.message().await? {
            take_blob(&mut uploaded, blob);
        }
        Ok(Response::new(uploaded))
    }

    async fn get_raw(&self, request: Request<Blob>) -> Answer<HttpBody> {
        Ok(Response::new(bytes_of(&request.into_inner().name)))
    }

    async fn get_blob(&self, request: Request<Blob>) -> Answer<Blob> {
        let mut blob = request.into_inner();
        blob.file = Some(bytes_of(&blob.name));
        Ok(Response::new(blob))
    }

    async fn get_raws(&self, request: Request<Blob>) -> Answer<Self::GetRawsStream> {
        Ok(Response::new(pieces_of(request.into_inner()).boxed()))
    }

    async fn get_blobs(&self, request: Request<Blob>) -> Answer<Self::GetBlobsStream> {
        let blob =
            |file: Result<HttpBody, Status>| Ok(Blob { file: Some(file?), ..Blob::default() });
        Ok(Response::new(pieces_of(request.into_inner()).map(blob).boxed()))
    }

    async fn plain_parts(&self, _: Request<Probe>) -> Answer<Self::PlainPartsStream> {
        let item = |name: &str| {
            let inner = Nested { display_name: name.to_owned(), ..Nested::default() };
            let tags = vec![name.to_owned(); 2];
            Ok(Nested { tags, inner: Some(Box::new(inner)), ..Nested::default() })
        };
        let bare = Ok(Nested::default());
        Ok(Response::new(stream::iter([item("a"), bare, item("b")]).boxed()))
    }

    async fn get_member(&self, request: Request<Probe>) -> Answer<Probe> {
        Ok(Response::new(request.into_inner()))
    }

    async fn hidden(&self, request: Request<Probe>) -> Answer {
        echo("hidden", request)
    }

    async fn old(&self, request: Request<Probe>) -> Answer {
        echo("old", request)
    }
}

/// A failure that tells too much.
fn debug() -> Status {
    let mut details = ErrorDetails::with_debug_info(["secret.rs:1".to_owned()], "secret");
    details.set_help(vec![HelpLink { description: "how".to_owned(), url: "/help".to_owned() }]);
    Status::with_error_details(Code::FailedPrecondition, "not yet", details)
}

/// A status that is not of our making.
fn tonic_status(color: Color) -> Status {
    Status::unavailable(format!("the upstream is {color:?}"))
}

/// The bytes that a name stands for.
fn bytes_of(name: &str) -> HttpBody {
    let content_type = match name {
        "page" => "text/html; charset=utf-8",
        "sly" => "text/html\r\nx-evil: yes",
        "unnamed" => "",
        _ => "image/png",
    };
    HttpBody {
        content_type: content_type.to_owned(),
        data: name.to_owned().into(),
        ..HttpBody::default()
    }
}

/// The same in pieces; some fail, at once or after the first.
fn pieces_of(blob: Blob) -> impl Stream<Item = Result<HttpBody, Status>> + Send + 'static {
    let piece = |name: &str| Ok(bytes_of(name));
    match blob.name.as_str() {
        "early" => stream::iter(vec![Err(failed(Reason::NameTaken))]),
        "late" => stream::iter(vec![piece("page"), Err(failed(Reason::ModelError))]),
        "empty" => stream::iter(Vec::new()),
        name => stream::iter(vec![piece(name), piece("-"), piece(name)]),
    }
}

fn take(uploaded: &mut Uploaded, body: HttpBody) {
    uploaded.messages += 1;
    uploaded.content_type = body.content_type;
    uploaded.data.extend_from_slice(&body.data);
}

fn take_blob(uploaded: &mut Uploaded, blob: Blob) {
    take(uploaded, blob.file.unwrap_or_default());
    let probe = Probe { name: blob.name, r#type: blob.note, ..Probe::default() };
    uploaded.probes.push(probe);
}

//! A collector as far as a server sees it: OTLP over HTTP, decoded with the protocol's own types; and the real server
//! program beside it.

use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use gururmm_testkit::{ApiClient, TestDatabase};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use sqlx::ConnectOptions as _;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Addresses of this machine that no other test has ports of.
const COLLECTORS: [u8; 4] = [127, 9, 4, 1];
const PROGRAMS: [u8; 4] = [127, 9, 4, 2];
/// What starting and stopping may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where spans arrive.
pub struct Collector {
    pub address: SocketAddr,
    received: Received,
    task: JoinHandle<()>,
}

/// What came, whether the collector still runs or not.
#[derive(Clone, Default)]
pub struct Received(Arc<Mutex<Vec<(HeaderMap, ExportTraceServiceRequest, Bytes)>>>);

impl Collector {
    pub async fn start() -> Self {
        Self::start_at(SocketAddr::from((COLLECTORS, 0)), Received::default()).await
    }

    pub async fn start_at(address: SocketAddr, received: Received) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().route("/v1/traces", post(take)).with_state(received.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, received, task }
    }

    pub fn received(&self) -> Received {
        self.received.clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(received): State<Received>, headers: HeaderMap, body: Bytes) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    let request = ExportTraceServiceRequest::decode(body.clone()).unwrap();
    received.0.lock().unwrap().push((headers, request, body));
}

impl Received {
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.0.lock().unwrap().iter().map(|(headers, ..)| headers.clone()).collect()
    }

    /// What stands in the resource of everything that came.
    pub fn resource(&self) -> BTreeMap<String, String> {
        let received = self.0.lock().unwrap();
        let of_each = received.iter().flat_map(|(_, request, _)| &request.resource_spans);
        of_each.flat_map(|spans| attributes(&spans.resource.as_ref().unwrap().attributes)).collect()
    }

    /// All bytes that came, as text.
    pub fn text(&self) -> String {
        let received = self.0.lock().unwrap();
        received.iter().map(|(.., body)| String::from_utf8_lossy(body).into_owned()).collect()
    }

    pub fn spans(&self) -> Vec<Span> {
        let received = self.0.lock().unwrap();
        let resources = received.iter().flat_map(|(_, request, _)| request.resource_spans.clone());
        resources.flat_map(|resource| resource.scope_spans).flat_map(|scope| scope.spans).collect()
    }

    /// The first span with this attribute, once it is there.
    pub async fn with(&self, name: &str, key: &str, value: &str) -> Span {
        let found = |span: &Span| span.name == name && attribute(span, key).as_deref() == Some(value);
        gururmm_testkit::eventually(&format!("a span {name} with {key}={value}"), async || {
            self.spans().into_iter().find(found)
        })
        .await
    }

    /// The span of the request that was answered with this id.
    pub async fn of_request(&self, name: &str, answer: &gururmm_testkit::Answer) -> Span {
        self.with(name, "gururmm.request_id", answer.header("x-request-id").unwrap()).await
    }

    /// The spans right below this one.
    pub fn below(&self, parent: &Span) -> Vec<Span> {
        let is_below =
            |span: &Span| span.parent_span_id == parent.span_id && span.trace_id == parent.trace_id;
        self.spans().into_iter().filter(is_below).collect()
    }
}

pub fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &AnyValue| match value.value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::BoolValue(is) => is.to_string(),
        other => panic!("{other:?}"),
    };
    list.iter().map(|pair| (pair.key.clone(), text(pair.value.as_ref().unwrap()))).collect()
}

pub fn attribute(span: &Span, key: &str) -> Option<String> {
    attributes(&span.attributes).remove(key)
}

/// The server as operators run it, with a database full of people.
pub struct Program {
    child: Child,
    address: SocketAddr,
    metrics: ApiClient,
    log: Arc<Mutex<String>>,
    reading: JoinHandle<()>,
    _data: tempfile::TempDir,
    _database: TestDatabase,
}

impl Program {
    /// With these arguments and variables, traced to `collector`.
    pub async fn start(collector: SocketAddr, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let (database, data) = (TestDatabase::with_world().await, tempfile::tempdir().unwrap());
        // Where the metrics are is told by nobody: a port that was free a moment ago.
        let metrics =
            std::net::TcpListener::bind(SocketAddr::from((PROGRAMS, 0))).unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_gururmm-server"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--otlp-endpoint", &format!("http://{collector}")]);
        command
            .args(["--metrics-listen", &metrics.to_string(), "--data-dir"])
            .arg(data.path())
            .args(arguments);
        command.env("GURURMM_DATABASE_URL", database.owner_options().to_url_lossy().as_str());
        command.env("RUST_LOG", "debug,gururmm_server=trace").env("OTEL_BSP_SCHEDULE_DELAY", "50");
        command.envs(environment.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (log, mut lines) =
            (Arc::<Mutex<String>>::default(), BufReader::new(child.stderr.take().unwrap()).lines());
        let record = log.clone();
        let reading = tokio::spawn(async move {
            while let Ok(Some(line)) = lines.next_line().await {
                record.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        let mut said = BufReader::new(child.stdout.take().unwrap()).lines();
        let up = timeout(PATIENCE, said.next_line()).await.expect("it must start").unwrap();
        let address = up.as_deref().and_then(|line| line.strip_prefix("[OK] GuruRMM serves http://"));
        let address = address.unwrap_or_else(|| panic!("{up:?}\n{}", log.lock().unwrap()));
        let address = address.trim_end_matches('/').parse().unwrap();
        let metrics = ApiClient::anonymous(metrics);
        Self { child, address, metrics, log, reading, _data: data, _database: database }
    }

    pub fn anonymous(&self) -> ApiClient {
        ApiClient::anonymous(self.address)
    }

    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Lines of the log with this in them.
    pub fn lines_with(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// A figure that Prometheus sees.
    pub async fn figure(&self, name: &str) -> u64 {
        let text = self.metrics.get("/metrics").await.text();
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(str::to_owned);
        value.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    /// Asks it to end; answers how long that took.
    pub async fn stop(&mut self) -> Duration {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().cast_signed()).unwrap();
        let began = Instant::now();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let ended = timeout(PATIENCE, self.child.wait()).await.expect("it must stop").unwrap();
        let took = began.elapsed();
        (&mut self.reading).await.unwrap();
        assert!(ended.success(), "{ended}\n{}", self.log());
        took
    }

    pub async fn command_line(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/cmdline", self.child.id().unwrap())).unwrap()
    }
}

//! Where the cluster's callers find it: the replicas that serve now, as a load balancer would know
//! them. Filled by `cluster.rs`, asked by the load, the followers and the scenarios.

use std::sync::Arc;
use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::harness::process::Api;

/// Longest wait for a replica that serves.
const WAIT: Duration = Duration::from_secs(120);

/// The replicas of a cluster. Clones share what they know.
#[derive(Clone)]
pub struct Doors {
    urls: Arc<watch::Sender<Vec<Option<String>>>>,
    api: Api,
}

impl Doors {
    /// So many replicas, none of which serves yet.
    pub fn new(replicas: usize) -> Self {
        let urls = Arc::new(watch::Sender::new(vec![None; replicas]));
        Self { urls, api: Api::new("", "") }
    }

    /// The same replicas, called with this key.
    pub fn with_key(&self, key: &str) -> Self {
        let api = Api { key: key.to_owned(), ..self.api.clone() };
        Self { urls: Arc::clone(&self.urls), api }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.api.key
    }

    /// The HTTP client of all callers.
    pub fn http(&self) -> reqwest::Client {
        self.api.http.clone()
    }

    /// Takes a replica in, or out.
    pub fn set(&self, place: usize, url: Option<String>) {
        self.urls.send_modify(|urls| urls[place] = url);
    }

    /// The replica at this place, counted around, or the next that serves; waits for one.
    pub async fn pick(&self, place: usize) -> (usize, String) {
        let mut urls = self.urls.subscribe();
        let some = urls.wait_for(|urls| urls.iter().any(Option::is_some));
        let urls = timeout(WAIT, some).await.expect("a replica serves").expect("doors").clone();
        let places = (place..place + urls.len()).map(|place| place % urls.len());
        let mut found = places.filter_map(|place| Some((place, urls[place].clone()?)));
        found.next().expect("a replica serves")
    }

    /// Done when the replica does not serve there any more.
    pub async fn gone(&self, place: usize, url: &str) {
        let mut urls = self.urls.subscribe();
        let gone = urls.wait_for(|urls| urls[place].as_deref() != Some(url));
        gone.await.map(drop).expect("doors");
    }

    /// A caller at the replica of this place.
    pub async fn at(&self, place: usize) -> Api {
        self.api.at(&self.pick(place).await.1)
    }

    /// A request to the replica of this place.
    pub async fn request(&self, place: usize, method: Method, path: &str) -> RequestBuilder {
        self.at(place).await.request(method, path)
    }
}

/// Lets time go by: faults come by the clock. Nothing is waited for, and nothing is assumed to have
/// happened meanwhile.
pub async fn pass(time: Duration) {
    let _ = timeout(time, std::future::pending::<()>()).await;
}

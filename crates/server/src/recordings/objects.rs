//! Where segments and anchors are kept: a folder, or a bucket of S3 or whatever speaks its protocol.

use super::s3;
use crate::private_file;
use anyhow::Context as _;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, ObjectStoreExt as _, PutPayload, RetryConfig};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// More than any object that is written here has.
const MAX_OBJECT_BYTES: u64 = 16 * 1024 * 1024;

/// The store.
#[derive(Debug, Clone)]
pub struct Objects(Arc<dyn ObjectStore>);

/// It did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("there is no such object")]
    NotFound,
    #[error("the object is larger than any that is written")]
    TooLarge,
    #[error("the object store failed")]
    Store(#[source] object_store::Error),
}

impl From<object_store::Error> for ObjectError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            error => Self::Store(error),
        }
    }
}

/// An object, as a list of them tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub path: String,
    pub bytes: u64,
}

impl Objects {
    /// `s3://BUCKET` or `s3://BUCKET/PREFIX`, reached as the environment's AWS_* variables say; or a folder, which is
    /// made.
    pub fn open(place: &str) -> anyhow::Result<Self> {
        if !place.starts_with("s3://") {
            return Self::folder(std::path::Path::new(place));
        }
        let retry = RetryConfig {
            backoff: BackoffConfig::default(),
            max_retries: 5,
            retry_timeout: Duration::from_secs(10),
        };
        Self::bucket(place, AmazonS3Builder::from_env().with_retry(retry))
    }

    /// A store without objects, of this process alone.
    pub fn empty() -> Self {
        Self(Arc::new(InMemory::new()))
    }

    /// A folder, which is made.
    pub fn folder(folder: &std::path::Path) -> anyhow::Result<Self> {
        private_file::make_folder(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let store = LocalFileSystem::new_with_prefix(folder)
            .with_context(|| format!("cannot use {}", folder.display()))?;
        Ok(Self(Arc::new(store.with_fsync(true).with_automatic_cleanup(true))))
    }

    fn bucket(place: &str, builder: AmazonS3Builder) -> anyhow::Result<Self> {
        let url = Url::parse(place).with_context(|| format!("{place} is no URL"))?;
        let bucket = url.host_str().filter(|bucket| !bucket.is_empty());
        let bucket = bucket.with_context(|| format!("{place} names no bucket"))?;
        let store = builder
            .with_bucket_name(bucket)
            .with_http_connector(s3::Connector::new()?)
            .build()
            .with_context(|| format!("{place} cannot be used"))?;
        let prefix = url.path().trim_matches('/');
        let store: Arc<dyn ObjectStore> = Arc::new(store);
        Ok(Self(if prefix.is_empty() {
            store
        } else {
            Arc::new(PrefixStore::new(store, Path::from(prefix)))
        }))
    }

    /// Writes an object; one of the same name is replaced whole.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), ObjectError> {
        self.0.put(&Path::from(path), PutPayload::from_bytes(bytes)).await?;
        Ok(())
    }

    /// Reads an object.
    pub async fn get(&self, path: &str) -> Result<Bytes, ObjectError> {
        let found = self.0.get(&Path::from(path)).await?;
        if found.meta.size > MAX_OBJECT_BYTES {
            return Err(ObjectError::TooLarge);
        }
        Ok(found.bytes().await?)
    }

    /// Removes an object, if it is there.
    pub async fn delete(&self, path: &str) -> Result<(), ObjectError> {
        match self.0.delete(&Path::from(path)).await.map_err(ObjectError::from) {
            Err(ObjectError::NotFound) => Ok(()),
            done => done,
        }
    }

    /// What is there below a folder.
    pub async fn list(&self, folder: &str) -> Result<Vec<Listed>, ObjectError> {
        let found = self.0.list(Some(&Path::from(folder)));
        let found = found.map_ok(|meta| Listed { path: meta.location.to_string(), bytes: meta.size });
        Ok(found.try_collect().await?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Request;
    use axum::response::Response;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    #[tokio::test]
    async fn a_folder_keeps_what_is_put_into_it() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("recordings");
        let objects = Objects::open(place.to_str().unwrap()).unwrap();
        assert_eq!(objects.list("a").await.unwrap(), []);
        objects.put("a/b/1", Bytes::from_static(b"one")).await.unwrap();
        objects.put("c/1", Bytes::from_static(b"other")).await.unwrap();
        assert_eq!(objects.get("a/b/1").await.unwrap(), "one");
        assert_eq!(objects.list("a").await.unwrap(), [Listed { path: "a/b/1".to_owned(), bytes: 3 }]);
        objects.delete("a/b/1").await.unwrap();
        objects.delete("a/b/1").await.unwrap();
        assert!(matches!(objects.get("a/b/1").await, Err(ObjectError::NotFound)));
    }

    /// As much of a bucket as is used: whole objects, by path, and lists of them.
    #[derive(Clone, Default)]
    struct Bucket(Arc<Mutex<BTreeMap<String, Bytes>>>);

    impl Bucket {
        async fn serve(self) -> String {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let service = axum::Router::new().fallback(move |request| self.clone().answer(request));
            tokio::spawn(async { axum::serve(listener, service).await.unwrap() });
            format!("http://{address}")
        }

        async fn answer(self, request: Request) -> Response {
            let (head, body) = request.into_parts();
            let signed = head.headers["authorization"].to_str().unwrap().to_owned();
            assert!(signed.starts_with("AWS4-HMAC-SHA256 Credential=acme-key/"), "{signed}");
            let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
            let path = head.uri.path().trim_start_matches("/acme").trim_start_matches('/').to_owned();
            let query = head.uri.query().unwrap_or_default();
            let mut objects = self.0.lock().unwrap();
            match head.method.as_str() {
                "PUT" => drop(objects.insert(path, body)),
                "POST" if query == "delete" => {
                    let body = String::from_utf8(body.to_vec()).unwrap();
                    let key = body.split_once("<Key>").unwrap().1.split_once("</Key>").unwrap().0;
                    objects.remove(key);
                    let done = format!("<DeleteResult><Deleted><Key>{key}</Key></Deleted></DeleteResult>");
                    return answer(200, done.into());
                }
                "GET" if query.contains("list-type=2") => {
                    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap();
                    let prefix = prefix.replace("%2F", "/");
                    let listed = objects.iter().filter(|(key, _)| key.starts_with(&prefix));
                    let contents: String = listed.map(|(key, object)| content(key, object.len())).collect();
                    return answer(200, format!("<ListBucketResult>{contents}</ListBucketResult>").into());
                }
                _ => {
                    return match objects.get(&path) {
                        Some(object) => answer(200, object.clone()),
                        None => answer(404, Bytes::new()),
                    };
                }
            }
            answer(200, Bytes::new())
        }
    }

    fn content(key: &str, bytes: usize) -> String {
        let time = "<LastModified>2026-12-01T00:00:00Z</LastModified>";
        format!("<Contents><Key>{key}</Key><Size>{bytes}</Size>{time}</Contents>")
    }

    fn answer(status: u16, body: Bytes) -> Response {
        let answer = axum::http::Response::builder().status(status).header("etag", "\"1\"");
        let answer = answer.header("last-modified", "Tue, 01 Dec 2026 00:00:00 GMT");
        answer.body(axum::body::Body::from(body)).unwrap()
    }

    fn builder(endpoint: &str) -> AmazonS3Builder {
        AmazonS3Builder::new()
            .with_access_key_id("acme-key")
            .with_secret_access_key("acme-secret")
            .with_endpoint(endpoint)
    }

    #[tokio::test]
    async fn a_bucket_keeps_what_is_put_into_it() {
        let bucket = Bucket::default();
        let endpoint = bucket.clone().serve().await;
        let allowed = builder(&endpoint).with_allow_http(true);
        let objects = Objects::bucket("s3://acme/recordings", allowed).unwrap();
        objects.put("a/b/1", Bytes::from_static(b"one")).await.unwrap();
        assert_eq!(objects.get("a/b/1").await.unwrap(), "one");
        assert_eq!(objects.list("a").await.unwrap(), [Listed { path: "a/b/1".to_owned(), bytes: 3 }]);
        assert_eq!(bucket.0.lock().unwrap().keys().collect::<Vec<_>>(), ["recordings/a/b/1"]);
        objects.delete("a/b/1").await.unwrap();
        assert!(matches!(objects.get("a/b/1").await, Err(ObjectError::NotFound)));
        // Plain HTTP is to be asked for.
        let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
        let objects = Objects::bucket("s3://acme", builder(&endpoint).with_retry(retry)).unwrap();
        assert!(matches!(objects.get("recordings/a").await, Err(ObjectError::Store(_))));
    }

    #[test]
    fn a_bucket_is_named_by_its_url() {
        for place in ["s3://", "s3:///recordings"] {
            assert!(Objects::open(place).is_err(), "{place}");
        }
        assert!(format!("{:?}", Objects::open("s3://acme/recordings/").unwrap()).contains("recordings"));
    }
}

//! Real processes, from order to acknowledged end.

use crate::harness::*;
use gururmm_protocol::command::Outcome;

#[tokio::test]
async fn output_of_both_streams_and_the_exit_code_come_back() {
    let mut server = TestServer::start().await;
    let _agent = TestAgent::start(&server);
    let (mut connection, _) = server.welcome().await;
    let finished = connection.run(shell("echo out; echo err >&2; exit 3")).await;
    assert_eq!(finished.stdout, b"out\n");
    assert_eq!(finished.stderr, b"err\n");
    assert_eq!((finished.end.outcome, finished.end.exit_code), (Outcome::Failed, Some(3)));
    assert_eq!((finished.end.stdout_bytes, finished.end.stderr_bytes, finished.end.truncated), (4, 4, false));
}

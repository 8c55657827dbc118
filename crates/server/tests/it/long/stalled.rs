//! Ten gibibytes into a page that does not read.

use crate::tunnel_process::into_a_page_that_does_not_read;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_gibibytes_of_output_into_a_page_that_does_not_read_leave_memory_as_it_is() {
    into_a_page_that_does_not_read(10 << 30).await;
}

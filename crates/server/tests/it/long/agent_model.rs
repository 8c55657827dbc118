//! Many more cases than any other run has the time for.

#[test]
fn server_and_agent_keep_their_promises_in_thousands_of_cases() {
    crate::agent_model::run(2_000);
}

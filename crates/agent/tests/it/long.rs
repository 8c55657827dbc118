//! What takes minutes: `./dev test --long`.

#[tokio::test]
async fn two_hundred_updates_with_kills_at_every_step_leave_no_agent_that_needs_a_hand() {
    crate::update_cycles::updates(200).await;
}

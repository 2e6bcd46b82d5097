//! The availability probe's requests.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kubecert_engine::ports::{Availability, Credentials, PortResult};

use super::api::enter;
use crate::cluster::Shared;

/// A new connection, a read and a write.
const READ_AND_WRITE: Duration = Duration::from_millis(25);

/// The API through its public endpoint.
pub(crate) struct SimAvailability {
    shared: Arc<Shared>,
}

impl SimAvailability {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

#[async_trait]
impl Availability for SimAvailability {
    async fn prepare(&self, credentials: &Credentials) -> PortResult<()> {
        let what = "cannot create the availability probe's object";
        self.shared
            .call_unplanned(READ_AND_WRITE, |world| {
                enter(world, what, std::slice::from_ref(credentials))?;
                world.objects.availability.get_or_insert(0);
                Ok(())
            })
            .await
    }

    async fn once(&self, credentials: &Credentials, number: u64) -> PortResult<()> {
        let what = "cannot use the API";
        self.shared
            .call_unplanned(READ_AND_WRITE, |world| {
                enter(world, what, std::slice::from_ref(credentials))?;
                world.objects.availability = Some(number);
                Ok(())
            })
            .await
    }

    async fn clean_up(&self, credentials: &Credentials) -> PortResult<()> {
        let what = "cannot remove the availability probe's object";
        self.shared
            .call_unplanned(READ_AND_WRITE, |world| {
                enter(world, what, std::slice::from_ref(credentials))?;
                world.objects.availability = None;
                Ok(())
            })
            .await
    }
}

use std::future::Future;

use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy]
pub trait Weather: Send + Sync {
    #[lane(general, read)]
    async fn changes(&self, log: &mut Vec<u8>) -> Result<u8, Failure>;

    #[lane(general, read)]
    async fn borrows(&self, name: &str) -> Result<&str, Failure>;

    #[lane(general, read)]
    async fn infallible(&self) -> u8;

    #[lane(general, read)]
    async fn nothing(&self);

    #[lane(general, read)]
    fn stays(&self) -> impl Future<Output = Result<u8, Failure>>;

    #[lane(general, read)]
    fn for_ever(&self) -> impl Future<Output = Result<u8, Failure>> + Send + 'static;

    #[lane(general, read)]
    fn alias(&self) -> BoxFuture<'_, Result<u8, Failure>>;

    #[direct]
    fn opaque(&self) -> impl Iterator<Item = u8>;

    #[lane(general, read)]
    async fn generic<T>(&self, value: T) -> Result<u8, Failure>;
}

#[lanekeeper::proxy]
#[async_trait::async_trait]
pub trait Later: Send + Sync {
    #[lane(general, read)]
    async fn later(&self) -> Result<u8, Failure>;
}

#[lanekeeper::proxy(asynchronous = AsyncTides)]
pub trait Tides: Send + Sync {
    #[lane(general, read)]
    async fn already(&self) -> Result<u8, Failure>;
}

#[lanekeeper::proxy(asynchronous = AsyncBodies)]
pub trait Bodies: Send + Sync {
    #[lane(general, write)]
    fn sell(&self) -> Result<u8, Failure>;

    fn renamed(&self) -> Result<u8, Failure> {
        let this = self;
        this.sell()
    }

    fn by_path(&self) -> Result<u8, Failure> {
        Self::sell(self)
    }

    fn in_a_macro(&self) -> bool {
        matches!(self.sell(), Ok(1))
    }

    #[direct]
    fn stays_blocking(&self) -> bool {
        self.sell().is_ok()
    }
}

#[lanekeeper::proxy(asynchronous = AsyncStore)]
pub trait Store<K>: Send + Sync {
    #[direct]
    fn of(&self, key: K) -> u8;
}

#[lanekeeper::proxy(asynchronous_delegate = crate::delegate)]
pub trait Alone: Send + Sync {
    #[direct]
    fn alone(&self);
}

#[lanekeeper::proxy(asynchronous)]
pub trait Nameless: Send + Sync {
    #[direct]
    fn nameless(&self);
}

fn main() {}

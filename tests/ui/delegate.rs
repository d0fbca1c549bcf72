use lanekeeper::lane::LaneError;

#[lanekeeper::proxy(delegate = delegate_weather)]
pub trait NoModule: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self) -> Result<(), LaneError>;
}

#[lanekeeper::proxy(delegate = crate::delegate_store)]
pub trait Store<K: Send + 'static>: Send + Sync {
    #[lane(general, read)]
    fn get(&self, key: K) -> Result<(), LaneError>;
}

#[lanekeeper::proxy(delegate = crate::delegate_conditional)]
pub trait Conditional: Send + Sync {
    #[cfg(unix)]
    #[lane(general, read)]
    fn forecast(&self) -> Result<(), LaneError>;
}

#[lanekeeper::proxy]
pub trait Hidden: Send + Sync {
    #[lane(general, read)]
    fn general_lane(&self) -> Result<(), LaneError>;
}

fn main() {}

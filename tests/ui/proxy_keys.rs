use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy(quota = 10)]
pub trait UnknownKey: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self) -> Result<(), Failure>;
}

#[lanekeeper::proxy(limits)]
pub trait NoValue: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self) -> Result<(), Failure>;
}

#[lanekeeper::proxy(limits = documented)]
pub trait NoSuchMethod: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self) -> Result<(), Failure>;
}

#[lanekeeper::proxy(limits = forecast)]
pub trait LimitsInALane: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self) -> Result<(), Failure>;
}

#[lanekeeper::proxy(limits = documented)]
pub trait NotLimits: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self) -> Result<(), Failure>;

    #[direct]
    fn documented(&self) -> u8;
}

#[lanekeeper::proxy(limits = documented)]
pub trait Generic<K>: Send + Sync {
    #[lane(general, read)]
    fn forecast(&self) -> Result<(), Failure>;

    #[direct]
    fn documented(&self) -> lanekeeper::quota::Limits;
}

fn main() {}

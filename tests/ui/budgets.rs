use lanekeeper::lane::LaneError;

pub struct Failure;

impl From<LaneError> for Failure {
    fn from(_: LaneError) -> Self {
        Self
    }
}

#[lanekeeper::proxy]
pub trait Keys: Send + Sync {
    #[lane(general, read, budget)]
    fn no_budget(&self) -> Result<(), Failure>;

    #[lane(general, read, budget =)]
    fn no_name(&self) -> Result<(), Failure>;

    #[lane(general, read, budget = "sms")]
    fn quoted(&self) -> Result<(), Failure>;

    #[lane(general, read, budget = 5)]
    fn a_number(&self) -> Result<(), Failure>;

    #[lane(general, read, budget = sms, budget = mail, budget = sms)]
    fn twice(&self) -> Result<(), Failure>;

    #[lane(general, read, budget = limits)]
    fn name_of_a_setter(&self) -> Result<(), Failure>;

    #[lane(general, read, budgets = sms)]
    fn misspelt(&self) -> Result<(), Failure>;
}

#[lanekeeper::proxy]
pub trait Names: Send + Sync {
    #[lane(alerts, write, budget = general)]
    fn named_like_a_later_lane(&self) -> Result<(), Failure>;

    #[lane(general, read, budget = general, budget = alerts)]
    fn named_like_its_lane(&self) -> Result<(), Failure>;
}

fn main() {}

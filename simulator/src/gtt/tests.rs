use super::*;
use lanekeeper::broker::Side;

fn x() -> Instrument {
    Instrument::new("NSE", "X")
}

fn at(text: &str) -> Zoned {
    format!("{text}+05:30[+05:30]").parse().unwrap()
}

/// A GTT placed at a last price of 100.
fn request(triggers: &[i64]) -> GttRequest {
    let kind = if triggers.len() == 1 { GttKind::Single } else { GttKind::TwoLeg };
    let triggers: Vec<Decimal> = triggers.iter().copied().map(Decimal::from).collect();
    let order = |price: &Decimal| OrderRequest::limit(x(), Side::Sell, 1, *price);
    let orders = triggers.iter().map(order).collect();
    GttRequest { kind, instrument: x(), triggers, last_price: Decimal::from(100), orders }
}

#[test]
fn a_trigger_is_met_from_the_side_of_the_clients_last_price() {
    let met = |triggers: &[i64], price: i64| request(triggers).leg_met(price.into());
    assert_eq!([91, 90, 89].map(|price| met(&[90], price)), [None, Some(0), Some(0)]);
    assert_eq!([109, 110, 111].map(|price| met(&[110], price)), [None, Some(0), Some(0)]);
    assert_eq!(
        [90, 91, 109, 110].map(|price| met(&[90, 110], price)),
        [Some(0), None, None, Some(1)]
    );
}

#[test]
fn triggers_that_make_no_sense_are_refused_in_kites_words() {
    let check = |triggers: &[i64], price: i64| request(triggers).check_triggers(price.into());
    assert_eq!(check(&[90], 100), Ok(()));
    assert_eq!(check(&[90, 110], 100), Ok(()));
    for (triggers, price, message) in [
        (
            &[100][..],
            100,
            "Trigger cannot be created with one of the trigger values equal to the last price.",
        ),
        (
            &[101, 110],
            100,
            "Trigger cannot be created with the first trigger price more than the last price.",
        ),
        (
            &[90, 99],
            100,
            "Trigger cannot be created with the second trigger price less than the last price.",
        ),
        (&[90], 90, "Trigger already met."),
        (&[90, 110], 111, "Trigger already met."),
    ] {
        assert_eq!(check(triggers, price), Err(ApiError::input(message)), "{triggers:?}");
    }
}

#[test]
fn a_gtt_places_one_order_once() {
    let mut gtts = Gtts::default();
    let now = at("2024-01-01T10:00:00");
    gtts.place(7, request(&[90, 110]), &now).unwrap();
    let mut placed = Vec::new();
    for price in [100, 109, 110, 120, 80, 100] {
        gtts.advance(
            &now,
            |_| Some(price.into()),
            |order| {
                placed.push(order.price);
                Ok("1".to_owned())
            },
        );
    }
    assert_eq!(placed, [Some(Decimal::from(110))]);
    let gtt = gtts.get(7).unwrap();
    let result = gtt.result.as_ref().unwrap();
    assert_eq!((gtt.status, result.leg, result.price), (GttStatus::Triggered, 1, 110.into()));
    assert!(gtts.delete(7, &now).is_err() && gtts.modify(7, request(&[90, 110]), &now).is_err());
}

#[test]
fn a_gtt_that_is_deleted_or_expired_places_nothing() {
    let mut gtts = Gtts::default();
    let now = at("2024-01-01T10:00:00");
    gtts.place(7, request(&[90]), &now).unwrap();
    gtts.place(8, request(&[90]), &now).unwrap();
    gtts.delete(7, &now).unwrap();
    let statuses = |gtts: &Gtts| [7, 8].map(|id| gtts.get(id).unwrap().status);
    let advance = |gtts: &mut Gtts, now: &str, price: i64| {
        gtts.advance(&at(now), |_| Some(price.into()), |_| panic!("an order was placed"));
    };
    advance(&mut gtts, "2024-12-30T10:00:00", 100);
    assert_eq!(statuses(&gtts), [GttStatus::Deleted, GttStatus::Active]);
    advance(&mut gtts, "2025-01-01T10:00:00", 80);
    assert_eq!(statuses(&gtts), [GttStatus::Deleted, GttStatus::Expired]);
    assert!(!gtts.any_active());
    assert_eq!(gtts.listed().iter().map(|(id, _)| *id).collect::<Vec<_>>(), [8]);
}

#[test]
fn a_change_keeps_type_and_instrument() {
    let mut gtts = Gtts::default();
    let now = at("2024-01-01T10:00:00");
    gtts.place(7, request(&[90]), &now).unwrap();
    assert!(gtts.modify(7, request(&[90, 110]), &now).is_err());
    let other = GttRequest { instrument: Instrument::new("NSE", "Y"), ..request(&[90]) };
    assert!(gtts.modify(7, other, &now).is_err());
    assert!(gtts.modify(8, request(&[90]), &now).is_err());
    gtts.modify(7, request(&[80]), &at("2024-01-02T10:00:00")).unwrap();
    let gtt = gtts.get(7).unwrap();
    assert_eq!(gtt.request, request(&[80]));
    assert!(gtt.updated_at > gtt.created_at);
}

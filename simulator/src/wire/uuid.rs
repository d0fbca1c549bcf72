//! Ids that have the form of a UUID: of mutual fund orders and of alerts.

/// Returns the id of the entry with this number.
pub(super) fn of(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}

/// Returns the number in an id, or `None` if [`of`] never returned it.
pub(super) fn parse(id: &str) -> Option<u64> {
    let digits = id.rsplit('-').next()?;
    u64::from_str_radix(digits, 16).ok().filter(|number| of(*number) == id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_one_form() {
        let id = of(100_001);
        assert_eq!((id.len(), parse(&id)), (36, Some(100_001)));
        for wrong in ["", "186a1", "-186a1", &id.to_uppercase(), &id[1..], &format!("{id}0")] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}

//! How arguments are transferred to the lane.

use super::*;

/// Every form in which a lane method can take an argument.
#[lanekeeper::proxy]
pub trait Forms: Send + Sync {
    /// Moved.
    #[lane(all, read)]
    fn owned(&self, number: u8, text: String, maybe: Option<Alert>) -> Result<String>;
    /// Borrowed.
    #[lane(all, read)]
    fn lent(&self, text: &str, alert: &Alert, numbers: &[u8]) -> Result<String>;
    /// Borrowed, if present.
    #[lane(all, read)]
    fn perhaps(
        &self,
        text: Option<&str>,
        alert: Option<&Alert>,
        numbers: std::option::Option<&[u8]>,
    ) -> Result<String>;
    /// Borrowed for `'static`, so moved.
    #[lane(all, read)]
    fn for_ever(&self, text: &'static str, texts: &[&'static str]) -> Result<String>;
    /// With named lifetimes.
    #[lane(all, read)]
    fn named<'a, 'b: 'a>(&self, one: &'a str, other: &'b Alert) -> Result<String>;
    /// Functions with any arguments. What cannot be cloned is sent once.
    #[lane(all, read, retry = never)]
    fn functions(
        &self,
        pointer: fn(&str) -> usize,
        object: Box<dyn Fn(&str) -> usize + Send>,
    ) -> Result<String>;
    /// A lifetime that belongs to a bound is not the caller's.
    #[lane(all, read, retry = never)]
    fn bound(&self, reader: Box<dyn for<'a> Reader<'a> + Send>) -> Result<String>;
    /// Shared, not copied.
    #[lane(all, read)]
    fn shared(&self, object: Arc<dyn Debug + Send + Sync>) -> Result<String>;
    /// Names that the generated code might use itself.
    #[lane(all, read)]
    fn names(
        &self,
        inner: &str,
        lanes: &str,
        self_: u8,
        error: &str,
        call: u8,
        r#type: &str,
    ) -> Result<String>;
    /// A pattern instead of a name.
    #[lane(all, read)]
    fn pattern(&self, (left, right): (u8, u8), mut rest: u8) -> Result<String> {
        rest += 1;
        Ok(format!("{left} {right} {rest}"))
    }
    /// Arguments with a `cfg`.
    #[lane(all, read)]
    fn conditional(
        &self,
        #[cfg(test)] here: &str,
        #[cfg(not(test))] gone: &str,
        last: u8,
    ) -> Result<String>;
    /// A result with a spelled-out type.
    #[lane(all, write)]
    fn spelled_out(&self) -> core::result::Result<(), Failure>;
}

/// Reads something for as long as it lives.
pub trait Reader<'a> {
    /// Reads.
    fn read(&self, text: &'a str) -> &'a str;
}

struct First;

impl<'a> Reader<'a> for First {
    fn read(&self, text: &'a str) -> &'a str {
        text.split(' ').next().unwrap_or(text)
    }
}

struct Echo;

impl Forms for Echo {
    fn owned(&self, number: u8, text: String, maybe: Option<Alert>) -> Result<String> {
        Ok(format!("{number} {text} {maybe:?}"))
    }
    fn lent(&self, text: &str, alert: &Alert, numbers: &[u8]) -> Result<String> {
        Ok(format!("{text} {} {numbers:?}", alert.text))
    }
    fn perhaps(
        &self,
        text: Option<&str>,
        alert: Option<&Alert>,
        numbers: Option<&[u8]>,
    ) -> Result<String> {
        Ok(format!("{text:?} {:?} {numbers:?}", alert.map(|alert| &alert.text)))
    }
    fn for_ever(&self, text: &'static str, texts: &[&'static str]) -> Result<String> {
        Ok(format!("{text} {texts:?}"))
    }
    fn named<'a, 'b: 'a>(&self, one: &'a str, other: &'b Alert) -> Result<String> {
        Ok(format!("{one} {}", other.text))
    }
    fn functions(
        &self,
        pointer: fn(&str) -> usize,
        object: Box<dyn Fn(&str) -> usize + Send>,
    ) -> Result<String> {
        Ok(format!("{} {}", pointer("four"), object("three")))
    }
    fn bound(&self, reader: Box<dyn for<'a> Reader<'a> + Send>) -> Result<String> {
        Ok(reader.read("one two").into())
    }
    fn shared(&self, object: Arc<dyn Debug + Send + Sync>) -> Result<String> {
        Ok(format!("{object:?} {}", Arc::strong_count(&object)))
    }
    fn names(
        &self,
        inner: &str,
        lanes: &str,
        self_: u8,
        error: &str,
        call: u8,
        r#type: &str,
    ) -> Result<String> {
        Ok(format!("{inner} {lanes} {self_} {error} {call} {type}"))
    }
    fn conditional(&self, here: &str, last: u8) -> Result<String> {
        Ok(format!("{here} {last}"))
    }
    fn spelled_out(&self) -> core::result::Result<(), Failure> {
        Err(Failure("from the inside".into()))
    }
}

#[test]
fn every_form_arrives_intact() {
    let proxy = FormsProxy::builder(Echo).all(ample()).build().unwrap();
    let alert = Alert { text: "storm".into() };
    let ok = |text: &str| Ok(text.to_owned());

    assert_eq!(proxy.owned(7, "rain".into(), None), ok("7 rain None"));
    assert_eq!(proxy.lent("rain", &alert, &[1, 2]), ok("rain storm [1, 2]"));
    assert_eq!(proxy.lent("", &alert, &[]), ok(" storm []"));
    assert_eq!(
        proxy.perhaps(Some("rain"), Some(&alert), Some(&[3])),
        ok("Some(\"rain\") Some(\"storm\") Some([3])")
    );
    assert_eq!(proxy.perhaps(None, None, None), ok("None None None"));
    assert_eq!(proxy.for_ever("rain", &["a", "b"]), ok("rain [\"a\", \"b\"]"));
    assert_eq!(proxy.named("rain", &alert), ok("rain storm"));
    assert_eq!(proxy.functions(str::len, Box::new(|text| text.len() * 2)), ok("4 10"));
    assert_eq!(proxy.bound(Box::new(First)), ok("one"));
    let shared: Arc<dyn Debug + Send + Sync> = Arc::new(5);
    assert_eq!(proxy.shared(Arc::clone(&shared)), ok("5 3"));
    assert_eq!(proxy.names("a", "b", 1, "c", 2, "d"), ok("a b 1 c 2 d"));
    assert_eq!(proxy.pattern((1, 2), 3), ok("1 2 4"));
    assert_eq!(proxy.conditional("here", 9), ok("here 9"));
    assert_eq!(proxy.spelled_out(), Err(Failure("from the inside".into())));
}

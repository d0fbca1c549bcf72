//! Supertraits, associated types, type parameters.

use super::*;

/// A trait with supertraits, `Debug` and `'static` among them.
#[lanekeeper::proxy]
pub trait Printed: Debug + Send + Sync + 'static {
    /// A call.
    #[lane(general, read)]
    fn call(&self) -> Result<u8>;
}

/// A trait without supertraits.
#[lanekeeper::proxy]
pub trait Bare {
    /// A call.
    #[lane(general, read)]
    fn call(&self) -> Result<u8>;
}

/// A trait without lanes too.
#[lanekeeper::proxy]
pub trait Laneless {
    /// Direct.
    #[direct]
    fn name(&self) -> &str;
}

impl Laneless for String {
    fn name(&self) -> &str {
        self
    }
}

#[test]
fn a_trait_without_lanes_has_a_proxy_too() {
    let proxy = LanelessProxy::builder(String::from("me")).build().unwrap();
    assert_eq!(proxy.name(), "me");
}

/// A type that each implementation chooses.
#[lanekeeper::proxy]
pub trait Associated: Send + Sync {
    /// The key of a call.
    type Key: Clone + Debug + Send + 'static;
    /// The answer to a call.
    type Answer: Send + 'static;
    /// Borrows the key, and returns it.
    #[lane(general, read)]
    fn call(&self, key: &Self::Key, more: Option<Self::Key>) -> Result<Self::Answer>;
}

/// Type parameters, one of them with the name that the proxy's own would have.
#[lanekeeper::proxy]
pub trait Store<T: Clone + Send + 'static, const N: usize, V = String>: Send + Sync
where
    V: Send + 'static,
{
    /// Borrows the key, and returns the value.
    #[lane(general, write, retry = never)]
    fn put(&self, key: &T, value: V) -> Result<[V; N]>;
}

#[derive(Debug)]
struct One;

impl Printed for One {
    fn call(&self) -> Result<u8> {
        Ok(1)
    }
}
impl Bare for One {
    fn call(&self) -> Result<u8> {
        Ok(1)
    }
}
impl Associated for One {
    type Key = String;
    type Answer = usize;
    fn call(&self, key: &String, more: Option<String>) -> Result<usize> {
        Ok(key.len() + more.map_or(0, |more| more.len()))
    }
}
impl Store<u8, 1> for One {
    fn put(&self, key: &u8, value: String) -> Result<[String; 1]> {
        Ok([format!("{key} {value}")])
    }
}
impl Store<String, 2, u8> for One {
    fn put(&self, _: &String, value: u8) -> Result<[u8; 2]> {
        Ok([value; 2])
    }
}

#[test]
fn supertraits_are_met() {
    fn printed(value: impl Printed) -> String {
        format!("{value:?}")
    }
    let proxy = || PrintedProxy::builder(One).general(ample()).build().unwrap();
    assert!(printed(proxy()).starts_with("PrintedProxy"));
    assert!(printed(Box::new(proxy()) as Box<dyn Printed>).starts_with("PrintedProxy"));
    assert_eq!(printed(Arc::new(One)), "One");
}

#[test]
fn a_trait_without_supertraits_has_a_proxy_too() {
    let proxy = BareProxy::builder(One).general(ample()).build().unwrap();
    assert_eq!(Bare::call(&proxy), Ok(1));
}

#[test]
fn associated_types_are_those_of_the_inner_value() {
    let proxy = AssociatedProxy::builder(One).general(ample()).build().unwrap();
    let shared: Arc<dyn Associated<Key = String, Answer = usize>> = Arc::new(proxy);
    assert_eq!(shared.call(&"four".into(), Some("five".into())), Ok(8));
}

#[test]
fn a_generic_trait_has_one_proxy_for_all_its_parameters() {
    let proxy = StoreProxy::builder(One).general(ample()).build().unwrap();
    assert_eq!(proxy.put(&7, String::from("seven")), Ok([String::from("7 seven")]));
    assert_eq!(proxy.put(&String::new(), 9), Ok([9, 9]));
}

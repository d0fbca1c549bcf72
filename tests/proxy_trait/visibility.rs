//! The visibility of the proxy.

mod inside {
    use super::super::*;

    /// For this crate.
    #[lanekeeper::proxy]
    pub(crate) trait Hidden: Send + Sync {
        /// A call.
        #[lane(general, read)]
        fn call(&self) -> Result<u8>;
    }

    /// For this module, which uses none of it.
    #[lanekeeper::proxy]
    #[allow(dead_code)]
    trait Private: Send + Sync {
        /// A call.
        #[lane(general, read)]
        fn call(&self) -> Result<u8>;
    }
}

use super::*;
use inside::{Hidden, HiddenProxy, HiddenProxyBuilder};

struct One;

impl Hidden for One {
    fn call(&self) -> Result<u8> {
        Ok(1)
    }
}

#[test]
fn the_proxy_is_as_visible_as_its_trait() {
    let builder: HiddenProxyBuilder<One> = HiddenProxy::builder(One);
    assert_eq!(builder.general(ample()).build().unwrap().call(), Ok(1));
}

#[test]
fn a_trait_can_live_in_a_function() {
    #[lanekeeper::proxy]
    trait Local: Send + Sync {
        #[lane(general, read)]
        fn call(&self) -> Result<u8>;
    }
    impl Local for One {
        fn call(&self) -> Result<u8> {
            Ok(1)
        }
    }
    assert_eq!(LocalProxy::builder(One).general(ample()).build().unwrap().call(), Ok(1));
}

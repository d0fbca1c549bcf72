//! The key of an answer: its method and arguments. One cache has the answers of all methods, so the types are erased.

use std::any::Any;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::sync::Arc;

use super::cacheable::{CacheArgument, Cacheable};
use super::hasher::KeyHasher;

/// The method and the arguments of a call. `V` and `E` are part of the key: the methods of a generic trait have other
/// answers for other parameters.
pub(crate) struct CallKey<A, V, E> {
    method: usize,
    args: A,
    hash: u64,
    answer: PhantomData<fn() -> (V, E)>,
}

impl<A: CacheArgument, V: Cacheable, E: Cacheable> CallKey<A, V, E> {
    /// Returns the key of a call of the method at `method` in the methods of the cache.
    pub(crate) fn new(method: usize, args: A) -> Self {
        let mut hasher = KeyHasher::new();
        hasher.write_usize(method);
        args.hash(&mut hasher);
        Self { method, args, hash: hasher.finish(), answer: PhantomData }
    }

    pub(crate) fn args(&self) -> &A {
        &self.args
    }

    pub(crate) fn into_args(self) -> A {
        self.args
    }

    /// The size of a stored key, in bytes, without what the arguments hold on the heap.
    pub(super) const SIZE: usize = size_of::<Self>();

    /// Returns a copy that can be stored.
    pub(crate) fn to_shared(&self) -> Arc<Self> {
        let Self { method, hash, .. } = *self;
        Arc::new(Self { method, args: self.args.clone(), hash, answer: PhantomData })
    }
}

/// A key of unknown types.
pub(super) trait AnyKey: Send + Sync {
    fn method(&self) -> usize;
    fn known_hash(&self) -> u64;
    fn equals(&self, other: &dyn AnyKey) -> bool;
    fn as_any(&self) -> &dyn Any;
}

impl<A: CacheArgument, V: Cacheable, E: Cacheable> AnyKey for CallKey<A, V, E> {
    fn method(&self) -> usize {
        self.method
    }

    fn known_hash(&self) -> u64 {
        self.hash
    }

    fn equals(&self, other: &dyn AnyKey) -> bool {
        let other = other.as_any().downcast_ref::<Self>();
        other.is_some_and(|other| self.method == other.method && self.args == other.args)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl Hash for dyn AnyKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.known_hash());
    }
}

impl PartialEq for dyn AnyKey {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl Eq for dyn AnyKey {}

/// A key in the store. It is looked up by a borrowed key, so that a lookup allocates nothing.
#[derive(Clone)]
pub(super) struct StoredKey(Arc<dyn AnyKey>);

impl Hash for StoredKey {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (*self.0).hash(hasher);
    }
}

impl PartialEq for StoredKey {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl Eq for StoredKey {}

impl StoredKey {
    pub(super) fn new(key: Arc<dyn AnyKey>) -> Self {
        Self(key)
    }

    pub(super) fn method(&self) -> usize {
        self.0.method()
    }
}

impl Borrow<dyn AnyKey> for StoredKey {
    fn borrow(&self) -> &(dyn AnyKey + 'static) {
        &*self.0
    }
}

//! What arguments and answers of a cached method have to be, and what an answer says of itself.

use std::hash::Hash;
use std::sync::Arc;

/// An argument of a cached method, in its owned form. Every type with these traits is one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an argument of a method with `cache`",
    note = "the answers of the method are kept by its arguments, so each needs `Clone`, `Hash`, `Eq`, `Send` and `Sync`"
)]
pub trait CacheArgument: Clone + Hash + Eq + Send + Sync + 'static {}

impl<T: Clone + Hash + Eq + Send + Sync + 'static> CacheArgument for T {}

/// The value or the error of a cached method. Every type with these traits is one: all callers that wait for a fetch get
/// a clone of its answer or of its error.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be in the answer of a method with `cache`",
    note = "all callers that wait for an answer get a clone of it, so its value and its error need `Clone`, `Send` and `Sync`"
)]
pub trait Cacheable: Clone + Send + Sync + 'static {}

impl<T: Clone + Send + Sync + 'static> Cacheable for T {}

/// The heap that an answer is assumed to hold if its type does not implement [`CacheableResponse`], in bytes.
const UNMEASURED_HEAP: usize = 1024;

/// Says how much memory an answer holds, and whether it may be kept. The capacity of a response cache is in bytes. The
/// size of an argument is asked for in the same way.
///
/// An answer or an argument whose type does not implement it counts as its own size and 1 KiB on the heap. Implement it
/// for answers that are larger than that.
///
/// ```
/// use lanekeeper::proxy::CacheableResponse;
///
/// struct Forecast {
///     temperatures: Vec<i8>,
/// }
///
/// impl CacheableResponse for Forecast {
///     fn heap_bytes(&self) -> usize {
///         self.temperatures.heap_bytes()
///     }
/// }
/// ```
pub trait CacheableResponse {
    /// Returns the memory that the answer holds on the heap, in bytes. An estimate is enough.
    fn heap_bytes(&self) -> usize;

    /// Returns whether the answer may be kept. By default every answer may.
    fn is_cacheable(&self) -> bool {
        true
    }
}

macro_rules! without_heap {
    ($($ty:ty)*) => {
        $(impl CacheableResponse for $ty {
            fn heap_bytes(&self) -> usize {
                0
            }
        })*
    };
}

without_heap!(() bool char u8 u16 u32 u64 u128 usize i8 i16 i32 i64 i128 isize f32 f64);
without_heap!(rust_decimal::Decimal jiff::Timestamp jiff::civil::Date std::time::Duration);

impl CacheableResponse for &'static str {
    fn heap_bytes(&self) -> usize {
        0
    }
}

impl CacheableResponse for String {
    fn heap_bytes(&self) -> usize {
        self.capacity()
    }
}

impl<T: CacheableResponse> CacheableResponse for Vec<T> {
    fn heap_bytes(&self) -> usize {
        let elements: usize = self.iter().map(T::heap_bytes).sum();
        elements.saturating_add(self.capacity().saturating_mul(size_of::<T>()))
    }
}

impl<T: CacheableResponse> CacheableResponse for Option<T> {
    fn heap_bytes(&self) -> usize {
        self.as_ref().map_or(0, T::heap_bytes)
    }
}

impl<T: CacheableResponse> CacheableResponse for Box<T> {
    fn heap_bytes(&self) -> usize {
        size_of::<T>().saturating_add((**self).heap_bytes())
    }
}

/// Counted as if the cache held the only reference.
impl<T: CacheableResponse> CacheableResponse for Arc<T> {
    fn heap_bytes(&self) -> usize {
        size_of::<T>().saturating_add((**self).heap_bytes())
    }
}

impl<A: CacheableResponse, B: CacheableResponse> CacheableResponse for (A, B) {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes().saturating_add(self.1.heap_bytes())
    }
}

/// Measures an answer, whether or not its type implements [`CacheableResponse`].
#[derive(Debug)]
pub struct ResponseProbe<'a, V>(pub &'a V);

impl<V: CacheableResponse> CacheableResponse for ResponseProbe<'_, V> {
    fn heap_bytes(&self) -> usize {
        self.0.heap_bytes()
    }

    fn is_cacheable(&self) -> bool {
        self.0.is_cacheable()
    }
}

/// For answers whose type does not implement [`CacheableResponse`].
pub trait UnmeasuredResponse {
    /// Returns 1 KiB, since nothing is known.
    fn heap_bytes(&self) -> usize {
        UNMEASURED_HEAP
    }

    /// Returns `true`.
    fn is_cacheable(&self) -> bool {
        true
    }
}

impl<V> UnmeasuredResponse for &ResponseProbe<'_, V> {}

#[cfg(test)]
mod tests {
    use super::{CacheableResponse as _, ResponseProbe, UnmeasuredResponse as _};

    struct Plain;

    #[test]
    #[allow(clippy::needless_borrow)] // The borrow selects the implementation.
    fn the_probe_finds_the_size_if_the_type_tells_it() {
        assert_eq!((&ResponseProbe(&vec![vec![1_u8; 3], Vec::new()])).heap_bytes(), 3 + 2 * 24);
        assert_eq!((&ResponseProbe(&Plain)).heap_bytes(), 1024);
        assert!((&ResponseProbe(&Plain)).is_cacheable());
    }
}

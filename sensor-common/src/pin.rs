//! The layout of a type, pinned: a change of it is a change of a number beside it.

/// Asserts the size of a type and where each of its fields begins; all of its fields are to be named.
macro_rules! pin {
    ($ty:ty, $size:expr, { $($field:ident: $at:expr),+ $(,)? }) => {
        const _: () = {
            assert!(size_of::<$ty>() == $size);
            $(assert!(core::mem::offset_of!($ty, $field) == $at);)+
        };
    };
}
pub(crate) use pin;

/// Lets the loader pass a type through aya.
macro_rules! pod {
    ($($ty:ty),+ $(,)?) => {
        $(
            // SAFETY: any bytes are a value of it, and it has no padding: both are derived, thus checked by the
            // compiler, and asked for here.
            #[cfg(feature = "user")]
            unsafe impl aya::Pod for $ty where $ty: zerocopy::FromBytes + zerocopy::IntoBytes {}
        )+
    };
}
pub(crate) use pod;

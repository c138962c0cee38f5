//! Fields of map values, which every CPU shares.
//!
//! Two CPUs may have the same value, and the kernel gives the memory of a value that was removed to the next key. So a
//! value is only ever what a raw pointer points to: there is no reference to it, and each field is read and written
//! whole, by a volatile access. What another CPU writes meanwhile changes what is read. A write through a pointer whose
//! key was removed meanwhile goes into the value of another key: fields of the moment only, which the next packet sets
//! anew. Counters that must not lose a step are added to atomically (`stats::increment`).

/// Reads a field of the value at a raw pointer: `get!(thread.len)`.
macro_rules! get {
    ($value:ident . $($field:tt)+) => {
        (&raw const (*$value).$($field)+).read_volatile()
    };
}
pub(crate) use get;

/// Writes one: `set!(thread.len = 0)`.
macro_rules! set {
    ($value:ident . $field:ident = $new:expr) => {
        (&raw mut (*$value).$field).write_volatile($new)
    };
}
pub(crate) use set;

//! The objects of a line, field by field, in the order in which they are written.
//!
//! The comment of a field is its documentation in `sensor schema`: what it means, its unit, where it comes from, and
//! when it is absent. Every field can be absent here; `read` says which ones a finding needs.

mod base;
mod deploy;
mod process;
mod sensor;
mod ssh;

pub use base::*;
pub use deploy::*;
pub use process::*;
pub use sensor::*;
pub use ssh::*;

/// Structs of a line: absent fields are not written, and what does not fit is read as absent.
macro_rules! objects {
    () => {};
    ($(#[$doc:meta])* $name:ident <$life:lifetime> { $($body:tt)* } $($rest:tt)*) => {
        $crate::schema::ecs::fields::objects! {
            @struct [$(#[$doc])* #[serde(bound(deserialize = "'de: 'a"))]] $name [<$life>] [<'de: $life, $life>] $($body)*
        }
        $crate::schema::ecs::fields::objects! { $($rest)* }
    };
    ($(#[$doc:meta])* $name:ident { $($body:tt)* } $($rest:tt)*) => {
        $crate::schema::ecs::fields::objects! { @struct [$(#[$doc])*] $name [] [<'de>] $($body)* }
        $crate::schema::ecs::fields::objects! { $($rest)* }
    };
    (@struct [$($attributes:tt)*] $name:ident [$($lent:tt)*] [$($both:tt)*] $($body:tt)*) => {
        #[serde_with::apply(Option => #[serde(
            default,
            deserialize_with = "crate::schema::ecs::loose::loose",
            skip_serializing_if = "Option::is_none"
        )])]
        #[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        $($attributes)*
        pub struct $name $($lent)* { $($body)* }

        impl $($both)* crate::schema::ecs::loose::Loose<'de> for $name $($lent)* {
            fn object<A: serde::de::MapAccess<'de>>(object: A) -> Result<Option<Self>, A::Error> {
                crate::schema::ecs::loose::object(object)
            }
        }
    };
}

pub(super) use objects;

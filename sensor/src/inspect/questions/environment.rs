//! Variables of a process's initial environment, by name: a claim of its parent.
//!
//! Only what is asked for leaves the worker, since an environment is full of secrets. Kernel fact: /proc/PID/environ is the memory that execve laid out
//! and the process may have written over; reading it touches that memory, which can be a file of a slow file system. Too much of it is cut and marked.

use std::io::Read as _;

use super::{Environment, Place, Unknown};

/// More than execve takes by default (a quarter of the stack's limit of 8 MiB): read this far.
const ENVIRON_MAX: u64 = 2 << 20;
/// Longer values are left out, as if cut: what is asked for are paths, addresses and names.
const VALUE_MAX: usize = 4096;

pub(super) fn answer(place: &Place, names: &[String]) -> Result<Environment, Unknown> {
    let mut bytes = Vec::new();
    place.environ.as_ref().ok_or(Unknown::Gone)?.take(ENVIRON_MAX).read_to_end(&mut bytes)?;
    let mut found = select(&bytes, names);
    found.cut |= bytes.len() as u64 == ENVIRON_MAX;
    Ok(found)
}

/// The first variable of each name counts, as for getenv(3).
fn select(bytes: &[u8], names: &[String]) -> Environment {
    let mut found = Environment { variables: Vec::new(), cut: false };
    for entry in bytes.split(|byte| *byte == 0) {
        let Some(at) = entry.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (entry.get(..at).unwrap_or_default(), entry.get(at + 1..).unwrap_or_default());
        let Some(name) = names.iter().find(|wanted| wanted.as_bytes() == name) else { continue };
        if found.variables.iter().any(|(known, _)| known == name) {
            continue;
        }
        if value.len() > VALUE_MAX {
            found.cut = true;
        } else {
            found.variables.push((name.clone(), value.to_vec().into()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_variables_asked_for_leave_the_worker_and_the_first_counts() {
        let names = ["A".into(), "LONG".into()];
        let long = format!("LONG={}", "x".repeat(VALUE_MAX + 1));
        let bytes = ["SECRET=s", "A=1=2", "A=3", "AB=4", "=5", "A", &long].join("\0");
        let expected = Environment { variables: vec![("A".into(), b"1=2".to_vec().into())], cut: true };
        assert_eq!(select(bytes.as_bytes(), &names), expected);
    }
}

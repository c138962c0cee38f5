//! The labels of commands, from the configuration as it was written to what the middle takes: the default added, every
//! pattern tried.

use crate::{
    config::Config,
    event::labels::{Label, SENSITIVE},
};

#[derive(Debug, thiserror::Error)]
#[error("commands.{label}: {source}")]
pub(super) struct Error {
    label: String,
    source: Box<regex::Error>,
}

/// `sensitive` is there unless the configuration has another one; an empty list takes a label away.
pub(super) fn labels(config: &Config) -> Result<Vec<Label>, Error> {
    let mut commands = config.commands.clone();
    let sensitive = || SENSITIVE.iter().map(|pattern| (*pattern).to_owned()).collect();
    commands.entry("sensitive".into()).or_insert_with(sensitive);
    commands.retain(|_, patterns| !patterns.is_empty());
    let labels = commands.into_iter().map(|(name, patterns)| Label { name, patterns });
    let tried = labels.map(|label| match label.compile() {
        Ok(_) => Ok(label),
        Err(error) => Err(Error { label: label.name, source: Box::new(error) }),
    });
    tried.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, usize)>, String> {
        let labels = labels(&Config::parse(text, "x".as_ref()).unwrap()).map_err(|error| error.to_string())?;
        Ok(labels.into_iter().map(|label| (label.name, label.patterns.len())).collect())
    }

    #[test]
    fn labels_are_added_to_sensitive_or_replace_it() {
        let label = |name: &str, patterns| (name.to_owned(), patterns);
        let all = SENSITIVE.len();
        assert_eq!(of("").unwrap(), [label("sensitive", all)]);
        assert_eq!(of("[commands]\ndeploy = ['kamal']").unwrap(), [label("deploy", 1), label("sensitive", all)]);
        assert_eq!(of("[commands]\nsensitive = ['a', 'b']").unwrap(), [label("sensitive", 2)]);
        assert_eq!(of("[commands]\nsensitive = []").unwrap(), []);
    }

    #[test]
    fn a_pattern_that_is_wrong_or_too_large_is_refused_by_its_label() {
        let error = of("[commands]\nx = ['a', '(']").unwrap_err();
        assert!(error.contains("commands.x") && error.contains("unclosed group"), "{error}");
        let error = of(r"[commands]
x = ['(\w{9}){9999}']")
        .unwrap_err();
        assert!(error.contains("commands.x") && error.contains("size"), "{error}");
    }
}

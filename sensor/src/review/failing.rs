//! Which step made a deploy fail.
//!
//! What enters: a deploy that failed, and its tree. What leaves: one node marked `failing`; none if no step has failed.

use super::{
    deploy::{Deploy, Outcome},
    node::{Kind, Node},
};

/// Does it fit the step, on this host?
type Criterion<'a> = dyn Fn(&Node, Option<&str>) -> bool + 'a;

/// Marks what made the deploy fail: the step that its error quotes, of the host that it names; else the last that
/// failed, since a deploy goes on after a failure that does not matter.
pub(super) fn mark(deploy: &Deploy, tree: &mut [Node]) {
    if deploy.outcome != Outcome::Failure {
        return;
    }
    let error = deploy.error.as_deref().unwrap_or_default();
    let is_quoted =
        |node: &Node, _: Option<&str>| node.has_failed() && node.line.len() > 3 && error.contains(&node.line);
    // `LINE` ended with 1 on HOST.
    let is_quoted_of = |node: &Node, host: Option<&str>| {
        let after = || error.rsplit(node.line.as_str()).next().unwrap_or_default();
        is_quoted(node, host) && host.is_some_and(|host| after().split([' ', ',', ';']).any(|word| word == host))
    };
    let has_failed = |node: &Node, _: Option<&str>| node.has_failed();
    let criteria: [&Criterion; 3] = [&is_quoted_of, &is_quoted, &has_failed];
    for fits in criteria {
        let mut last: Option<&mut Node> = None;
        for top in tree.iter_mut() {
            let host = top.host.clone();
            for node in steps_of(top) {
                let later = |last: &mut Node| last.time.map(|time| time.0) <= node.time.map(|time| time.0);
                if fits(node, host.as_deref()) && last.as_deref_mut().is_none_or(later) {
                    last = Some(node);
                }
            }
        }
        if let Some(node) = last {
            node.failing = true;
            return;
        }
    }
}

/// The steps of a section or host, past its connections.
fn steps_of(top: &mut Node) -> Vec<&mut Node> {
    let mut steps = Vec::new();
    for child in &mut top.children {
        match child.kind {
            Kind::Connection if !child.children.is_empty() => steps.extend(child.children.iter_mut()),
            Kind::Connection | Kind::Remote | Kind::Hook | Kind::Local => steps.push(child),
            _ => {}
        }
    }
    steps
}

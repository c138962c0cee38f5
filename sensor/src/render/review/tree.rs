//! The tree of a deploy. Columns first (when, how long, how it ended), so that they stay in line however deep the tree
//! is.
//!
//! What does not fit is cut; the line that made the deploy fail is shown whole.

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr as _;

use super::look::{Look, text};
use crate::{
    event::time::Time,
    render::table::{cell, cut, duration, plural},
    review::{Deploy, Node, deploy::Outcome, node::Kind},
};

const DIM: &str = "2";
/// Room for a line of the tree on a terminal that has none.
const NARROW: usize = 20;
const FAILED_HERE: &str = "FAILED HERE: ";

pub(super) fn draw(look: &Look, deploy: &Deploy, nodes: &[Node]) -> String {
    let mut drawing = Drawing { look, start: deploy.time(), out: String::new() };
    if !nodes.is_empty() {
        let heading = format!("{:>9} {:>7}  {:<9}  {}", "AFTER", "TOOK", "RESULT", "WHAT");
        drawing.out = look.paint("1", &heading) + "\n";
    }
    drawing.children(nodes, "");
    drawing.out
}

struct Drawing<'a> {
    look: &'a Look,
    start: i64,
    out: String,
}

impl Drawing<'_> {
    fn children(&mut self, nodes: &[Node], prefix: &str) {
        for (at, node) in nodes.iter().enumerate() {
            let is_last = at + 1 == nodes.len();
            let (branch, below) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            self.node(node, &format!("{prefix}{branch}"), &format!("{prefix}{below}"));
            self.children(&node.children, &format!("{prefix}{below}"));
        }
    }

    fn node(&mut self, node: &Node, branch: &str, below: &str) {
        let after = node.time.map(|time| self.after(time)).unwrap_or_default();
        let took = node.duration.map(duration).unwrap_or_default();
        let gutter = format!("{after:>9} {took:>7}  {}  ", cell(&text(&result(node)), 9));
        let empty = " ".repeat(gutter.width());
        let used = gutter.width() + branch.width();
        let room = self.look.width.map_or(usize::MAX, |width| width.saturating_sub(used).max(NARROW));
        let style = style(node);
        let text = text(&what(node));
        if node.failing {
            let text = format!("{FAILED_HERE}{text}");
            let bar = if node.children.is_empty() { below.to_owned() } else { format!("{below}│  ") };
            for (at, part) in textwrap::wrap(&text, room).iter().enumerate() {
                let (gutter, branch) = if at == 0 { (&gutter, branch) } else { (&empty, bar.as_str()) };
                self.line(gutter, branch, part, style);
            }
        } else {
            self.line(&gutter, branch, &cut(&text, room), style);
        }
    }

    fn line(&mut self, gutter: &str, branch: &str, text: &str, style: &str) {
        let plain = format!("{gutter}{branch}{text}");
        if self.look.color && !style.is_empty() {
            let _ = write!(self.out, "{}{branch}{}", self.look.paint(style, gutter), self.look.paint(style, text));
        } else {
            self.out += plain.trim_end();
        }
        self.out.push('\n');
    }

    /// Since the deploy began.
    fn after(&self, time: Time) -> String {
        let sign = if time.0 < self.start { '-' } else { '+' };
        format!("{sign}{}", duration(time.0.abs_diff(self.start)))
    }
}

fn result(node: &Node) -> String {
    match (&node.exit_signal, node.exit_status, node.outcome) {
        (Some(signal), _, _) => format!("signal {signal}"),
        (None, Some(0), outcome) if outcome != Some(Outcome::Failure) => "ok".into(),
        (None, Some(status @ 1..), _) => format!("exit {status}"),
        (None, _, Some(Outcome::Failure)) => "failed".into(),
        (None, _, Some(Outcome::Success)) => "ok".into(),
        (None, _, _) => String::new(),
    }
}

fn what(node: &Node) -> String {
    let mut text = match node.kind {
        Kind::Hook => format!("hook {}", node.line),
        Kind::Lock => match &node.host {
            Some(host) => format!("{} on {host}", node.line),
            None => node.line.clone(),
        },
        Kind::Host => host(node),
        Kind::Connection if !node.children.is_empty() => format!("connection {}", node.line),
        _ => node.line.clone(),
    };
    for (name, value) in [("container", &node.container), ("image", &node.image)] {
        if let Some(value) = value.as_ref().filter(|value| !node.line.contains(value.as_str())) {
            let _ = write!(text, "  [{name} {value}]");
        }
    }
    if let Some(note) = &node.note {
        let _ = write!(text, "  ({note})");
    }
    text
}

/// A host says how much was done there.
fn host(node: &Node) -> String {
    let (mut steps, mut failed) = (0, 0);
    for child in &node.children {
        for step in std::iter::once(child).chain(&child.children).filter(|step| step.kind == Kind::Remote) {
            steps += 1;
            failed += u64::from(step.has_failed());
        }
    }
    let role = node.role.as_ref().map(|role| format!(", {role}")).unwrap_or_default();
    let steps = if steps > 0 { format!(": {}", plural(steps, "command")) } else { String::new() };
    let failed = if failed > 0 { format!(", {failed} failed") } else { String::new() };
    format!("{}{role}{steps}{failed}", node.line)
}

fn style(node: &Node) -> &'static str {
    match node.kind {
        _ if node.failing => "1;31",
        Kind::Section | Kind::Host if !node.has_failed() => "1",
        Kind::Process if !node.has_failed() => DIM,
        // A process that failed below a command that did not is nothing unusual.
        Kind::Process => "33",
        _ if node.has_failed() => "31",
        _ => "",
    }
}

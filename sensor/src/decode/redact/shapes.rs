//! Tokens that are known by their look, wherever they stand.
//!
//! In: one word, or a body of text. Out: the ranges of tokens, PEM private keys, `Bearer` values and webhook
//! paths. It rests on the prefixes their makers publish for secret scanners. Minimum lengths are well below
//! the real ones, since the last argument may be cut. A private key without its END line goes to the end.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use memchr::memmem::{self, Finder};

use super::edits::Edit;
use crate::shell::bytes::{before, part, run_end, tail};

/// A published token format.
struct Shape {
    prefix: &'static str,
    /// Bytes of the token after the prefix, at least.
    min: usize,
    /// What the token is made of, besides letters and digits.
    also: &'static [u8],
    /// Short prefixes count at the start of a run only (`task-...` holds `sk-`), and if a digit follows.
    weak: bool,
    /// Keep the prefix: it is an address, not a part of the token.
    keep: bool,
}

const fn strong(prefix: &'static str) -> Shape {
    Shape { prefix, min: 8, also: b"_-.", weak: false, keep: false }
}

const fn weak(prefix: &'static str, min: usize) -> Shape {
    Shape { prefix, min, also: b"_-.", weak: true, keep: false }
}

const fn address(prefix: &'static str) -> Shape {
    Shape { prefix, min: 8, also: b"_-/.", weak: false, keep: true }
}

const SHAPES: &[Shape] = &[
    // AWS key ids: not secret alone, but they name the account and often precede the secret.
    Shape { prefix: "AKIA", min: 12, also: b"", weak: true, keep: false },
    Shape { prefix: "ASIA", min: 12, also: b"", weak: true, keep: false },
    // GitHub, GitLab.
    strong("ghp_"),
    strong("gho_"),
    strong("ghu_"),
    strong("ghs_"),
    strong("ghr_"),
    strong("github_pat_"),
    strong("glpat-"),
    strong("gldt-"),
    strong("glrt-"),
    strong("glptt-"),
    strong("glcbt-"),
    // Slack, Discord, Teams.
    strong("xoxa-"),
    strong("xoxb-"),
    strong("xoxp-"),
    strong("xoxr-"),
    strong("xoxs-"),
    strong("xoxe-"),
    strong("xapp-"),
    address("hooks.slack.com/services/"),
    address("hooks.slack.com/workflows/"),
    address("hooks.slack.com/triggers/"),
    address("discord.com/api/webhooks/"),
    address("discordapp.com/api/webhooks/"),
    Shape { prefix: "api.telegram.org/bot", min: 8, also: b":_-", weak: false, keep: true },
    // Package registries.
    strong("npm_"),
    strong("pypi-AgE"),
    strong("dckr_pat_"),
    strong("rubygems_"),
    // Payment, mail, shops.
    strong("sk_live_"),
    strong("rk_live_"),
    strong("sk_test_"),
    strong("rk_test_"),
    strong("whsec_"),
    strong("shpat_"),
    weak("SG.", 20),
    // Model vendors.
    strong("sk-ant-"),
    weak("sk-", 20),
    weak("hf_", 16),
    // Google, DigitalOcean, HashiCorp, Tailscale, Grafana, age.
    weak("AIza", 24),
    weak("ya29.", 12),
    strong("dop_v1_"),
    weak("hvs.", 16),
    weak("hvb.", 16),
    strong("tskey-"),
    strong("glsa_"),
    strong("AGE-SECRET-KEY-1"),
    // JSON Web Tokens: two dots are checked below.
    Shape { prefix: "eyJ", min: 16, also: b"_-.", weak: true, keep: false },
];

static FINDERS: LazyLock<Vec<(Finder<'static>, &'static Shape)>> =
    LazyLock::new(|| SHAPES.iter().map(|shape| (Finder::new(shape.prefix), shape)).collect());

/// All that a shape begins with, in one automaton: nearly every word has none of it, and looking for each costs a
/// microsecond a word. If it cannot be built, each is looked for.
static ANY: LazyLock<Option<AhoCorasick>> = LazyLock::new(|| {
    let prefixes = SHAPES.iter().map(|shape| shape.prefix).chain(["earer ", "-----BEGIN "]);
    AhoCorasick::builder().kind(Some(AhoCorasickKind::DFA)).build(prefixes).ok()
});

/// The shortest text that could hold a shape: `npm_` and 8 bytes, `Bearer` and 6.
const SHORTEST: usize = 12;

/// The needles every shape holds one of.
pub(super) fn needles() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.prefix).chain(["private key"])
}

/// Adds an edit for every token in `text`.
/// `code`: a private key that does not end takes what looks like its body, and not the code behind it.
pub(super) fn search(text: &[u8], code: bool, edits: &mut Vec<Edit>) {
    if text.len() < SHORTEST || ANY.as_ref().is_some_and(|any| !any.is_match(text)) {
        return;
    }
    for (finder, shape) in FINDERS.iter() {
        search_shape(text, finder, shape, edits);
    }
    search_bearer(text, edits);
    search_pem(text, code, edits);
}

fn search_shape(text: &[u8], finder: &Finder, shape: &Shape, edits: &mut Vec<Edit>) {
    let is_body = |b: u8| b.is_ascii_alphanumeric() || shape.also.contains(&b);
    // A run of body bytes is judged once, at the first prefix in it: this keeps the search linear.
    let mut judged = 0;
    for start in finder.find_iter(text) {
        if start < judged || (shape.weak && before(text, start).is_ascii_alphanumeric()) {
            continue;
        }
        let from = start + shape.prefix.len();
        let end = run_end(text, from, is_body);
        judged = end;
        let body = part(text, from, end);
        let is_jwt = shape.prefix != "eyJ" || body.contains(&b'.');
        if body.len() >= shape.min && is_jwt && (!shape.weak || body.iter().any(u8::is_ascii_digit)) {
            edits.push(Edit::mark(if shape.keep { from } else { start }, end));
        }
    }
}

/// `Bearer TOKEN` in any text; in an `Authorization` header the name finds shorter ones.
fn search_bearer(text: &[u8], edits: &mut Vec<Edit>) {
    for i in memmem::find_iter(text, b"earer ") {
        let from = i + 6;
        let end = run_end(text, from, |b| b.is_ascii_alphanumeric() || b"_-.~+/=".contains(&b));
        if matches!(before(text, i), b'b' | b'B') && is_bearer_token(part(text, from, end)) {
            edits.push(Edit::mark(from, end));
        }
    }
}

/// Whether the word after "Bearer" is a token, and not prose ("bearer authentication").
pub(super) fn is_bearer_token(word: &[u8]) -> bool {
    word.iter().all(|&b| is_bearer_byte(b))
        && (word.len() >= 16 || (word.len() >= 6 && word.iter().any(u8::is_ascii_digit)))
}

/// RFC 6750 section 2.1.
fn is_bearer_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"-_.~+/=".contains(&b)
}

fn search_pem(text: &[u8], code: bool, edits: &mut Vec<Edit>) {
    let mut done = 0;
    while let Some(i) = memmem::find(tail(text, done), b"-----BEGIN ") {
        let start = done + i;
        let label_end = start + 11;
        done = label_end;
        // The longest label in use: "ENCRYPTED PRIVATE KEY", "PGP PRIVATE KEY BLOCK".
        if memmem::find(part(text, label_end, label_end + 40), b"PRIVATE KEY").is_none() {
            continue;
        }
        let end = memmem::find(tail(text, label_end), b"-----END ").map_or(text.len(), |i| {
            let label = label_end + i + 9;
            memmem::find(tail(text, label), b"-----").map_or(text.len(), |i| label + i + 5)
        });
        let end = if code { end.min(pem_end(text, label_end)) } else { end };
        edits.push(Edit::mark(start, end));
        done = end;
    }
}

/// Where base64, line ends (real or written out), headers and the END line stop.
fn pem_end(text: &[u8], label: usize) -> usize {
    let label_end = memmem::find(part(text, label, label + 64), b"-----").map_or(label, |i| label + i + 5);
    let mut end = run_end(text, label_end, |b| b.is_ascii_alphanumeric() || b"+/=\n\r\\:,-".contains(&b));
    while before(text, end) == b':' && tail(text, end).starts_with(b" ") {
        end = run_end(text, end + 1, |b| b.is_ascii_alphanumeric() || b"+/=\n\r\\:,-".contains(&b));
    }
    // `-----END RSA PRIVATE KEY-----` holds blanks.
    let rest = part(text, end, end + 32);
    memmem::find(rest, b"PRIVATE KEY-----").map_or(end, |i| end + i + 16)
}

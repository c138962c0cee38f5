//! Files of one crate do not import each other in circles: what a file needs lies below it, and can be read without it.
//!
//! What enters: the sources, parsed (`syn`). What leaves: circles, but for those that are named here with the reason.
//! An import counts for the file that declares the name: a `use` of a module that only passes it on is followed.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    path::Path,
};

use syn::visit::{self, Visit};

/// Circles that are there, by a folder that has all of their files, and why.
const ALLOWED: &[(&str, &str)] = &[];

type Module = Vec<String>;

#[derive(Default)]
struct Source {
    file: String,
    /// Paths that it names, as segments; the first is `crate`, `super`, `self` or a child.
    paths: Vec<Vec<String>>,
    /// Names that it has from elsewhere.
    names: HashMap<String, Vec<String>>,
}

impl Source {
    fn tree(&mut self, tree: &syn::UseTree, before: &[String]) {
        let with = |name: &syn::Ident| before.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            syn::UseTree::Path(path) => self.tree(&path.tree, &with(&path.ident)),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(item, before)),
            syn::UseTree::Name(name) if name.ident == "self" => {
                self.named(before.last().cloned().unwrap_or_default(), before);
            }
            syn::UseTree::Name(name) => self.named(name.ident.to_string(), &with(&name.ident)),
            syn::UseTree::Rename(name) => self.named(name.rename.to_string(), &with(&name.ident)),
            syn::UseTree::Glob(_) => self.paths.push(before.to_vec()),
        }
    }

    fn named(&mut self, name: String, path: &[String]) {
        self.names.insert(name, path.to_vec());
        self.paths.push(path.to_vec());
    }
}

fn is_test(attributes: &[syn::Attribute]) -> bool {
    let is_cfg = |attribute: &&syn::Attribute| attribute.path().is_ident("cfg");
    attributes.iter().filter(is_cfg).any(|attribute| {
        let syn::Meta::List(list) = &attribute.meta else { return false };
        list.tokens.to_string().contains("test")
    })
}

impl<'ast> Visit<'ast> for Source {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &[]);
    }

    // `pub(in crate::a)` says who may use it, and uses nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.segments.len() > 1 {
            self.paths.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }
}

fn read(folder: &Path, module: &Module, sources: &mut BTreeMap<Module, Source>, root: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let child = || module.iter().cloned().chain([name.clone()]).collect::<Module>();
        if path.is_dir() {
            read(&path, &child(), sources, root);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !name.ends_with("tests") {
            let own = if matches!(name.as_str(), "mod" | "lib" | "main") { module.clone() } else { child() };
            let mut source =
                Source { file: path.strip_prefix(root).unwrap().display().to_string(), ..Source::default() };
            source.visit_file(&syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap());
            sources.insert(own, source);
        }
    }
}

/// The module whose file declares what a path names; None: another crate's.
fn resolve(sources: &BTreeMap<Module, Source>, own: &Module, path: &[String], depth: usize) -> Option<Module> {
    let (mut at, mut rest) = match path.first()?.as_str() {
        "crate" => (Module::new(), &path[1..]),
        "self" => (own.clone(), &path[1..]),
        "super" => (own.clone(), path),
        child if sources.contains_key(&[own.as_slice(), &[child.to_owned()]].concat()) => (own.clone(), path),
        _ => return None,
    };
    while rest.first().is_some_and(|segment| segment == "super") {
        at.pop()?;
        rest = &rest[1..];
    }
    while let Some(next) = rest.first() {
        let below = [at.as_slice(), std::slice::from_ref(next)].concat();
        if !sources.contains_key(&below) {
            break;
        }
        (at, rest) = (below, &rest[1..]);
    }
    let passed_on = rest.first().and_then(|name| sources.get(&at)?.names.get(name));
    match passed_on {
        Some(path) if depth > 0 => resolve(sources, &at, path, depth - 1),
        _ => Some(at),
    }
}

/// Which modules can be reached from this one.
fn reach(edges: &BTreeMap<Module, BTreeSet<Module>>, from: &Module) -> BTreeSet<Module> {
    let (mut found, mut open) = (BTreeSet::new(), vec![from]);
    while let Some(module) = open.pop() {
        open.extend(edges.get(module).into_iter().flatten().filter(|next| found.insert((*next).clone())));
    }
    found
}

/// Files of each circle.
fn circles(root: &Path, krate: &str) -> Vec<Vec<String>> {
    let mut sources = BTreeMap::new();
    read(&root.join(krate), &Module::new(), &mut sources, root);
    assert!(sources.len() > 2, "no sources in {krate}");
    let of = |(own, source): (&Module, &Source)| {
        let used = source.paths.iter().filter_map(|path| resolve(&sources, own, path, 4));
        (own.clone(), used.filter(|used| used != own && sources.contains_key(used)).collect())
    };
    let edges: BTreeMap<Module, BTreeSet<Module>> = sources.iter().map(of).collect();
    let reached: BTreeMap<&Module, BTreeSet<Module>> = edges.keys().map(|own| (own, reach(&edges, own))).collect();
    let mut circles = BTreeSet::new();
    for (own, reached_from) in &reached {
        if reached_from.contains(*own) {
            let both = |other: &&Module| reached_from.contains(*other) && reached[*other].contains(*own);
            circles.insert(edges.keys().filter(both).map(|module| sources[module].file.clone()).collect::<Vec<_>>());
        }
    }
    circles.into_iter().collect()
}

#[test]
fn imports_of_files_are_trees() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (mut wrong, mut needed) = (Vec::new(), BTreeSet::new());
    for krate in ["sensor/src", "sensor-common/src", "sensor-ebpf/src", "xtask/src"] {
        for circle in circles(root, krate) {
            println!("{}", circle.join(" "));
            let fits = |folder: &str| circle.iter().all(|file| file.starts_with(&format!("{folder}/")));
            match ALLOWED.iter().find(|(folder, _)| fits(folder)) {
                Some((folder, _)) => drop(needed.insert(*folder)),
                None => wrong.push(circle.join(" ")),
            }
        }
    }
    assert!(wrong.is_empty(), "files that import each other in a circle:\n{}", wrong.join("\n"));
    let idle: Vec<_> = ALLOWED.iter().filter(|(folder, _)| !needed.contains(folder)).collect();
    assert!(idle.is_empty(), "no circle is there any more, so none is allowed: {idle:?}");
}

#[test]
fn a_circle_is_found_also_through_a_module_that_passes_a_name_on() {
    let folder = std::env::temp_dir().join(format!("sensor-circles-{}", std::process::id()));
    fs::create_dir_all(folder.join("src/a")).unwrap();
    let files = [
        ("src/lib.rs", "mod a;\nmod b;\nmod c;\n"),
        ("src/a/mod.rs", "mod inner;\npub use inner::Thing;\n"),
        ("src/a/inner.rs", "pub struct Thing(crate::b::Other);\n"),
        ("src/b.rs", "use crate::a::Thing;\npub struct Other(Option<Box<Thing>>);\n"),
        ("src/c.rs", "use crate::{a::Thing, b::Other};\npub(in crate::c) fn f(_: Thing, _: Other) {}\n"),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
    let found = circles(&folder, "src");
    fs::remove_dir_all(&folder).unwrap();
    assert_eq!(found, [["src/a/inner.rs", "src/b.rs"]]);
}

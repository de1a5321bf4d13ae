//! Which file imports which, read from the code by its paths.
//!
//! A file imports another one if it names something that is defined there. What a
//! module only passes on (`pub use`) belongs to where it is defined: whoever names it
//! imports that file, and the module that passes it on imports nothing by that. What a
//! module takes from those that it lies in does not count either: they are one module in
//! several files. Nor does code for tests alone.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};
use syn::{Attribute, File, Item, Meta, UseTree, Visibility};

/// A module's path: the package, then names.
type Module = Vec<String>;

/// A file, read.
#[derive(Default)]
struct Source {
    module: Module,
    /// What is defined there.
    items: BTreeSet<String>,
    /// What is passed on, by its name there: the path that leads to it. A glob has the
    /// name `*`, and may stand for several.
    passed_on: BTreeMap<String, Vec<Vec<String>>>,
    /// Names that stand for other paths in this file.
    imported: BTreeMap<String, Vec<String>>,
    /// All paths that are named.
    paths: Vec<Vec<String>>,
}

/// The files that each file imports. `sources` are the files of packages, each by its
/// path, `PACKAGE/src/…`, and its text.
///
/// # Errors
/// The name of a file that is no Rust, and why.
pub fn imports(sources: &[(String, String)]) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut files = BTreeMap::new();
    for (path, text) in sources {
        let file = syn::parse_file(text).map_err(|error| format!("{path}: {error}"))?;
        files.insert(path.clone(), read(module_of(path), &file));
    }
    let modules: BTreeMap<&Module, &String> =
        files.iter().map(|(path, source)| (&source.module, path)).collect();
    let mut found = BTreeMap::new();
    for (path, source) in &files {
        let named = source.imported.values().chain(&source.paths);
        let mut targets: BTreeSet<String> =
            named.filter_map(|named| resolve(source, named, &files, &modules, 0)).collect();
        let is_around = |target: &String| source.module.starts_with(&files[target].module);
        targets.retain(|target| !is_around(target));
        found.insert(path.clone(), targets);
    }
    Ok(found)
}

/// The circles of files that import each other, each in the order of their names.
pub fn circles(imports: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|from| (from, reachable(imports, from))).collect();
    let mut circles = BTreeSet::new();
    for (from, targets) in &reached {
        let back = |target: &&&String| reached.get(**target).is_some_and(|it| it.contains(*from));
        let circle: Vec<String> = targets.iter().filter(back).map(|it| (*it).clone()).collect();
        if circle.len() > 1 {
            circles.insert(circle);
        }
    }
    circles.into_iter().collect()
}

/// All files that one imports, directly or through others.
fn reachable<'a>(
    imports: &'a BTreeMap<String, BTreeSet<String>>,
    from: &'a String,
) -> BTreeSet<&'a String> {
    let (mut found, mut waiting) = (BTreeSet::new(), vec![from]);
    while let Some(file) = waiting.pop() {
        for target in imports.get(file).into_iter().flatten() {
            if found.insert(target) {
                waiting.push(target);
            }
        }
    }
    found
}

/// The module that a file is.
fn module_of(path: &str) -> Module {
    let path = path.strip_suffix(".rs").unwrap_or(path).replace("/src/", "/");
    let mut module: Module = path.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| ["lib", "main", "mod"].contains(&last.as_str())) {
        module.pop();
    }
    module
}

fn read(module: Module, file: &File) -> Source {
    let mut reader = Reader { source: Source { module, ..Source::default() }, depth: 0 };
    file.items.iter().for_each(|item| reader.visit_item(item));
    reader.source
}

struct Reader {
    source: Source,
    /// Modules within the file that the item at hand lies in.
    depth: usize,
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item(&mut self, item: &'ast Item) {
        if attributes(item).iter().any(is_for_tests) {
            return;
        }
        if let Some(name) = name(item) {
            self.source.items.insert(name);
        }
        match item {
            Item::Use(item) => {
                let is_passed_on = !matches!(item.vis, Visibility::Inherited);
                let mut all = Vec::new();
                flatten(&item.tree, &mut Vec::new(), &mut all);
                for (name, path) in all {
                    if is_passed_on {
                        self.source.passed_on.entry(name).or_default().push(path);
                    } else if name == "*" {
                        self.source.paths.push(path);
                    } else {
                        self.source.imported.insert(name, path);
                    }
                }
            }
            Item::Mod(inner) if inner.content.is_some() => {
                self.depth += 1;
                visit::visit_item(self, item);
                self.depth -= 1;
            }
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut names: Vec<String> = path.segments.iter().map(|it| it.ident.to_string()).collect();
        // Out of the modules within the file first.
        let within = names.iter().take_while(|name| *name == "super").count().min(self.depth);
        names.drain(..within);
        if within > 0 {
            names.insert(0, "self".into());
        }
        self.source.paths.push(names);
        visit::visit_path(self, path);
    }
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// Whether an attribute is `cfg(test)`.
fn is_for_tests(attribute: &Attribute) -> bool {
    let Meta::List(list) = &attribute.meta else { return false };
    list.path.is_ident("cfg") && list.tokens.to_string() == "test"
}

/// What an item defines.
fn name(item: &Item) -> Option<String> {
    let ident = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(ident.to_string())
}

/// The paths of a `use`, each with the name that it has from there on.
fn flatten(tree: &UseTree, before: &mut Vec<String>, found: &mut Vec<(String, Vec<String>)>) {
    let with = |before: &[String], name: String| [before, &[name]].concat();
    match tree {
        UseTree::Path(path) => {
            before.push(path.ident.to_string());
            flatten(&path.tree, before, found);
            before.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found.push((before.last().cloned().unwrap_or_default(), before.clone()));
        }
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            found.push((name.clone(), with(before, name)));
        }
        UseTree::Rename(rename) => {
            found.push((rename.rename.to_string(), with(before, rename.ident.to_string())));
        }
        UseTree::Glob(_) => found.push(("*".into(), with(before, "*".into()))),
        UseTree::Group(group) => {
            group.items.iter().for_each(|tree| flatten(tree, before, found));
        }
    }
}

/// Most times that a name is passed on.
const PASSED_ON: usize = 16;

/// The file that defines what a path leads to, if that is one of ours.
fn resolve(
    source: &Source,
    path: &[String],
    files: &BTreeMap<String, Source>,
    modules: &BTreeMap<&Module, &String>,
    times: usize,
) -> Option<String> {
    if times > PASSED_ON {
        return None;
    }
    let (first, rest) = path.split_first()?;
    let mut rest = rest;
    let mut at = match first.as_str() {
        "crate" => source.module[..1].to_vec(),
        "self" => source.module.clone(),
        "super" => source.module[..source.module.len().checked_sub(1)?].to_vec(),
        name => {
            let child = [&source.module[..], &[name.to_owned()]].concat();
            if modules.contains_key(&child) {
                child
            } else if let Some(imported) = source.imported.get(name).filter(|it| it[..] != path[..])
            {
                let whole = [&imported[..], rest].concat();
                return resolve(source, &whole, files, modules, times + 1);
            } else if modules.contains_key(&vec![name.to_owned()]) {
                vec![name.to_owned()]
            } else {
                return None;
            }
        }
    };
    while let Some((name, after)) = rest.split_first() {
        if name == "super" {
            at.pop();
        } else {
            at.push(name.clone());
            if !modules.contains_key(&at) {
                at.pop();
                break;
            }
        }
        rest = after;
    }
    let file = *modules.get(&at)?;
    let here = &files[file];
    let name = rest.first()?;
    if name == "*" || here.items.contains(name) {
        return Some(file.clone());
    }
    let named = here.passed_on.get(name).into_iter().flatten();
    let globs = here.passed_on.get("*").into_iter().flatten();
    let passed_on = named.cloned().chain(globs.map(|glob| {
        let stem = &glob[..glob.len() - 1];
        [stem, std::slice::from_ref(name)].concat()
    }));
    let mut passed_on =
        passed_on.filter_map(|path| resolve(here, &path, files, modules, times + 1));
    passed_on.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sources: &[(&str, &str)]) -> BTreeMap<String, BTreeSet<String>> {
        let own = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        imports(&sources.iter().map(own).collect::<Vec<_>>()).unwrap()
    }

    const PARENT: &str = "mod one; mod two; pub use one::One; pub struct Both; fn f() {}";

    #[test]
    fn what_is_passed_on_belongs_to_where_it_is_defined() {
        let found = of(&[
            ("p/src/lib.rs", PARENT),
            ("p/src/one.rs", "pub struct One; use crate::two::Two;"),
            ("p/src/two.rs", "pub struct Two; fn g() -> crate::One { super::f() }"),
        ]);
        let targets = |path: &str| found[path].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(targets("p/src/lib.rs"), [""; 0]);
        assert_eq!(targets("p/src/one.rs"), ["p/src/two.rs"]);
        assert_eq!(targets("p/src/two.rs"), ["p/src/one.rs"], "it lies in lib.rs");
        assert_eq!(circles(&found), [["p/src/one.rs", "p/src/two.rs"]]);
    }

    #[test]
    fn aliases_globs_and_other_packages_are_followed_and_tests_are_not() {
        let found = of(&[
            ("p/src/lib.rs", "pub mod a; pub use a::*;"),
            ("p/src/a.rs", "pub struct A; #[cfg(test)] mod tests { use crate::b::B; }"),
            ("p/src/b.rs", "use crate::a as other; pub struct B(other::A);"),
            ("q/src/main.rs", "fn main() { let _ = p::A; }"),
        ]);
        let targets = |path: &str| found[path].iter().map(String::as_str).collect::<Vec<_>>();
        assert_eq!(targets("p/src/a.rs"), [""; 0]);
        assert_eq!(targets("p/src/b.rs"), ["p/src/a.rs"]);
        assert_eq!(targets("q/src/main.rs"), ["p/src/a.rs"]);
        assert_eq!(circles(&found), Vec::<Vec<String>>::new());
    }
}

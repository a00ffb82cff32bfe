//! No files of a crate may import each other in a circle: neither could be understood, compiled or
//! reused without the other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use petgraph::{algo::tarjan_scc, graphmap::DiGraphMap};
use syn::{
    ItemMod, ItemUse, UseTree, Visibility,
    visit::{self, Visit},
};

/// How many files of each crate are part of a circle. A change may lower a number, never raise it.
const IN_CIRCLES: &[(&str, usize)] = &[
    ("allocator", 0),
    ("entity", 0),
    ("jobs", 0),
    ("mcp", 0),
    ("migration", 0),
    ("oauth", 0),
    ("platform", 0),
    ("runner", 0),
    ("simulation", 0),
    ("app", 0),
    ("notes", 0),
    ("examples/bookmarks", 0),
    ("web", 0),
    ("worker", 0),
];

#[test]
fn files_do_not_import_each_other_in_a_circle() {
    let mut wrong = String::new();
    for (name, allowed) in IN_CIRCLES {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name).join("src");
        let house = Crate::read(&root);
        let circles = house.circles();
        let found = circles.iter().map(Vec::len).sum::<usize>();
        if found != *allowed {
            writeln!(wrong, "`{name}`: {found} files in circles instead of {allowed}").unwrap();
            for circle in circles {
                house.describe(&circle, &mut wrong);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A module's path from the root of its crate. Modules inside a file belong to the file's module.
type Module = Vec<String>;

/// The modules of a crate that are files of their own.
struct Crate {
    files: BTreeMap<Module, File>,
}

/// What a file imports and hands on.
#[derive(Default)]
struct File {
    /// The names that `use` declarations bring into the file, and what they stand for.
    names: BTreeMap<String, Vec<String>>,
    /// The paths that the file uses itself. Re-exports are none: they only hand a name on.
    used: BTreeSet<Vec<String>>,
}

impl Crate {
    fn read(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        let mut folders = vec![root.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|it| it == "rs")
                    && let Some(module) = module_of(root, &path)
                {
                    files.insert(module, path);
                }
            }
        }
        let modules: BTreeSet<Module> = files.keys().cloned().collect();
        let read = |(module, path): (Module, PathBuf)| {
            let text = fs::read_to_string(&path).unwrap();
            let parsed = syn::parse_file(&text)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let mut reader =
                Reader { modules: &modules, module: module.clone(), file: File::default() };
            reader.visit_file(&parsed);
            (module, reader.file)
        };
        Self { files: files.into_iter().map(read).collect() }
    }

    /// The file in which the thing at a path is defined, through re-exports.
    fn definer(&self, path: &[String]) -> &Module {
        let mut at = Module::new();
        let mut rest = path.to_vec();
        // A re-export may name another one; a circle of names does not compile.
        for _ in 0..64 {
            let Some(next) = rest.first().cloned() else { break };
            at.push(next.clone());
            if self.files.contains_key(&at) {
                rest.remove(0);
                continue;
            }
            at.pop();
            let Some(target) = self.files[&at].names.get(&next) else { break };
            rest.splice(0..1, target.iter().cloned());
            at.clear();
        }
        self.files.get_key_value(&at).expect("only modules are entered").0
    }

    /// The files on which a file depends, and the paths that say so.
    fn imports(&self, module: &Module) -> BTreeMap<&Module, Vec<String>> {
        let mut imports: BTreeMap<&Module, Vec<String>> = BTreeMap::new();
        for path in &self.files[module].used {
            let definer = self.definer(path);
            if definer != module {
                imports.entry(definer).or_default().push(path.join("::"));
            }
        }
        imports
    }

    fn circles(&self) -> Vec<Vec<&Module>> {
        let modules: Vec<&Module> = self.files.keys().collect();
        let number = |module: &Module| modules.binary_search(&module).expect("all are there");
        let mut graph = DiGraphMap::<usize, ()>::new();
        for (from, module) in modules.iter().enumerate() {
            for imported in self.imports(module).into_keys() {
                graph.add_edge(from, number(imported), ());
            }
        }
        let circles = tarjan_scc(&graph).into_iter().filter(|files| files.len() > 1);
        circles.map(|files| files.into_iter().map(|it| modules[it]).collect()).collect()
    }

    /// Writes which imports tie the files of a circle.
    fn describe(&self, circle: &[&Module], out: &mut String) {
        writeln!(out, "  a circle of {} files:", circle.len()).unwrap();
        for from in circle {
            for (to, paths) in self.imports(from) {
                if circle.contains(&to) {
                    let (from, to) = (from.join("::"), to.join("::"));
                    writeln!(out, "    {from} -> {to}: {}", paths.join(", ")).unwrap();
                }
            }
        }
    }
}

/// The module of a file; none for a program's `main.rs` and for tests.
fn module_of(root: &Path, path: &Path) -> Option<Module> {
    let path = path.strip_prefix(root).unwrap().with_extension("");
    let mut module: Module = path.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
    let source = matches!(module.last().map(String::as_str), Some("lib" | "mod"));
    if source {
        module.pop();
    }
    let left_out = ["main", "tests", "bin"];
    (!module.iter().any(|part| left_out.contains(&part.as_str()))).then_some(module)
}

/// Reads one file.
struct Reader<'a> {
    modules: &'a BTreeSet<Module>,
    module: Module,
    file: File,
}

impl Reader<'_> {
    /// A path from the root of the crate; none if it leads to another crate, or to a local name.
    fn absolute(&self, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        let mut base = self.module.clone();
        match first.as_str() {
            "crate" => return Some(rest.to_vec()),
            "self" => {}
            "super" => {
                base.pop();
                let ups = rest.iter().take_while(|part| *part == "super").count();
                base.truncate(base.len().saturating_sub(ups));
                return Some([base, rest[ups..].to_vec()].concat());
            }
            child => {
                base.push(child.to_owned());
                if !self.modules.contains(&base) {
                    return None;
                }
            }
        }
        Some([base, rest.to_vec()].concat())
    }

    fn import(&mut self, tree: &UseTree, before: &[String], is_re_export: bool) {
        let joined = |last: &str| [before, &[last.to_owned()]].concat();
        match tree {
            UseTree::Path(path) => {
                self.import(&path.tree, &joined(&path.ident.to_string()), is_re_export);
            }
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.import(tree, before, is_re_export);
                }
            }
            UseTree::Name(name) => {
                let name = name.ident.to_string();
                let path = if name == "self" { before.to_vec() } else { joined(&name) };
                let bound = path.last().cloned().unwrap_or_default();
                self.bind(bound, &path, is_re_export);
            }
            UseTree::Rename(name) => {
                self.bind(name.rename.to_string(), &joined(&name.ident.to_string()), is_re_export);
            }
            UseTree::Glob(_) => {
                if !is_re_export && let Some(path) = self.absolute(before) {
                    self.file.used.insert(path);
                }
            }
        }
    }

    fn bind(&mut self, name: String, path: &[String], is_re_export: bool) {
        let Some(path) = self.absolute(path) else { return };
        // What is taken from an imported module is seen where its name is used.
        if !is_re_export && !self.modules.contains(&path) {
            self.file.used.insert(path.clone());
        }
        self.file.names.insert(name, path);
    }
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let is_test = item.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test")
        });
        if !is_test {
            visit::visit_item_mod(self, item);
        }
    }

    /// `pub(in path)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.import(&item.tree, &[], !matches!(item.vis, Visibility::Inherited));
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let path_parts: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if path_parts.len() > 1 {
            let imported =
                self.file.names.get(&path_parts[0]).map(|it| [it, &path_parts[1..]].concat());
            if let Some(path) = imported.or_else(|| self.absolute(&path_parts)) {
                self.file.used.insert(path);
            }
        }
        visit::visit_path(self, path);
    }
}

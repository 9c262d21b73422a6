//! Imports go one way: a module names those of its own layer and of the layers below.

use std::collections::BTreeMap;
use std::path::Path;

/// From the bottom up. Of modules in one layer each may name the others.
const LAYERS: &[&[&str]] = &[
    // Of no graph and no device.
    &[
        "dtype",
        "shape",
        "error",
        "hash",
        "simd",
        "call_site",
        "small_map",
        "cache",
        "pool",
        "stop",
        "work",
        "debug::profile",
        "device",
        "buffer",
        "cpu::gemm",
    ],
    &["ops", "graph", "guards"],
    &["tape", "leaf", "optim"],
    &["plan", "backend", "schedule", "debug::explain"],
    &["evaluate", "transfer", "debug"],
    &["cpu"],
    // The meaning of a graph, in the CPU's kernels.
    &["reference"],
];

/// Names that `lib.rs` wires: what calls upwards does so through these.
const WIRED: [&str; 3] = ["ENGINE", "COMMITTER", "CPU"];
const MACROS: [&str; 3] = ["bail", "per_isa", "with_element"];

fn layer(path: &str) -> Option<usize> {
    let is_in = |name: &&str| path == *name || path.strip_prefix(*name).is_some_and(|rest| rest.starts_with("::"));
    LAYERS.iter().position(|layer| layer.iter().any(is_in))
}

/// The paths behind `crate::` in a text, with groups written out one level deep.
fn named(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with('$') {
            continue;
        }
        let rest = &text[at + "crate::".len()..];
        let head: String = rest.chars().take_while(|c| c.is_alphanumeric() || "_:".contains(*c)).collect();
        match rest[head.len()..].strip_prefix('{').and_then(|group| group.split_once('}')) {
            Some((group, _)) => out.extend(group.split(',').map(|name| format!("{head}{}", name.trim()))),
            None => out.push(head),
        }
    }
    out
}

/// Every source file with the path of its module.
fn sources(folder: &Path, module: &str, out: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap().to_string();
        let inner = match (module, stem.as_str()) {
            ("", stem) => stem.to_string(),
            (module, "mod") => module.to_string(),
            (module, stem) => format!("{module}::{stem}"),
        };
        if path.is_dir() {
            sources(&path, &inner, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.insert(inner, std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn modules_name_only_what_lies_below() {
    let mut all = BTreeMap::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "", &mut all);
    assert!(all.len() > 60, "the sources are where they were looked for");
    let mut wrong = Vec::new();
    for (module, text) in all.iter().filter(|(module, _)| *module != "lib") {
        let Some(own) = layer(module) else { panic!("{module} is in no layer of this test") };
        // A path in documentation is no import.
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
        for path in named(&code) {
            let first = path.split("::").next().unwrap();
            if WIRED.contains(&first) || MACROS.contains(&first) && !path.contains("::") {
                continue;
            }
            match layer(path.trim_end_matches(':')) {
                Some(other) if other <= own => {}
                Some(_) => wrong.push(format!("{module} names {path}, which lies above it")),
                None => wrong.push(format!("{module} names {path}, which is in no layer of this test")),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_device_is_a_number() {
    let text = include_str!("../src/device.rs");
    assert!(!text.contains("crate::"), "device.rs names no other module");
}

//! Cuts from the shader library the functions that a kernel uses.

use rustc_hash::FxHashMap;
use std::sync::OnceLock;

/// The sources that functions are cut from, in the order in which they are defined.
pub const SOURCES: [&str; 6] = [
    include_str!("../../../shaders/math.wgsl"),
    include_str!("../../../shaders/explog.wgsl"),
    include_str!("../../../shaders/trig.wgsl"),
    include_str!("../../../shaders/philox.wgsl"),
    include_str!("../../../shaders/wide.wgsl"),
    include_str!("../../../shaders/row.wgsl"),
];

/// Functions that each kernel defines for itself where it needs them: they raise the device's flags.
#[cfg(test)]
pub const FLAGS: &str = "fn fx_overflow() {}\nfn fx_raise(a: u32, b: u32) {}\n";

struct Function {
    name: &'static str,
    text: &'static str,
    calls: Vec<usize>,
}

pub(crate) fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).filter(|word| !word.is_empty())
}

/// Every function of the library. A function begins with `fn` in the first column and ends at the next `}` there.
fn functions() -> &'static (Vec<Function>, FxHashMap<&'static str, usize>) {
    static FUNCTIONS: OnceLock<(Vec<Function>, FxHashMap<&'static str, usize>)> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let mut all = Vec::new();
        for source in SOURCES {
            let mut at = 0;
            while let Some(found) = source[at..].find("\nfn ") {
                let start = at + found + 1;
                let end = source[start..].find("\n}\n").map_or(source.len(), |length| start + length + 3);
                let text = &source[start..end];
                let name = identifiers(&text[3..]).next().unwrap_or_default();
                all.push(Function { name, text, calls: Vec::new() });
                at = end - 1;
            }
        }
        let index: FxHashMap<&str, usize> = all.iter().enumerate().map(|(i, f)| (f.name, i)).collect();
        for (i, function) in all.iter_mut().enumerate() {
            let called = identifiers(function.text).filter_map(|word| index.get(word).copied());
            function.calls = called.filter(|&j| j != i).collect();
        }
        (all, index)
    })
}

/// The text of every library function that `code` calls, with what those call, in the order of the library.
pub fn used_by(code: &str) -> String {
    let (all, index) = functions();
    let mut wanted = vec![false; all.len()];
    let mut pending: Vec<usize> = identifiers(code).filter_map(|word| index.get(word).copied()).collect();
    while let Some(i) = pending.pop() {
        if !std::mem::replace(&mut wanted[i], true) {
            pending.extend(&all[i].calls);
        }
    }
    let chosen = all.iter().zip(wanted).filter(|(_, wanted)| *wanted);
    chosen.map(|(function, _)| function.text).collect::<Vec<_>>().join("\n")
}

/// True if the library has a function of this name.
pub fn has(name: &str) -> bool {
    functions().1.contains_key(name)
}

/// The names of all library functions.
pub fn names() -> Vec<&'static str> {
    functions().0.iter().map(|function| function.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_called_is_taken() {
        let text = used_by("let y = fx_softplus(x);");
        for name in ["fx_softplus", "fx_relu", "fx_log1p", "fx_log_split", "fx_exp", "fx_scale"] {
            assert!(text.contains(&format!("fn {name}(")), "{name} missing");
        }
        for name in ["fx_sin", "fx_pow", "fx_erf"] {
            assert!(!text.contains(&format!("fn {name}(")), "{name} not wanted");
        }
        assert_eq!(used_by("x + y"), "");
    }

    #[test]
    fn functions_are_whole() {
        assert!(names().len() > 60);
        for (function, name) in functions().0.iter().zip(names()) {
            assert_eq!(function.text.matches('{').count(), function.text.matches('}').count(), "{name}");
        }
    }
}

//! Fills the templates in `shaders/`: replaces marked parts and unrolls marked loops.
//!
//! A marked part begins with a line `//<name` and ends with `//>`. What stands between makes the template valid as it
//! is, so that it can be read and checked alone. `//<unroll i n` marks a `for` loop over `i` from 0 to n.

macro_rules! templates {
    ($($(#[$doc:meta])* $name:ident: $file:literal),* $(,)?) => {
        $($(#[$doc])* pub const $name: &str = include_str!(concat!("../../../shaders/", $file));)*
    };
}

templates! {
    /// Products of matrices.
    MATMUL: "matmul.wgsl",
    /// The look at a loss before the commit.
    GUARD: "guard.wgsl",
}

/// Every template with an entry point; each valid but for the library functions it calls.
#[cfg(test)]
pub const ALL: [&str; 2] = [MATMUL, GUARD];

/// `template` with each named part replaced; with `unroll`, marked loops are written out.
pub(crate) fn fill(template: &str, parts: &[(&str, &str)], unroll: bool) -> String {
    let mut text = String::with_capacity(2 * template.len());
    let mut lines = template.lines();
    while let Some(line) = lines.next() {
        let Some(marker) = line.trim_start().strip_prefix("//<") else {
            text.push_str(line);
            text.push('\n');
            continue;
        };
        let body: Vec<&str> = lines.by_ref().take_while(|line| line.trim_start() != "//>").collect();
        if let Some((_, part)) = parts.iter().find(|(name, _)| *name == marker) {
            text.push_str(part);
        } else {
            let loop_over = marker.strip_prefix("unroll ").filter(|_| unroll);
            match loop_over.and_then(|spec| spec.split_once(' ')) {
                Some((name, times)) => unrolled(&mut text, name, times.parse().unwrap_or(1), &body),
                None => body.iter().for_each(|line| text.extend([line, "\n"])),
            }
        }
    }
    text
}

/// The body of a loop, `times` times in blocks, with the variable as a constant; the first and last lines are the loop's.
fn unrolled(text: &mut String, name: &str, times: u32, body: &[&str]) {
    for i in 0..times {
        text.push_str(&format!("{{ const {name} = {i}u;\n"));
        for line in &body[1..body.len() - 1] {
            text.extend([line, "\n"]);
        }
        text.push_str("}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn parts_are_replaced_and_loops_written_out() {
        let template = "a\n//<part\nold\n//>\n  //<unroll i 2\n  for (i) {\n    use(i);\n  }\n  //>\nz\n";
        assert_eq!(fill(template, &[("part", "new\n")], false), "a\nnew\n  for (i) {\n    use(i);\n  }\nz\n");
        let out = fill(template, &[], true);
        assert_eq!(out, "a\nold\n{ const i = 0u;\n    use(i);\n}\n{ const i = 1u;\n    use(i);\n}\nz\n");
    }
}

//! Every shader is valid, and translates to the language of each backend, without a driver.

use crate::library;
use naga::valid::{Capabilities, ValidationFlags, Validator};

/// Validates WGSL and writes SPIR-V, HLSL and MSL from it. Translation is not compilation: the drivers' own compilers
/// are not run here.
pub(crate) fn validate(source: &str) {
    let module = naga::front::wgsl::parse_str(source).unwrap_or_else(|e| panic!("{}\n{source}", e.emit_to_string(source)));
    let info = Validator::new(ValidationFlags::all(), Capabilities::empty())
        .validate(&module)
        .unwrap_or_else(|e| panic!("{}\n{source}", e.emit_to_string(source)));
    super::uniform::check(&module);
    let options = naga::back::spv::Options::default();
    naga::back::spv::write_vec(&module, &info, &options, None).unwrap_or_else(|e| panic!("SPIR-V: {e}\n{source}"));
    let mut text = String::new();
    let options = naga::back::hlsl::Options { fake_missing_bindings: true, ..Default::default() };
    let pipeline = naga::back::hlsl::PipelineOptions::default();
    let mut writer = naga::back::hlsl::Writer::new(&mut text, &options, &pipeline);
    writer.write(&module, &info, None).unwrap_or_else(|e| panic!("HLSL: {e}\n{source}"));
    let options = naga::back::msl::Options { fake_missing_bindings: true, ..Default::default() };
    let pipeline = naga::back::msl::PipelineOptions::default();
    naga::back::msl::write_string(&module, &info, &options, &pipeline).unwrap_or_else(|e| panic!("MSL: {e}\n{source}"));
}

#[test]
fn the_library_is_valid() {
    validate(&(library::FLAGS.to_owned() + &library::SOURCES.join("\n")));
}

#[test]
fn every_function_stands_with_what_it_calls_alone() {
    for name in library::names() {
        validate(&(library::FLAGS.to_owned() + &library::used_by(name)));
    }
}

#[test]
fn the_templates_are_valid() {
    for template in crate::template::ALL {
        for unroll in [false, true] {
            let text = crate::template::fill(template, &[], unroll);
            validate(&(library::used_by(&text) + &text));
        }
    }
}

//! Compile errors are part of the interface: each points at the user's code and suggests a fix.
//!
//! After a change of wording, `TRYBUILD=overwrite cargo test --test proxy_ui` writes the `.stderr`
//! files anew. Read them before you commit them. The wording of rustc's own errors changes with
//! its version; the files hold that of the stable release.

#[test]
fn errors_point_at_what_the_user_wrote() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
    // What the key `cache` says depends on the feature `responses`.
    #[cfg(feature = "responses")]
    cases.compile_fail("tests/ui/cached/*.rs");
    #[cfg(not(feature = "responses"))]
    cases.compile_fail("tests/ui/uncached/*.rs");
}

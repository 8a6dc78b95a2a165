//! Comments of the proto files, for descriptions: found by an element's path, joined to paragraphs,
//! without the linter's directives.

use prost_reflect::FileDescriptor;

/// What the comment before an element says; empty: nothing.
pub fn of(file: &FileDescriptor, path: &[i32]) -> String {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let place = info.and_then(|info| info.location.iter().find(|place| place.path == path));
    joined(place.map_or("", |place| place.leading_comments()))
}

/// The first sentence of a text, without its full stop.
pub fn first_sentence(text: &str) -> &str {
    let end = text.match_indices(". ").map(|(at, _)| at).next();
    let paragraph = text.find("\n").unwrap_or(text.len());
    let end = end.unwrap_or(text.len()).min(paragraph);
    text[..end].trim_end_matches('.')
}

/// Lines that belong together as one, paragraphs with an empty line between.
fn joined(comment: &str) -> String {
    let mut text = String::new();
    for line in comment.lines().map(str::trim) {
        if line.starts_with("buf:lint:") {
            continue;
        }
        match line.is_empty() {
            true if !text.is_empty() && !text.ends_with('\n') => text.push_str("\n\n"),
            true => (),
            false => {
                if !text.is_empty() && !text.ends_with('\n') {
                    text.push(' ');
                }
                text.push_str(line);
            }
        }
    }
    text.trim_end().to_owned()
}

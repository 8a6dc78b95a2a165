//! Takes Swagger UI's script and style out of the archive in which a crate carries them. Called by
//! `build.rs` alone; no part of the program. What the archive has deflated is kept deflated, in the
//! frame of gzip, as browsers take it.

use std::fs;
use std::path::Path;

/// Files that the page needs, below the archive's one folder.
const FILES: [&str; 2] = ["dist/swagger-ui-bundle.js", "dist/swagger-ui.css"];

/// Length and mark of an entry of the archive's directory, and of a file's own head.
const ENTRY: (usize, &[u8]) = (46, b"PK\x01\x02");
const HEAD: (usize, &[u8]) = (30, b"PK\x03\x04");
/// Length and mark of the archive's end.
const END: (usize, &[u8]) = (22, b"PK\x05\x06");
/// The method by which every file is kept.
const DEFLATED: usize = 8;

/// Writes the files as `NAME.gz` into a folder.
pub fn unpack(archive: &[u8], folder: &Path) -> Result<(), Box<dyn std::error::Error>> {
    fs::create_dir_all(folder)?;
    for file in FILES {
        let packed = find(archive, file).ok_or_else(|| format!("the archive has no {file}"))?;
        let name = file.rsplit('/').next().unwrap_or(file);
        let path = folder.join(format!("{name}.gz"));
        if !fs::read(&path).is_ok_and(|old| old == packed) {
            fs::write(path, packed)?;
        }
    }
    Ok(())
}

/// The file as gzip.
fn find(archive: &[u8], file: &str) -> Option<Vec<u8>> {
    let end = archive.windows(END.1.len()).rposition(|bytes| bytes == END.1)?;
    let end = archive.get(end..end + END.0)?;
    let (count, mut at) = (number(end, 10, 2)?, number(end, 16, 4)?);
    for _ in 0..count {
        let entry = archive.get(at..at + ENTRY.0).filter(|entry| entry.starts_with(ENTRY.1))?;
        let [name, extra, comment] = [28, 30, 32].map(|place| number(entry, place, 2));
        let (start, length) = (at + ENTRY.0, name?);
        let path = archive.get(start..start + length)?;
        if path.ends_with(format!("/{file}").as_bytes()) && !inner(path, file) {
            return gzip(archive, entry);
        }
        at = start + length + extra? + comment?;
    }
    None
}

/// True for a path with more than one folder before the file.
fn inner(path: &[u8], file: &str) -> bool {
    let slashes = |text: &[u8]| text.iter().filter(|byte| **byte == b'/').count();
    slashes(path) > slashes(file.as_bytes()) + 1
}

fn gzip(archive: &[u8], entry: &[u8]) -> Option<Vec<u8>> {
    if number(entry, 10, 2)? != DEFLATED {
        return None;
    }
    let (packed, start) = (number(entry, 20, 4)?, number(entry, 42, 4)?);
    let head = archive.get(start..start + HEAD.0).filter(|head| head.starts_with(HEAD.1))?;
    let data = start + HEAD.0 + number(head, 26, 2)? + number(head, 28, 2)?;
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    file.extend_from_slice(archive.get(data..data + packed)?);
    // The checksum and the length stand in both formats.
    file.extend_from_slice(&entry[16..20]);
    file.extend_from_slice(&entry[24..28]);
    Some(file)
}

/// The number of some bytes, the lowest first.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<usize> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte)))
}

//! The buffer that JSON is written to: texts, numbers, commas. It writes what it is told and checks
//! no structure.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::ser::{CompactFormatter, Formatter};

use super::{Entry, JsonError, Kind, Options};

/// Integers below this are exact in a double and are written without a fraction.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

/// For each byte: 0 when it stands for itself in a JSON text, `u` for `\u00XX`, else the letter
/// after the backslash.
const ESCAPES: [u8; 256] = escapes();

const HEX: &[u8; 16] = b"0123456789abcdef";

/// JSON being written.
pub struct Writer {
    bytes: Vec<u8>,
    fault: Option<&'static str>,
    types: &'static [Entry],
}

impl Writer {
    /// Goes on at the end of a buffer.
    pub fn new(bytes: Vec<u8>, options: &Options) -> Self {
        Self { bytes, fault: None, types: options.types }
    }

    /// The buffer, whatever happened.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// The buffer, unless something had no JSON form.
    pub fn finish(self) -> Result<Vec<u8>, JsonError> {
        match self.fault {
            None => Ok(self.bytes),
            Some(fault) => Err(JsonError {
                kind: Kind::InvalidField,
                path: String::new(),
                message: fault.to_owned(),
            }),
        }
    }

    /// Writes bytes that are JSON already.
    #[inline]
    pub fn raw(&mut self, json: &[u8]) {
        self.bytes.extend_from_slice(json);
    }

    /// Opens an object. Each member that follows ends in a comma.
    #[inline]
    pub fn open(&mut self, bracket: u8) {
        self.bytes.push(bracket);
    }

    /// Ends a member or element.
    #[inline]
    pub fn comma(&mut self) {
        self.bytes.push(b',');
    }

    /// Closes an object or list; its last comma, if it has members, gives way to the bracket.
    #[inline]
    pub fn close(&mut self, bracket: u8) {
        match self.bytes.last_mut() {
            Some(last) if *last == b',' => *last = bracket,
            _ => self.bytes.push(bracket),
        }
    }

    /// Writes a text in quotes.
    pub fn text(&mut self, text: &str) {
        self.bytes.reserve(text.len() + 2);
        self.bytes.push(b'"');
        let mut rest = text.as_bytes();
        loop {
            let (plain, tail) = rest.split_at(plain_length(rest));
            self.raw(plain);
            let Some((&byte, tail)) = tail.split_first() else { break };
            self.escaped(byte);
            rest = tail;
        }
        self.bytes.push(b'"');
    }

    /// Writes a byte that does not stand for itself.
    fn escaped(&mut self, byte: u8) {
        let escape = ESCAPES[usize::from(byte)];
        self.raw(&[b'\\', escape]);
        if escape == b'u' {
            let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
            self.raw(&[b'0', b'0', HEX[high], HEX[low]]);
        }
    }

    /// Writes bytes as padded base64 in quotes.
    pub fn base64(&mut self, data: &[u8]) {
        self.bytes.push(b'"');
        let start = self.bytes.len();
        self.bytes.resize(start + data.len().div_ceil(3) * 4, 0);
        // The room is exact, so encoding cannot fail.
        let length = STANDARD.encode_slice(data, &mut self.bytes[start..]).unwrap_or(0);
        self.bytes.truncate(start + length);
        self.bytes.push(b'"');
    }

    /// Writes an integer.
    #[inline]
    pub fn integer(&mut self, number: impl itoa::Integer) {
        self.bytes.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Writes an integer with zeros before it, `width` digits in all.
    pub(super) fn padded(&mut self, number: u32, width: u32) {
        for power in (0..width).rev() {
            // The remainder is a digit.
            self.bytes.push(b'0' + u8::try_from(number / 10_u32.pow(power) % 10).unwrap_or(0));
        }
    }

    /// Writes an integer in quotes, as ProtoJSON wants those of 64 bits.
    #[inline]
    pub fn quoted(&mut self, number: impl itoa::Integer) {
        self.bytes.push(b'"');
        self.integer(number);
        self.bytes.push(b'"');
    }

    /// Writes a double: the shortest text that reads back the same, or a word in quotes.
    pub fn double(&mut self, number: f64) {
        if !self.special(number) {
            // Writing to a Vec cannot fail.
            let _ = CompactFormatter.write_f64(&mut self.bytes, number);
        }
    }

    /// Writes a float, as [`Writer::double`] does.
    pub fn float(&mut self, number: f32) {
        if !self.special(f64::from(number)) {
            // Writing to a Vec cannot fail.
            let _ = CompactFormatter.write_f32(&mut self.bytes, number);
        }
    }

    /// Writes `null` for something without a JSON form, and remembers why.
    #[cold]
    pub fn fault(&mut self, why: &'static str) {
        self.fault = Some(why);
        self.raw(b"null");
    }

    /// Types that an `Any` may hold besides the standard ones.
    pub(super) fn types(&self) -> &'static [Entry] {
        self.types
    }

    /// Writes numbers that need no float formatting.
    fn special(&mut self, number: f64) -> bool {
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked to be a whole number in range"
        )]
        let whole = number as i64;
        if number.is_nan() {
            self.raw(b"\"NaN\"");
        } else if number.is_infinite() {
            self.raw(if number > 0.0 { b"\"Infinity\"" } else { b"\"-Infinity\"" });
        } else if number.abs() < EXACT_MAX && whole as f64 == number && !is_minus_zero(number) {
            self.integer(whole);
        } else {
            return false;
        }
        true
    }
}

/// Bytes at the start that stand for themselves. Looks at eight at a time: most texts are long and
/// have nothing to escape.
#[inline]
fn plain_length(bytes: &[u8]) -> usize {
    let (words, _) = bytes.as_chunks::<8>();
    let plain = words.iter().take_while(|word| is_plain(u64::from_le_bytes(**word))).count() * 8;
    let rest = &bytes[plain..];
    let odd = rest.iter().position(|byte| ESCAPES[usize::from(*byte)] != 0);
    plain + odd.unwrap_or(rest.len())
}

/// True when none of eight bytes needs an escape. A byte is below `n` when taking `n` from it
/// borrows into its high bit, which it did not have; it is a mark when the difference is below 1.
#[inline]
fn is_plain(word: u64) -> bool {
    const ONES: u64 = u64::MAX / 255;
    let below = |word: u64, n: u64| word.wrapping_sub(ONES * n) & !word;
    let differs = |mark: u8| word ^ (ONES * u64::from(mark));
    let odd = below(word, 0x20) | below(differs(b'"'), 1) | below(differs(b'\\'), 1);
    odd & (ONES << 7) == 0
}

fn is_minus_zero(number: f64) -> bool {
    number == 0.0 && number.is_sign_negative()
}

const fn escapes() -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = b'u';
        byte += 1;
    }
    table[0x08] = b'b';
    table[0x09] = b't';
    table[0x0a] = b'n';
    table[0x0c] = b'f';
    table[0x0d] = b'r';
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table
}

#[cfg(test)]
mod tests {
    use super::{ESCAPES, Options, Writer, is_plain, plain_length};

    #[test]
    fn a_byte_that_needs_an_escape_is_found_wherever_it_stands() {
        for byte in 0..=u8::MAX {
            for at in 0..20 {
                let mut bytes = *b"\x7f\x80\xff !#[]az\x7f\x80\xff !#[]az";
                bytes[at] = byte;
                let odd = ESCAPES[usize::from(byte)] != 0;
                assert_eq!(plain_length(&bytes), if odd { at } else { 20 }, "{byte} at {at}");
            }
        }
        assert!(is_plain(u64::MAX) && !is_plain(0));
    }

    #[test]
    fn texts_of_every_length_are_escaped() {
        for length in 0..20 {
            let mut out = Writer::new(Vec::new(), &Options::DEFAULT);
            out.text(&"a\u{1}".repeat(length));
            let expected = format!("\"{}\"", "a\\u0001".repeat(length));
            assert_eq!(out.into_bytes(), expected.into_bytes());
        }
    }
}

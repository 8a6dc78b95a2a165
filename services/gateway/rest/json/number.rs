//! Exact numbers from texts and doubles: `"1e3"` is a whole number, `"1.5"` and `" 1"` are none.
//! Called by the readers of scalars, keys and query texts.

/// Powers of ten beyond which nothing fits 64 bits.
const DIGITS_MAX: usize = 20;

/// Reads a text with the grammar of a JSON number as a whole number; none: it is no such number, or
/// needs more than 20 digits.
pub(super) fn parse(text: &str) -> Option<i128> {
    let (negative, rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match rest.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (rest, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return None,
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    if !is_digits(whole) || (whole.len() > 1 && whole.starts_with('0')) {
        return None;
    }
    if !fraction.is_empty() && !is_digits(fraction) {
        return None;
    }
    let magnitude = scale(whole, fraction.trim_end_matches('0'), exponent)?;
    Some(if negative { -magnitude } else { magnitude })
}

/// True when a text has the grammar of a JSON number.
pub(super) fn is_number(text: &str) -> bool {
    let rest = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = rest.split_once(['e', 'E']).unwrap_or((rest, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    is_digits(whole)
        && is_digits(fraction)
        && is_digits(exponent)
        && (whole.len() == 1 || !whole.starts_with('0'))
}

/// The whole number that a double is; none: it has a fraction, or is so large that it may stand for
/// another one.
pub(super) fn whole(number: f64) -> Option<i128> {
    // A JSON integer beyond 64 bits arrives rounded. Below -2^63 it rounds to -2^63 itself, above
    // to 2^64.
    let exact = number.fract() == 0.0
        && number > -9_223_372_036_854_775_808.0
        && number < 18_446_744_073_709_551_616.0;
    #[expect(clippy::cast_possible_truncation, reason = "checked to be whole and in range")]
    exact.then_some(number as i128)
}

fn scale(whole: &str, fraction: &str, exponent: i64) -> Option<i128> {
    let shift = exponent - i64::try_from(fraction.len()).ok()?;
    let mut digits = whole.bytes().chain(fraction.bytes()).skip_while(|&digit| digit == b'0');
    let mut value: i128 = 0;
    let mut count = 0;
    for digit in digits.by_ref() {
        count += 1;
        if count > 2 * DIGITS_MAX - 4 {
            return None;
        }
        value = value * 10 + i128::from(digit - b'0');
    }
    if value == 0 {
        return Some(0);
    }
    let power = 10_i128.checked_pow(u32::try_from(shift.unsigned_abs()).ok()?)?;
    if shift >= 0 {
        return value.checked_mul(power);
    }
    (value % power == 0).then_some(value / power)
}

fn parse_exponent(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !is_digits(digits) {
        return None;
    }
    // Whatever has more digits is far beyond any integer, or a zero written oddly.
    let magnitude = digits.parse::<i64>().unwrap_or(i64::MAX / 2).min(i64::MAX / 2);
    Some(if text.starts_with('-') { -magnitude } else { magnitude })
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::{is_number, parse, whole};

    #[test]
    fn whole_numbers_are_read_in_any_notation() {
        let cases = [
            ("0", 0),
            ("-0", 0),
            ("12", 12),
            ("1e3", 1000),
            ("1.0", 1),
            ("1.50e1", 15),
            ("100e-2", 1),
            ("0e999999999999999999999", 0),
            ("9223372036854775807", i128::from(i64::MAX)),
            ("-9223372036854775808", i128::from(i64::MIN)),
            ("18446744073709551615", i128::from(u64::MAX)),
        ];
        for (text, number) in cases {
            assert_eq!(parse(text), Some(number), "{text}");
        }
    }

    #[test]
    fn other_texts_are_no_whole_numbers() {
        let huge = "9".repeat(50);
        let texts = [
            "", "-", "+1", " 1", "1 ", "01", "1.", ".5", "1.5", "1e", "1e-1", "0x1", "1e99", "NaN",
        ];
        for text in texts.into_iter().chain([huge.as_str()]) {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_json_numbers_are_numbers() {
        for text in ["0", "-0.5", "1e5", "1.25E-7", "1e+5"] {
            assert!(is_number(text), "{text}");
        }
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "inf", "NaN", "1_0", " 1"] {
            assert!(!is_number(text), "{text}");
        }
    }

    #[test]
    fn a_double_that_may_stand_for_another_integer_is_refused() {
        assert_eq!(whole(1e3), Some(1000));
        assert_eq!(whole(-0.0), Some(0));
        for number in [1.5, -9_223_372_036_854_775_809.0, 18_446_744_073_709_551_616.0, f64::NAN] {
            assert_eq!(whole(number), None, "{number}");
        }
    }
}

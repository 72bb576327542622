//! regex(3): extended regular expressions.

use std::ffi::CString;
use std::mem::MaybeUninit;

/// A compiled expression.
pub struct Regex(Box<libc::regex_t>);

impl Regex {
    /// Compiles an expression; `None` if it is none.
    pub fn new(text: &str) -> Option<Self> {
        let text = CString::new(text).ok()?;
        let mut regex = Box::new(MaybeUninit::uninit());
        let flags = libc::REG_EXTENDED | libc::REG_NOSUB;
        // SAFETY: `text` ends with NUL, and regcomp(3) initialises `regex` if it returns 0.
        let result = unsafe { libc::regcomp(regex.as_mut_ptr(), text.as_ptr(), flags) };
        // SAFETY: it has been initialised.
        (result == 0).then(|| Self(unsafe { regex.assume_init() }))
    }

    /// Whether it fits anywhere in a text.
    pub fn is_in(&self, text: &str) -> bool {
        let Ok(text) = CString::new(text) else { return false };
        // SAFETY: the expression is compiled, `text` ends with NUL, and no place of a match is asked for.
        unsafe { libc::regexec(&raw const *self.0, text.as_ptr(), 0, std::ptr::null_mut(), 0) == 0 }
    }
}

impl Drop for Regex {
    fn drop(&mut self) {
        // SAFETY: the expression is compiled, and not used afterwards.
        unsafe { libc::regfree(&raw mut *self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg_attr(miri, ignore = "regcomp(3) is the C library's")]
    fn expressions_are_extended_and_fit_anywhere() {
        for (expression, text, fits) in [
            ("web", "my-web-1", true),
            ("^web", "my-web-1", false),
            ("^(web|db)-[0-9]+$", "db-12", true),
            ("^(web|db)-[0-9]+$", "db-12x", false),
            ("", "anything", true),
        ] {
            assert_eq!(Regex::new(expression).unwrap().is_in(text), fits, "{expression} {text}");
        }
        assert!(Regex::new("(").is_none());
    }
}

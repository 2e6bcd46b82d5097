//! Reading values from a model with the place in hand, so that every complaint can name it.

use std::net::Ipv4Addr;

use serde_json::{Map, Value};

use super::error::ApiModelError;
use super::kubernetes::Flags;

/// A value and the path that led to it.
#[derive(Debug, Clone)]
pub(super) struct Node<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Node<'a> {
    /// The document itself.
    pub(super) fn root(value: &'a Value) -> Self {
        Self { path: String::new(), value }
    }

    /// The value under `key`, in whatever case it is spelt; `null` counts as absent, as it does in the ancestor.
    ///
    /// # Errors
    ///
    /// [`ApiModelError::WrongType`] when this is not an object.
    pub(super) fn child(&self, key: &str) -> Result<Option<Node<'a>>, ApiModelError> {
        let object = self.object()?;
        let found =
            object.get(key).or_else(|| find_in_any_case(object, key)).filter(|value| !value.is_null());
        Ok(found.map(|value| Node { path: self.path_of(key), value }))
    }

    /// As [`Self::child`], and absence is an error.
    pub(super) fn require(&self, key: &str) -> Result<Node<'a>, ApiModelError> {
        self.child(key)?.ok_or_else(|| ApiModelError::Missing { path: self.path_of(key) })
    }

    /// The string under `key`; an empty one counts as absent, because the ancestor omits empty values.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>, ApiModelError> {
        let Some(child) = self.child(key)? else { return Ok(None) };
        Ok(Some(child.string()?.to_owned()).filter(|text| !text.is_empty()))
    }

    /// As [`Self::text`], and absence is an error.
    pub(super) fn require_text(&self, key: &str) -> Result<String, ApiModelError> {
        self.text(key)?.ok_or_else(|| ApiModelError::Missing { path: self.path_of(key) })
    }

    /// The whole number under `key`.
    pub(super) fn number(&self, key: &str) -> Result<Option<u32>, ApiModelError> {
        let Some(child) = self.child(key)? else { return Ok(None) };
        let wrong = || child.wrong_type("a whole number, not negative");
        let number = child.value.as_u64().ok_or_else(wrong)?;
        u32::try_from(number).map(Some).map_err(|_| wrong())
    }

    /// The truth value under `key`.
    pub(super) fn truth(&self, key: &str) -> Result<Option<bool>, ApiModelError> {
        let Some(child) = self.child(key)? else { return Ok(None) };
        child.value.as_bool().map(Some).ok_or_else(|| child.wrong_type("true or false"))
    }

    /// The items of the array under `key`; none when it is absent.
    pub(super) fn items(&self, key: &str) -> Result<Vec<Node<'a>>, ApiModelError> {
        let Some(child) = self.child(key)? else { return Ok(Vec::new()) };
        let items = child.value.as_array().ok_or_else(|| child.wrong_type("an array"))?;
        let node = |(index, value)| Node { path: format!("{}[{index}]", child.path), value };
        Ok(items.iter().enumerate().map(node).collect())
    }

    /// The strings of the array under `key`.
    pub(super) fn texts(&self, key: &str) -> Result<Vec<String>, ApiModelError> {
        self.items(key)?.iter().map(|item| item.string().map(str::to_owned)).collect()
    }

    /// The map from string to string under `key`; empty when it is absent.
    pub(super) fn flags(&self, key: &str) -> Result<Flags, ApiModelError> {
        let Some(child) = self.child(key)? else { return Ok(Flags::default()) };
        let mut flags = Flags::default();
        for (name, value) in child.object()? {
            let value = Node { path: child.path_of(name), value };
            flags.insert(name.clone(), value.string()?.to_owned());
        }
        Ok(flags)
    }

    /// The IPv4 address under `key`.
    pub(super) fn require_ipv4(&self, key: &str) -> Result<Ipv4Addr, ApiModelError> {
        let text = self.require_text(key)?;
        text.parse().map_err(|_| self.invalid(key, &text, "an IPv4 address"))
    }

    /// That the value under `key` is not acceptable. Not for values that may be secret.
    pub(super) fn invalid(&self, key: &str, value: &str, expected: &'static str) -> ApiModelError {
        ApiModelError::Invalid { path: self.path_of(key), value: value.to_owned(), expected }
    }

    /// The string that this is.
    pub(super) fn string(&self) -> Result<&'a str, ApiModelError> {
        self.value.as_str().ok_or_else(|| self.wrong_type("a string"))
    }

    fn object(&self) -> Result<&'a Map<String, Value>, ApiModelError> {
        self.value.as_object().ok_or_else(|| self.wrong_type("an object"))
    }

    fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    fn wrong_type(&self, expected: &'static str) -> ApiModelError {
        let path = if self.path.is_empty() { "the document".to_owned() } else { self.path.clone() };
        ApiModelError::WrongType { path, expected, found: type_name(self.value) }
    }
}

/// The JSON type of `value`, for people.
pub(super) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn find_in_any_case<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
}

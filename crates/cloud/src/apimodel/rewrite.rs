//! Putting a new PKI into the text of a model.

use std::ops::Range;

use super::model::ApiModel;
use super::profile::{CertificateProfile, Style};
use super::text::{self, Member};

impl ApiModel {
    /// The model's text with `profile` as its `properties.certificateProfile`, and every other byte as it was.
    ///
    /// The ancestor writes the whole model anew from what it understood of it; here only the range of that one value
    /// is replaced. It is laid out as the rest of the file is: its indentation, its line ends, or one line. With the
    /// profile that is there already the result is the very same text. A model without the key gets it as the last of
    /// `properties`.
    pub fn rewrite_certificate_profile(&self, profile: &CertificateProfile) -> Vec<u8> {
        self.text_with(profile).into_bytes()
    }

    pub(super) fn text_with(&self, profile: &CertificateProfile) -> String {
        if self.certificate_profile() == Some(profile) {
            return self.text.clone();
        }
        let properties = properties(&self.text);
        let members = text::members(&self.text, &properties);
        let present = members.iter().find(|member| member.key.eq_ignore_ascii_case(KEY));
        let (place, new) = match (present, members.last()) {
            (Some(member), _) => (member.value.clone(), profile.to_json_styled(&self.style_at(member))),
            (None, last) => self.insertion(&properties, last, profile),
        };
        [&self.text[..place.start], &new, &self.text[place.end..]].concat()
    }

    /// Where and what to insert when the key is not there.
    fn insertion(
        &self,
        properties: &Range<usize>,
        last: Option<&Member>,
        profile: &CertificateProfile,
    ) -> (Range<usize>, String) {
        let Some(last) = last else {
            let style = Style::Compact;
            return (properties.clone(), format!("{{\"{KEY}\":{}}}", profile.to_json_styled(&style)));
        };
        let style = self.style_at(last);
        let value = profile.to_json_styled(&style);
        let new = match &style {
            Style::Compact => format!(",\"{KEY}\":{value}"),
            Style::Lines { newline, base, .. } => format!(",{newline}{base}\"{KEY}\": {value}"),
        };
        (last.value.end..last.value.end, new)
    }

    /// How the file is laid out around `member`.
    fn style_at(&self, member: &Member) -> Style {
        let base = indentation(&self.text, member.key_start);
        let first = text::members(&self.text, &text::document(&self.text)).into_iter().next();
        let unit = first.and_then(|first| indentation(&self.text, first.key_start));
        match (base, unit) {
            (Some(base), unit) => Style::Lines {
                newline: if self.text.contains("\r\n") { "\r\n" } else { "\n" },
                base: base.to_owned(),
                unit: unit.filter(|unit| !unit.is_empty()).unwrap_or("  ").to_owned(),
            },
            (None, _) => Style::Compact,
        }
    }
}

/// The white space between the start of the line and `at`; `None` when something else stands there too.
fn indentation(text: &str, at: usize) -> Option<&str> {
    let before = &text[..at];
    let line = &before[before.rfind('\n')? + 1..];
    line.chars().all(|c| c == ' ' || c == '\t').then_some(line)
}

/// The range of `properties`; parsing has made sure that it is there.
fn properties(text: &str) -> Range<usize> {
    let members = text::members(text, &text::document(text));
    members
        .into_iter()
        .find(|member| member.key.eq_ignore_ascii_case("properties"))
        .map_or(0..0, |member| member.value)
}

const KEY: &str = "certificateProfile";

#[cfg(test)]
mod tests {
    use super::super::Entry;
    use super::*;

    const TEXT: &str = r#"{
   "apiVersion": "vlabs",
   "properties": {
      "masterProfile": {"count": 1, "dnsPrefix": "a", "firstConsecutiveStaticIP": "10.0.0.5"},
      "CertificateProfile": {"caCertificate": "old"},
      "orchestratorProfile": {"kubernetesConfig": {"serviceCidr": "10.0.0.0/16",
         "kubeletConfig": {"certificateProfile": "}{\"certificateProfile\": {}"}}}
   }
}"#;

    fn rewritten(text: &str) -> String {
        let profile = CertificateProfile::default().with(Entry::Ca, "new".to_owned(), "".into());
        let model = ApiModel::parse(text.as_bytes()).unwrap();
        String::from_utf8(model.rewrite_certificate_profile(&profile)).unwrap()
    }

    #[test]
    fn only_the_value_changes_and_it_is_indented_like_the_file() {
        let expected =
            TEXT.replace(r#"{"caCertificate": "old"}"#, "{\n         \"caCertificate\": \"new\"\n      }");
        assert_eq!(rewritten(TEXT), expected);
        assert_eq!(rewritten(&expected), expected, "again");
    }

    #[test]
    fn line_ends_are_kept() {
        let windows = TEXT.replace('\n', "\r\n");
        assert!(
            rewritten(&windows)
                .contains("\"CertificateProfile\": {\r\n         \"caCertificate\": \"new\"\r\n      },")
        );
    }

    #[test]
    fn a_file_on_one_line_stays_on_one_line() {
        let line = TEXT.replace(['\n', ' '], "");
        assert_eq!(rewritten(&line), line.replace("\"old\"", "\"new\""));
    }

    #[test]
    fn a_model_without_the_key_gets_it() {
        let without = TEXT.replace("      \"CertificateProfile\": {\"caCertificate\": \"old\"},\n", "");
        let expected = without.replace(
            "{}\"}}}\n",
            "{}\"}}},\n      \"certificateProfile\": {\n         \"caCertificate\": \"new\"\n      }\n",
        );
        assert_eq!(rewritten(&without), expected);
        let null = TEXT.replace(r#"{"caCertificate": "old"}"#, "null");
        assert_eq!(rewritten(&null), rewritten(TEXT));
    }
}
